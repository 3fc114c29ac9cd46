//! The children that were started together, so that a program can signal or end all of them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::process::child::{SignalError, send_signal};
use crate::process::command::Command;
use crate::process::custodian::{Custodian, Message, WardId};
use crate::process::once::{Once, Wait, lock};
use crate::process::signal::Signal;
use crate::process::spawner::{SpawnError, Spawning};
use crate::process::sys::{self, Root};
use crate::process::terminate::{LONGEST, Start};
use crate::process::ward::{Pipes, Record};

/// A set of children. A clone is the same set.
///
/// Dropping it changes nothing for the children in it: each belongs to its [`Child`](crate::Child).
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
    roster: Arc<Mutex<Roster>>,
}

#[derive(Debug, Default)]
struct Roster {
    is_closed: bool,
    /// Being spawned.
    opening: usize,
    members: BTreeMap<WardId, Member>,
    waiting: Vec<Arc<Once<()>>>,
}

#[derive(Debug, Clone)]
struct Member {
    record: Arc<Record>,
    /// Weak, so that the set does not keep descriptors open.
    root: Weak<Root>,
}

impl Roster {
    fn is_empty(&self) -> bool {
        self.opening == 0 && self.members.is_empty()
    }

    fn take_waiting(&mut self) -> Vec<Arc<Once<()>>> {
        if self.is_empty() {
            std::mem::take(&mut self.waiting)
        } else {
            Vec::new()
        }
    }
}

impl Children {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a child as a member of this set.
    ///
    /// See [`Command::spawn`], which starts one without a set.
    ///
    /// # Errors
    ///
    /// The future fails with a [`SpawnError`], [`Closed`](SpawnError::Closed) after
    /// [`terminate_all`](Self::terminate_all).
    ///
    /// # Cancel safety
    ///
    /// As of [`Command::spawn`].
    pub fn spawn(&self, command: &Command) -> Spawning {
        match self.open() {
            Some(opening) => Spawning::begin(command, Some(opening)),
            None => Spawning::failed(SpawnError::Closed),
        }
    }

    /// How many children are being started, alive, or being terminated.
    #[must_use]
    pub fn len(&self) -> usize {
        let roster = lock(&self.roster);
        roster.opening + roster.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The process ids of those that were started and not yet ended.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        lock(&self.roster)
            .members
            .values()
            .map(|member| member.record.pid)
            .collect()
    }

    /// Resolves when the set is empty: each child ended, reaped, and its descriptors closed.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: it can be asked for again.
    #[must_use]
    pub fn emptied(&self) -> Emptied {
        let once = Once::new();
        let is_empty = {
            let mut roster = lock(&self.roster);
            if !roster.is_empty() {
                roster.waiting.push(Arc::clone(&once));
            }
            roster.is_empty()
        };
        if is_empty {
            once.set(());
        }
        Emptied {
            wait: Wait::new(once),
        }
    }

    /// Sends a signal to the group of each child, and returns what failed.
    pub fn signal_all(&self, signal: Signal) -> Vec<(u32, SignalError)> {
        let members: Vec<Member> = lock(&self.roster).members.values().cloned().collect();
        let failed = members.into_iter().filter_map(|Member { record, root }| {
            let sent = send_signal(root.upgrade().as_deref(), &record, signal);
            sent.err().map(|error| (record.pid, error))
        });
        failed.collect()
    }

    /// Ends every child, and allows no more to be started: SIGTERM now, SIGKILL after `grace`.
    ///
    /// A termination that is under way is hastened, never slowed. The pipes of a child whose handle
    /// still exists stay with the handle, which sees the end of the stream.
    ///
    /// The future resolves when all are gone, at the latest two seconds after `grace`: what is left
    /// then is beyond the reach of SIGKILL, and is still watched.
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
    pub fn terminate_all(&self, grace: Duration) -> TerminateAll {
        let grace = grace.min(LONGEST);
        let members: Vec<Arc<Record>> = {
            let mut roster = lock(&self.roster);
            roster.is_closed = true;
            roster
                .members
                .values()
                .map(|member| Arc::clone(&member.record))
                .collect()
        };
        let once = Once::new();
        let round_up = RoundUp {
            children: self.clone(),
            begun_with: self.len(),
            until: sys::clock_now() + grace + ROUND_UP_MARGIN,
            report: Arc::clone(&once),
        };
        match Custodian::get() {
            Ok(custodian) => {
                for record in members {
                    let start = Start::Shutdown(grace);
                    let pipes = Pipes::default();
                    custodian.post(Message::Stop {
                        ward: record.id,
                        start,
                        pipes,
                    });
                }
                custodian.post(Message::RoundUp(round_up));
            }
            // Without a custodian there was never a child.
            Err(_) => once.set(round_up.report()),
        }
        TerminateAll {
            wait: Wait::new(once),
        }
    }

