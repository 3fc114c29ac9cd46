//! What is known of children that have ended. Each fact has a field of its own.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::process::stderr::StderrTail;

/// How a root exited.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, Exit};
///
/// let child = CommandSpec::new("sh").args(["-c", "exit 7"]).build()?.spawn().await?;
/// match child.exited().await {
///     Exit::Status(status) => assert_eq!(status.code(), Some(7)),
///     Exit::Lost => unreachable!("nothing else here waits for children"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(ExitStatus),
    /// Unknown: something else in this program collected the status. It waits for any child, or
    /// ignores SIGCHLD.
    Lost,
}

/// Which rung of the ladder ended the last process of the scope.
///
/// Where survivors of the root cannot be counted (on systems without `/proc`), they are killed as
/// soon as the root has exited, and the rung tells what ended the root.
///
/// # Examples
///
/// ```
/// use pool_stdio::Rung;
///
/// /// Whether it had to be told twice.
/// fn is_stubborn(rung: Rung) -> bool {
///     matches!(rung, Rung::Term | Rung::Kill)
/// }
/// assert!(is_stubborn(Rung::Kill) && !is_stubborn(Rung::Eof));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rung {
    /// None: everything had exited before.
    AlreadyGone,
    /// They exited while queued input was flushed, or after the end of input.
    Eof,
    /// They exited after SIGTERM.
    Term,
    /// They were killed.
    Kill,
    /// None was tried: this process is a fork of the one that the child belongs to.
    NotOurs,
}

/// Whether the pipes were read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Drain {
    /// Each pipe reached its end of file.
    Complete,
    /// A pipe stayed open past [`drain_timeout`](crate::LadderTimes::drain_timeout) while a process
    /// wrote to it.
    TimedOut,
    /// A pipe stayed open in silence for [`drain_idle`](crate::LadderTimes::drain_idle).
    Idle,
}

/// How many processes of a scope outlived its termination.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CountFailure, Survivors};
///
/// // What could not be counted is never reported as none.
/// let unknown = Survivors::Unknown(CountFailure::NoProc);
/// assert_ne!(unknown, Survivors::Known(0));
/// assert_eq!(unknown.to_string(), "unknown: no /proc of this process's namespace");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Survivors {
    /// So many.
    Known(usize),
    /// There may be some.
    Unknown(CountFailure),
}

/// Why the processes of a scope could not be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CountFailure {
    /// This system has no way to count them.
    Unsupported,
    /// There is no `/proc`, or it shows another pid namespace.
    NoProc,
    /// The system refused to show them, for lack of descriptors or memory.
    Refused,
    /// A process that may belong to the scope does not show whose it is: it runs as another user, or
    /// has made itself unreadable.
    Unreadable,
    /// The count was not there in time.
    NoAnswer,
    /// This process is a fork of the one that the child belongs to, and did not look.
    NotOurs,
}

/// How a termination went.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, Drain, Rung, Stop, Survivors};
///
/// let child = CommandSpec::new("cat").build()?.spawn().await?;
/// let end = child.terminate(Stop::Orderly).await;
/// assert_eq!(end.rung, Rung::Eof, "it left when its input ended");
/// assert!(end.exit.status().unwrap().success());
/// assert_eq!((end.drain, end.pipe_held), (Drain::Complete, false));
/// assert_eq!((end.survivors_found, end.survivors), (0, Survivors::Known(0)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Termination {
    /// The child's process id. The system may have reused it by now.
    pub pid: u32,
    /// Which rung ended the last process of the scope.
    pub rung: Rung,
    /// How the root itself ended.
    pub exit: Exit,
    /// Whether the root had exited before its termination began.
    pub exited_by_itself: bool,
    /// Whether stdout (if it was handed over) and stderr were read to their end.
    pub drain: Drain,
    /// Bytes of stdout that were read and thrown away.
    pub discarded_bytes: u64,
    /// Bytes that were queued for the child's stdin and never written.
    pub unwritten_bytes: usize,
    /// Whether SIGTERM was due but has no counterpart here: on Windows a child can be asked to leave only
    /// if it shares a console with this program. Then it was killed instead.
    pub is_term_skipped: bool,
    /// Whether a pipe was still open when we closed our end: a process outside the scope holds the
    /// other end. It gets EPIPE if it writes.
    pub pipe_held: bool,
    /// The largest number of processes of the scope that were seen alive after the root had exited.
    pub survivors_found: usize,
    /// How many were still alive at the end, `kill_wait` after SIGKILL.
    pub survivors: Survivors,
    /// The process ids of those, as far as they are known.
    pub survivor_pids: Vec<u32>,
    /// The end of what the child wrote to stderr.
    pub stderr: StderrTail,
    /// From the first rung to the end of the drain.
    pub elapsed: Duration,
}

impl Termination {
    /// What is known in a fork of the process that the child belongs to.
    pub(crate) fn in_fork(pid: u32) -> Self {
        Self {
            pid,
            rung: Rung::NotOurs,
            exit: Exit::Lost,
            exited_by_itself: false,
            drain: Drain::Idle,
            discarded_bytes: 0,
            unwritten_bytes: 0,
            is_term_skipped: false,
            pipe_held: true,
            survivors_found: 0,
            survivors: Survivors::Unknown(CountFailure::NotOurs),
            survivor_pids: Vec::new(),
            stderr: StderrTail::default(),
            elapsed: Duration::ZERO,
        }
    }

    /// Logs the exit of a child that exited by itself. A caller learns of it only if it asks that
    /// child for something.
    pub(crate) fn tell_if_unasked(&self, connector: &str) {
        if self.exited_by_itself {
            let (pid, exit, stderr) = (self.pid, self.exit, self.stderr.end());
            tracing::warn!(
                target: "pool_stdio", connector, pid, %exit, stderr, "a child ended by itself"
            );
        }
    }
}

impl Exit {
    /// The status, unless it is lost.
    #[must_use]
    pub const fn status(self) -> Option<ExitStatus> {
        match self {
            Self::Status(status) => Some(status),
            Self::Lost => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Lost => f.write_str("exit status lost"),
        }
    }
}

/// How a [`Children::terminate_all`](crate::Children::terminate_all) ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TerminateAllReport {
    /// How many children ended. A start that failed is none.
    pub ended: usize,
    /// The process ids of those that did not.
    pub left: Vec<u32>,
}

impl fmt::Display for Survivors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(count) => count.fmt(f),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

impl fmt::Display for CountFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "this system cannot count them",
            Self::NoProc => "no /proc of this process's namespace",
            Self::Refused => "the system refused to show them",
            Self::Unreadable => "a process does not show whose it is",
            Self::NoAnswer => "no answer in time",
            Self::NotOurs => "the child belongs to the process that this is a fork of",
        })
    }
}
