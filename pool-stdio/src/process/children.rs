//! A set of children, so that a program can signal or terminate all of them.

use std::sync::Arc;
use std::task::Waker;
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

    /// Terminates every child and lets no more be started: SIGTERM now, SIGKILL after `grace`. If
    /// `grace` is zero, SIGKILL was sent when this returns: a pipe that is closed then cannot make a
    /// child take half a message for the whole.
    ///
    /// A termination that is under way is hastened, never slowed. A child's handle keeps its pipes,
    /// and sees the end of the stream.
    ///
    /// The future resolves when all have gone, at the latest two seconds after `grace`. A child that is
    /// left then did not end by SIGKILL, or another process still holds its pipes; it is still watched.
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
        let custodian = Custodian::get().ok();
        self.roster.close(custodian.clone().map(Waker::from));
        let members = self.roster.members();
        let until = sys::clock_now() + grace + ROUND_UP_MARGIN;
        let round_up = RoundUp::begin(&self.roster, until);
        let reported = round_up.reported();
        match custodian {
            Some(custodian) => {
                for Member { record, root } in members {
                    // Order: killed before the caller can close its stdin, or it would take half a
                    // request for the whole. Our hold on the root ends before the termination can.
                    let is_killed = grace.is_zero()
                        && root.upgrade().is_some_and(|root| record.kill_root(&root));
                    let start = if is_killed {
                        Start::Killed
                    } else {
                        Start::Shutdown(grace)
                    };
                    custodian.post(Message::Stop {
                        child: record.id,
                        start,
                        pipes: PipeEnds::default(),
                    });
                }
                custodian.post(Message::RoundUp(round_up));
            }
            // Without a custodian there was never a child.
            None => round_up.publish(),
        }
        reported
    }
}

/// For killed children to exit and be drained.
const ROUND_UP_MARGIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER_DEADLINE: Duration = Duration::from_secs(60);

    /// A start that fails, or whose future is dropped, gives its place up in this way.
    #[tokio::test]
    async fn a_start_that_fails_ends_the_wait_for_all_and_was_never_a_child() {
        let children = Children::new();
        let reservation = children.roster.reserve();
        let reported = children.terminate_all(TIME_MAX);
        // The custodian has seen a later message, and waits for the set to be empty.
        messages_taken().await;
        drop(reservation);
        let report = tokio::time::timeout(OUTER_DEADLINE, reported).await;
        let report = report.expect("the custodian was not woken");
        assert_eq!((report.ended, report.left), (0, Vec::new()));
    }

    #[cfg(unix)]
    mod order {
        use std::os::unix::process::ExitStatusExt;
        use std::sync::mpsc;

        use tokio::io::AsyncReadExt;
        use tokio::net::unix::pipe::Receiver;
        use tokio::time::timeout;

        use super::*;
        use crate::process::command::CommandSpec;
        use crate::process::lock::lock;
        use crate::process::outcome::Rung;
        use crate::process::terminate::Stop;

        #[tokio::test]
        async fn terminate_all_without_a_grace_kills_before_stdin_can_be_closed() {
            assert_killed_first(|set, _| drop(set.terminate_all(Duration::ZERO))).await;
        }

        #[tokio::test]
        async fn a_forced_stop_kills_before_stdin_can_be_closed() {
            assert_killed_first(|_, child| child.begin_stop(Stop::Force)).await;
        }

        /// Stops a child while the custodian can send no signal, then closes its stdin.
        async fn assert_killed_first(stop: impl FnOnce(&Children, &mut Child)) {
            let set = Children::new();
            // Order: of two children the custodian serves the older one first.
            let older = cat(&Children::new()).await;
            let mut child = cat(&set).await;
            let release = hold_up_custodian(&older);
            let stdin = child.take_stdin();
            let mut stdout = Receiver::from_owned_fd(child.take_stdout().unwrap()).unwrap();
            stop(&set, &mut child);
            drop(stdin);
            let mut rest = Vec::new();
            let read = timeout(OUTER_DEADLINE, stdout.read_to_end(&mut rest)).await;
            assert_eq!(read.expect("it has not ended").unwrap(), 0);
            drop(release);
            let end = timeout(OUTER_DEADLINE, child.terminating()).await.unwrap();
            let signal = end.exit.status().and_then(|status| status.signal());
            assert_eq!((signal, end.rung), (Some(libc::SIGKILL), Rung::Kill));
            assert!(!end.exited_by_itself);
            drop(older);
        }

        /// A child that exits at the end of its input.
        async fn cat(set: &Children) -> Child {
            let command = CommandSpec::new("cat").build().unwrap();
            set.spawn(&command).await.unwrap()
        }

        /// The custodian waits for a lock, to send a signal to this child, until the value is dropped.
        fn hold_up_custodian(older: &Child) -> mpsc::Sender<()> {
            let record = older.record();
            let (release, released) = mpsc::channel();
            let (tell, is_locked) = mpsc::channel::<()>();
            std::thread::spawn(move || {
                let pid_state = lock(&record.pid_state);
                drop(tell);
                assert!(released.recv().is_err());
                drop(pid_state);
            });
            assert!(is_locked.recv().is_err());
            Custodian::get().unwrap().post(Message::Stop {
                child: older.record().id,
                start: Start::Shutdown(TIME_MAX),
                pipes: PipeEnds::default(),
            });
            release
        }
    }

    /// Resolves when the custodian has taken the messages that were posted before.
    async fn messages_taken() {
        let others = Children::new();
        let reported = others.terminate_all(Duration::ZERO);
        let report = tokio::time::timeout(OUTER_DEADLINE, reported).await;
        assert!(report.is_ok(), "the custodian does not answer");
    }
}