    fn open(&self) -> Option<Opening> {
        let mut roster = lock(&self.roster);
        if roster.is_closed {
            return None;
        }
        roster.opening += 1;
        Some(Opening {
            children: self.clone(),
        })
    }

    fn wake(waiting: Vec<Arc<Once<()>>>) {
        for once in waiting {
            once.set(());
        }
    }
}

/// A place in the set for a child that is being started.
#[derive(Debug)]
pub(crate) struct Opening {
    children: Children,
}

impl Opening {
    /// Makes the child a member; `Err` with the membership if the set was closed meanwhile.
    pub(crate) fn admit(self, record: &Arc<Record>, root: &Arc<Root>) -> (Membership, Admission) {
        let mut roster = lock(&self.children.roster);
        let member = Member {
            record: Arc::clone(record),
            root: Arc::downgrade(root),
        };
        roster.members.insert(record.id, member);
        let admission = if roster.is_closed {
            Admission::Refused
        } else {
            Admission::Granted
        };
        drop(roster);
        (
            Membership {
                children: self.children.clone(),
                id: record.id,
            },
            admission,
        )
    }
}

/// Whether a child came before its set was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    Refused,
}

impl Drop for Opening {
    fn drop(&mut self) {
        let waiting = {
            let mut roster = lock(&self.children.roster);
            roster.opening -= 1;
            roster.take_waiting()
        };
        Children::wake(waiting);
    }
}

/// A child's place in the set.
#[derive(Debug)]
pub(crate) struct Membership {
    children: Children,
    id: WardId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let (gone, waiting) = {
            let mut roster = lock(&self.children.roster);
            let gone = roster.members.remove(&self.id);
            (gone, roster.take_waiting())
        };
        drop(gone);
        Children::wake(waiting);
    }
}

/// A `terminate_all` that the custodian brings to its end.
#[derive(Debug)]
pub(crate) struct RoundUp {
    children: Children,
    begun_with: usize,
    until: Instant,
    report: Arc<Once<TerminateAllReport>>,
}

impl RoundUp {
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Reports, if all are gone or the time is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let is_over = self.children.is_empty() || now >= self.until;
        if is_over {
            self.report.set(self.report());
        }
        is_over
    }

    fn report(&self) -> TerminateAllReport {
        let left = self.children.pids();
        TerminateAllReport {
            ended: self.begun_with.saturating_sub(left.len()),
            left,
        }
    }
}

/// How a [`terminate_all`](Children::terminate_all) ended.
///
/// # Examples
///
/// See [`terminate_all`](Children::terminate_all).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TerminateAllReport {
    /// How many children ended.
    pub ended: usize,
    /// The process ids of those that did not.
    pub left: Vec<u32>,
}

/// The future of [`Children::terminate_all`].
///
/// # Examples
///
/// See [`terminate_all`](Children::terminate_all).
#[derive(Debug)]
#[must_use = "the children are ended anyway, but only this tells when they are"]
pub struct TerminateAll {
    wait: Wait<TerminateAllReport>,
}

impl Future for TerminateAll {
    type Output = TerminateAllReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TerminateAllReport> {
        self.wait.poll(cx)
    }
}

/// The future of [`Children::emptied`].
///
/// # Examples
///
/// See [`terminate_all`](Children::terminate_all).
#[derive(Debug)]
pub struct Emptied {
    wait: Wait<()>,
}

impl Future for Emptied {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.wait.poll(cx)
    }
}

/// For killed children to be gone and drained.
const ROUND_UP_MARGIN: Duration = Duration::from_secs(2);
