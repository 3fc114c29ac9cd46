//! What is known of a child when it has ended: facts, kept apart.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::process::stderr::StderrTail;

/// How the root's life ended.
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
    /// Unknown: something else in this program collected the status, by waiting for any child or
    /// by ignoring SIGCHLD.
    Lost,
}

/// Which rung of the ladder the subject did not outlive.
///
/// Where survivors of the root cannot be counted (on systems without `/proc`), they are killed as
/// soon as the root has ended, and the rung tells what ended the root.
///
/// # Examples
///
/// ```
/// use pool_stdio::Rung;
///
/// /// What an operator wants to hear of.
/// fn is_rude(rung: Rung) -> bool {
///     matches!(rung, Rung::Term | Rung::Kill)
/// }
/// assert!(is_rude(Rung::Kill) && !is_rude(Rung::Eof));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rung {
    /// None: everything had exited before.
    AlreadyGone,
    /// It exited while its queued input was flushed, or after end of input.
    Eof,
    /// It exited after SIGTERM.
    Term,
    /// It was killed.
    Kill,
}

/// Whether the pipes were read to their end.
///
/// # Examples
///
/// See [`Termination`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Drain {
    /// Each pipe reached its end of file.
    Complete,
    /// A pipe stayed open past [`drain_timeout`](crate::LadderTimes::drain_timeout), somebody writing.
    TimedOut,
    /// A pipe stayed open in silence for [`drain_idle`](crate::LadderTimes::drain_idle).
    Idle,
}

/// How a child ended: the facts, kept apart.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, Drain, Rung, Stop};
///
/// let child = CommandSpec::new("cat").build()?.spawn().await?;
/// let end = child.terminate(Stop::Orderly).await;
/// assert_eq!(end.rung, Rung::Eof, "it left when its input ended");
/// assert!(end.exit.status().unwrap().success());
/// assert_eq!((end.drain, end.pipe_held), (Drain::Complete, false));
/// assert_eq!((end.survivors_found, end.survivors_left), (0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Termination {
    /// The child's process id, free for reuse by now.
    pub pid: u32,
    /// Which rung ended the subject.
    pub rung: Rung,
    /// How the root itself ended.
    pub exit: Exit,
    /// Whether stdout (if it was handed over) and stderr were read to their end.
    pub drain: Drain,
    /// Bytes of stdout that were read and thrown away.
    pub discarded_bytes: u64,
    /// Bytes that were queued for the child's stdin and never written.
    pub unwritten_bytes: usize,
    /// Whether a pipe was still open when it was given up: a process outside the subject holds the
    /// other end. If it writes, it gets EPIPE.
    pub pipe_held: bool,
    /// The most processes of the subject that were seen alive after the root had gone.
    pub survivors_found: usize,
    /// Those still alive at the end: beyond the reach of SIGKILL for `kill_wait`.
    pub survivors_left: usize,
    /// The end of what the child wrote to stderr.
    pub stderr: StderrTail,
    /// From the first rung to the end of the drain.
    pub elapsed: Duration,
}

impl Termination {
    /// Logs a death that nobody asked for: who asks such a child next hears of it, and if nobody
    /// does, nobody else would.
    pub(crate) fn tell_if_unasked(&self, connector: &str) {
        if self.rung == Rung::AlreadyGone {
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
///
/// # Examples
///
/// See [`Children::terminate_all`](crate::Children::terminate_all).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TerminateAllReport {
    /// How many children ended.
    pub ended: usize,
    /// The process ids of those that did not.
    pub left: Vec<u32>,
}
