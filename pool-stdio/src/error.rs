//! What can go wrong with a child that was asked something.
//!
//! An error says what failed, and its [`ChildReport`] in which circumstances: what the child had
//! been given, what it had said, on both streams, and how it ended if it did. The one decision made
//! here is [`is_retry_safe`](StdioError::is_retry_safe).

use std::fmt;
use std::io;
use std::time::Duration;

use pool_core::BoxError;
use thiserror::Error;
use tokio::time::Instant;

use crate::codec::Fragment;
use crate::process::{Child, Exit, SpawnError, StderrTail};

/// Why a child did not do what it was asked to.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_stdio::{CommandSpec, StdioConnector, StdioError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = CommandSpec::new("sh").args(["-c", "read line; echo no memory >&2; exit 3"]);
/// let pool = ConnectionPool::builder(StdioConnector::new(server)?).build()?;
/// let mut child = pool.acquire().await?;
/// let error = child.request("hello?").await.unwrap_err();
/// let StdioError::Exited { report } = &error else { panic!("{error}") };
/// assert_eq!(report.exit.and_then(|exit| exit.status()).and_then(|status| status.code()), Some(3));
/// assert_eq!(report.stderr.text, "no memory\n");
/// // It may have done what it was asked to.
/// assert_eq!(report.request_bytes_written, "hello?\n".len());
/// assert!(!error.is_retry_safe());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StdioError {
    /// No child was started.
    #[error("child not started")]
    Spawn {
        /// Why not.
        source: SpawnError,
    },
    /// No child was started in time.
    #[error("child not started within {limit:?}")]
    SpawnTimedOut {
        /// How much there was.
        limit: Duration,
    },
    /// The runtime does not watch the child's pipes.
    #[error("pipes not registered with the runtime ({report})")]
    Register {
        /// What the runtime says.
        source: io::Error,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// What the connector was told to do first failed for a reason of its own.
    #[error("handshake failed ({report})")]
    Handshake {
        /// The reason.
        source: BoxError,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The time was over.
    #[error("not done within {limit:?} ({report})")]
    TimedOut {
        /// How much there was.
        limit: Duration,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The child has exited, and everything it wrote was read.
    #[error("child exited ({report})")]
    Exited {
        /// The circumstances, the exit among them.
        report: Box<ChildReport>,
    },
    /// The child has closed its stdout. It may live on, but no reply can come any more.
    #[error("child closed its stdout ({report})")]
    OutputClosed {
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The child has closed its stdin, and what was read after that holds no reply.
    #[error("child closed its stdin ({report})")]
    InputClosed {
        /// What the system says.
        source: io::Error,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// What the child wrote is no frame.
    #[error("no frame in what the child wrote ({report})")]
    Decode {
        /// The codec's reason.
        source: BoxError,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The message cannot be written as a frame.
    #[error("message refused by the codec ({report})")]
    Encode {
        /// The codec's reason.
        source: BoxError,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The child had said something before it was asked; see [`StrayPolicy`](crate::StrayPolicy).
    #[error("child spoke unasked ({report})")]
    StrayOutput {
        /// The circumstances; `partial` is how the output begins.
        report: Box<ChildReport>,
    },
    /// A reply of many frames did not come to its end within the limit.
    #[error("reply exceeds {limit_bytes} bytes ({report})")]
    ReplyTooLong {
        /// [`reply_bytes_max`](crate::StdioConnector::reply_bytes_max).
        limit_bytes: usize,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// An earlier request has no reply yet: it was cancelled, it timed out, or it was sent without
    /// receiving. What comes next from the child would be taken for the reply to another one.
    #[error("an earlier request is unanswered ({report})")]
    Unanswered {
        /// The circumstances, those of the earlier request.
        report: Box<ChildReport>,
    },
    /// An earlier failure has left the connection unusable.
    #[error("connection is broken by an earlier failure ({report})")]
    Broken {
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// Writing to the child failed, but not because it has closed its stdin: the runtime has gone
    /// that the connection was opened on.
    #[error("write to the child failed ({report})")]
    Write {
        /// What the system says.
        source: io::Error,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// Reading from the child failed.
    #[error("read from the child failed ({report})")]
    Read {
        /// What the system says.
        source: io::Error,
        /// The circumstances.
        report: Box<ChildReport>,
    },
}

impl StdioError {
    /// Whether no byte of the request can have reached the child, so that it cannot have been
    /// carried out, not even in part.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::ConnectionPool;
    /// # use pool_stdio::{CommandSpec, StdioConnector};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ConnectionPool::builder(StdioConnector::new(CommandSpec::new("cat"))?).build()?;
    /// let error = pool.acquire().await?.request("two\nlines").await.unwrap_err();
    /// assert!(error.is_retry_safe(), "the codec refused it");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_retry_safe(&self) -> bool {
        match self {
            Self::Spawn { .. }
            | Self::SpawnTimedOut { .. }
            | Self::Register { .. }
            | Self::Handshake { .. }
            | Self::Encode { .. }
            | Self::StrayOutput { .. }
            | Self::Unanswered { .. }
            | Self::Broken { .. } => true,
            Self::TimedOut { report, .. }
            | Self::Exited { report }
            | Self::OutputClosed { report }
            | Self::InputClosed { report, .. }
            | Self::Decode { report, .. }
            | Self::ReplyTooLong { report, .. }
            | Self::Write { report, .. }
            | Self::Read { report, .. } => {
                report.request_bytes_written == 0 && !report.is_input_ended
            }
        }
    }

    /// The circumstances; `None` if there was no child.
    #[must_use]
    pub fn report(&self) -> Option<&ChildReport> {
        match self {
            Self::Spawn { .. } | Self::SpawnTimedOut { .. } => None,
            Self::Register { report, .. }
            | Self::Handshake { report, .. }
            | Self::TimedOut { report, .. }
            | Self::Exited { report }
            | Self::OutputClosed { report }
            | Self::InputClosed { report, .. }
            | Self::Decode { report, .. }
            | Self::Encode { report, .. }
            | Self::StrayOutput { report }
            | Self::ReplyTooLong { report, .. }
            | Self::Unanswered { report }
            | Self::Broken { report }
            | Self::Write { report, .. }
            | Self::Read { report, .. } => Some(report),
        }
    }

    /// The variant as a metrics label: lowercase, words joined by `_`.
    pub(crate) const fn kind(&self) -> ErrorKind {
        match self {
            Self::Spawn { .. } | Self::SpawnTimedOut { .. } | Self::Register { .. } => {
                ErrorKind::Spawn
            }
            Self::Handshake { .. } => ErrorKind::Handshake,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Exited { .. } => ErrorKind::Exited,
            Self::OutputClosed { .. } => ErrorKind::OutputClosed,
            Self::InputClosed { .. } | Self::Write { .. } => ErrorKind::InputClosed,
            Self::Decode { .. } | Self::ReplyTooLong { .. } | Self::Read { .. } => {
                ErrorKind::BadReply
            }
            Self::Encode { .. } => ErrorKind::BadRequest,
            Self::StrayOutput { .. } => ErrorKind::StrayOutput,
            Self::Unanswered { .. } | Self::Broken { .. } => ErrorKind::Unusable,
        }
    }
}

/// The variants of [`StdioError`] as metrics tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Spawn,
    Handshake,
    TimedOut,
    Exited,
    OutputClosed,
    InputClosed,
    BadReply,
    BadRequest,
    StrayOutput,
    Unusable,
}

impl ErrorKind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Spawn,
        Self::Handshake,
        Self::TimedOut,
        Self::Exited,
        Self::OutputClosed,
        Self::InputClosed,
        Self::BadReply,
        Self::BadRequest,
        Self::StrayOutput,
        Self::Unusable,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Spawn => "spawn",
            Self::Handshake => "handshake",
            Self::TimedOut => "timed_out",
            Self::Exited => "exited",
            Self::OutputClosed => "output_closed",
            Self::InputClosed => "input_closed",
            Self::BadReply => "bad_reply",
            Self::BadRequest => "bad_request",
            Self::StrayOutput => "stray_output",
            Self::Unusable => "unusable",
        }
    }
}

/// How far a child had come when something failed.
///
/// # Examples
///
/// ```
/// use pool_stdio::Stage;
///
/// assert_eq!(Stage::Reading.to_string(), "while the reply was awaited");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// It was started and not yet ready to be lent.
    Handshake,
    /// Nothing was asked of it.
    Idle,
    /// A request was not yet written as a whole.
    Writing,
    /// A request was written, its reply not yet read as a whole.
    Reading,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "in its handshake",
            Self::Idle => "idle",
            Self::Writing => "while the request was written",
            Self::Reading => "while the reply was awaited",
        })
    }
}

