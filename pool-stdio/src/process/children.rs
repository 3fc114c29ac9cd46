//! A set of children, so that a program can signal or terminate all of them.

use std::sync::Arc;
use std::time::Duration;

use super::child::Child;
use super::command::Command;
use super::custodian::{Custodian, Message};
use super::outcome::TerminateAllReport;
use super::record::PipeEnds;
use super::roster::{Member, Roster, RoundUp};
use super::signal::{Signal, SignalError};
use super::spawn_error::SpawnError;
use super::spawner;
use super::sys;
use super::terminate::{Start, TIME_MAX};

/// A set of children. A clone is the same set.
///
/// Dropping it does nothing to the children in it: each belongs to its [`Child`](crate::Child).
///
/// # Examples
///
/// ```no_run
/// use pool_stdio::{Children, CommandSpec};
/// use std::time::Duration;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let command = CommandSpec::new("my-server").build()?;
/// let children = Children::new();
/// let child = children.spawn(&command).await?;
///
/// // On SIGTERM: two seconds to leave, then nothing is left.
/// let report = children.terminate_all(Duration::from_secs(2)).await;
/// assert!(report.left.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Children {
    roster: Arc<Roster>,
}

impl Children {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a child as a member of this set. [`Command::spawn`] starts one without a set.
    ///
    /// # Errors
    ///
    /// The future fails with a [`SpawnError`], [`Closed`](SpawnError::Closed) after
    /// [`terminate_all`](Self::terminate_all).
    ///
    /// # Cancel safety
    ///
    /// As of [`Command::spawn`].
    #[must_use = "a child whose future is dropped is killed"]
    pub fn spawn(
        &self,
        command: &Command,
    ) -> impl Future<Output = Result<Child, SpawnError>> + Send + 'static + use<> {
        match self.roster.reserve() {
            Some(reservation) => spawner::begin(command, Some(reservation)),
            None => spawner::failed(SpawnError::Closed),
        }
    }

    /// The process ids of those that were started and not yet ended.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.roster.pids()
    }

    /// Resolves when the set is empty: each child has ended and was reaped, and its descriptors are
    /// closed.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: call it again.
    pub fn emptied(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.roster.emptied()
    }

    /// Sends a signal to the group of each child. Returns the pids for which that failed, with the
    /// reason.
    pub fn signal_all(&self, signal: Signal) -> Vec<(u32, SignalError)> {
        let members = self.roster.members().into_iter();
        let failed = members.filter_map(|Member { record, root }| {
            let sent = record.signal_group(root.upgrade().as_deref(), signal);
            sent.err().map(|error| (record.pid(), error))
        });
        failed.collect()
    }

    /// Terminates every child and lets no more be started: SIGTERM now, SIGKILL after `grace`.
    ///
    /// A termination that is under way is hastened, never slowed. A child's handle keeps its pipes,
    /// and sees the end of the stream.
    ///
    /// The future resolves when all have gone, at the latest two seconds after `grace`. A process that
    /// is left then did not end by SIGKILL; it is still watched.
    ///
    /// # Cancel safety
    ///
    /// Everything is begun before this returns. Dropping the future stops nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_stdio::{Children, CommandSpec, SpawnError};
    /// use std::time::Duration;
    ///
    /// let command = CommandSpec::new("cat").build()?;
    /// let children = Children::new();
    /// let cats = (children.spawn(&command).await?, children.spawn(&command).await?);
    /// assert_eq!(children.pids().len(), 2);
    ///
    /// let report = children.terminate_all(Duration::from_secs(2)).await;
    /// assert_eq!((report.ended, report.left.len()), (2, 0));
    /// children.emptied().await;
    /// assert!(matches!(children.spawn(&command).await, Err(SpawnError::Closed)));
    /// # drop(cats);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the children are terminated anyway, but only this tells when"]
    pub fn terminate_all(
        &self,
        grace: Duration,
    ) -> impl Future<Output = TerminateAllReport> + Send + 'static + use<> {
        let grace = grace.min(TIME_MAX);
        self.roster.close();
        let members = self.roster.members();
        let until = sys::clock_now() + grace + ROUND_UP_MARGIN;
        let round_up = RoundUp::begin(&self.roster, until);
        let reported = round_up.reported();
        match Custodian::get() {
            Ok(custodian) => {
                for Member { record, .. } in members {
                    custodian.post(Message::Stop {
                        child: record.id,
                        start: Start::Shutdown(grace),
                        pipes: PipeEnds::default(),
                    });
                }
                custodian.post(Message::RoundUp(round_up));
            }
            // Without a custodian there was never a child.
            Err(_) => round_up.publish(),
        }
        reported
    }
}

/// For killed children to exit and be drained.
const ROUND_UP_MARGIN: Duration = Duration::from_secs(2);