/// The circumstances of a failure.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::ConnectionPool;
/// use pool_stdio::{CommandSpec, Stage, StdioConnector};
///
/// let server = CommandSpec::new("sh").args(["-c", "read line; echo no memory >&2; exit 3"]);
/// let pool = ConnectionPool::builder(StdioConnector::new(server)?).build()?;
/// let error = pool.acquire().await?.request("hello").await.unwrap_err();
/// let report = error.report().expect("there was a child");
/// assert_eq!(report.stage, Stage::Reading);
/// assert_eq!((report.request_bytes, report.request_bytes_written), (6, 6), "with its newline");
/// assert_eq!(report.exit.unwrap().status().unwrap().code(), Some(3));
/// assert_eq!(report.stderr.text, "no memory\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildReport {
    /// How far it had come.
    pub stage: Stage,
    /// The child's process id.
    pub pid: u32,
    /// Since the request was begun; in a handshake, since the child was wanted.
    pub elapsed: Duration,
    /// The length of the request, or of all requests that are unanswered.
    pub request_bytes: usize,
    /// How much of that the system has taken. The child may have read it or not.
    pub request_bytes_written: usize,
    /// Whether the end of the request was told by closing stdin, as to a
    /// [`OneShot`](crate::OneShot): then the child has the request, even if it is empty.
    pub is_input_ended: bool,
    /// How the bytes begin that were read and make no whole frame yet.
    pub partial: Fragment,
    /// How many there are of them.
    pub partial_bytes: usize,
    /// How the child exited, if it had. After the end of its stdout that is waited for, for 50 ms.
    pub exit: Option<Exit>,
    /// The end of what it wrote to stderr.
    pub stderr: StderrTail,
}

impl ChildReport {
    /// What a child shows by itself, `since` something was asked of it.
    pub(crate) fn of(child: &Child, stage: Stage, since: Option<Instant>) -> Box<Self> {
        Box::new(Self {
            stage,
            pid: child.pid(),
            elapsed: since.map_or(Duration::ZERO, |since| Instant::now() - since),
            request_bytes: 0,
            request_bytes_written: 0,
            is_input_ended: false,
            partial: Fragment::first_of(&[]),
            partial_bytes: 0,
            exit: child.try_wait(),
            stderr: child.stderr_tail(),
        })
    }

    pub(crate) fn with_request(mut self: Box<Self>, bytes: usize, written: usize) -> Box<Self> {
        self.request_bytes = bytes;
        self.request_bytes_written = written;
        self
    }

    pub(crate) fn with_partial(mut self: Box<Self>, begins: &[u8], bytes: usize) -> Box<Self> {
        self.partial = Fragment::first_of(begins);
        self.partial_bytes = bytes;
        self
    }
}

impl fmt::Display for ChildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pid {} {}, after {:.1?}",
            self.pid, self.stage, self.elapsed
        )?;
        if self.request_bytes > 0 {
            let (written, bytes) = (self.request_bytes_written, self.request_bytes);
            write!(f, ", {written} of {bytes} request bytes written")?;
        }
        if self.partial_bytes > 0 {
            let (count, partial) = (self.partial_bytes, &self.partial);
            write!(f, ", {count} bytes read: {partial}")?;
        }
        if let Some(exit) = self.exit {
            write!(f, ", {exit}")?;
        }
        let stderr = self.stderr.end();
        if !stderr.is_empty() {
            write!(f, ", stderr ends with {stderr:?}")?;
        }
        Ok(())
    }
}
