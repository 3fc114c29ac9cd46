//! What can go wrong with a request to a child.
//!
//! An error says what failed. Its [`ChildReport`] says in which circumstances: how much of the
//! request was written, what the child had written to stdout and stderr, and how it exited if it
//! did. The one decision made here is [`is_retry_safe`](StdioError::is_retry_safe).

use std::fmt;
use std::io;
use std::time::Duration;

use pool_core::BoxError;
use thiserror::Error;
use tokio::time::Instant;

use crate::codec::Fragment;
use crate::process::{Child, ChildRecord, Exit, SpawnError, StderrTail};

/// Why a child was not started, or gave no reply. Its text has the cause, because many programs log that
/// alone; the cause is the `source` as well.
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
/// // It has the whole request, and may have carried it out.
/// assert_eq!(report.request_bytes_written, "hello?\n".len());
/// assert!(!error.is_retry_safe());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StdioError {
    /// No child was started.
    #[error("child not started: {source}")]
    Spawn {
        /// Why it was not started.
        source: SpawnError,
    },
    /// No child was started in time.
    #[error("child not started within {limit:?}")]
    SpawnTimedOut {
        /// How much time there was.
        limit: Duration,
    },
    /// The runtime refuses to watch the child's pipes.
    #[error("pipes not registered with the runtime: {source} ({report})")]
    Register {
        /// The error of the runtime.
        source: io::Error,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The [handshake](crate::StdioConnector::handshake) returned an error of its own.
    #[error("handshake failed: {source} ({report})")]
    Handshake {
        /// That error.
        source: BoxError,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The time limit has passed.
    #[error("not done within {limit:?} ({report})")]
    TimedOut {
        /// The time limit.
        limit: Duration,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The child has exited. Everything it wrote was read, and holds no whole reply.
    #[error("child exited ({report})")]
    Exited {
        /// The circumstances, the exit among them.
        report: Box<ChildReport>,
    },
    /// The child has closed its stdout. It may live on, but no reply can come.
    #[error("child closed its stdout ({report})")]
    OutputClosed {
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The child has closed its stdin, and what was read after that holds no reply.
    #[error("child closed its stdin ({report})")]
    InputClosed {
        /// The error of the system.
        source: io::Error,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The codec refuses to decode what the child wrote.
    #[error("no frame in what the child wrote: {source} ({report})")]
    Decode {
        /// The error of the codec.
        source: BoxError,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The codec refuses to encode the message.
    #[error("message refused by the codec: {source} ({report})")]
    Encode {
        /// The error of the codec.
        source: BoxError,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// The child had written before it was asked; see
    /// [`discard_stray_output`](crate::StdioConnector::discard_stray_output).
    #[error("child wrote to stdout before it was asked ({report})")]
    StrayOutput {
        /// The circumstances; `partial` is the beginning of the output.
        report: Box<ChildReport>,
    },
    /// A reply of many frames exceeds the limit.
    #[error("reply exceeds {limit_bytes} bytes ({report})")]
    ReplyTooLong {
        /// [`reply_bytes_max`](crate::StdioConnector::reply_bytes_max).
        limit_bytes: usize,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// An earlier request has no reply yet: it was cancelled, it timed out, or it was sent and its
    /// reply not received. That reply would be taken for the reply to this one.
    #[error("an earlier request is unanswered ({report})")]
    Unanswered {
        /// The circumstances of the earlier request.
        report: Box<ChildReport>,
    },
    /// An earlier failure has left the connection unusable.
    #[error("connection is broken by an earlier failure ({report})")]
    Broken {
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// Writing to the child failed, but not because it has closed its stdin. This happens when the
    /// runtime has gone on which the connection was opened.
    #[error("write to the child failed: {source} ({report})")]
    Write {
        /// The error of the system.
        source: io::Error,
        /// The circumstances.
        report: Box<ChildReport>,
    },
    /// Reading from the child failed.
    #[error("read from the child failed: {source} ({report})")]
    Read {
        /// The error of the system.
        source: io::Error,
        /// The circumstances.
        report: Box<ChildReport>,
    },
}

impl StdioError {
    /// Whether no byte of the request can have reached the child. If so, no part of it was carried
    /// out, and it is safe to send it to another child.
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
    /// assert!(error.is_retry_safe(), "the codec refused it, so nothing was written");
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

    /// What metrics count it as.
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

/// The kinds of [`StdioError`] that metrics distinguish.
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

/// The work that was going on when something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The child was started and not yet ready to be lent.
    Handshake,
    /// The child was in its pool, idle or lent, and nobody was told by a request.
    InPool,
    /// No request was under way.
    Idle,
    /// The request was not yet written as a whole.
    Writing,
    /// The request was written, its reply not yet read as a whole.
    Reading,
}

impl Stage {
    const fn text(self) -> &'static str {
        match self {
            Self::Handshake => "in its handshake",
            Self::InPool => "in its pool",
            Self::Idle => "idle",
            Self::Writing => "while the request was written",
            Self::Reading => "while the reply was awaited",
        }
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
/// use pool_stdio::{CommandSpec, StdioConnector};
///
/// let server = CommandSpec::new("sh").args(["-c", "read line; echo no memory >&2; exit 3"]);
/// let pool = ConnectionPool::builder(StdioConnector::new(server)?).build()?;
/// let error = pool.acquire().await?.request("hello").await.unwrap_err();
/// let report = error.report().expect("there was a child");
/// assert!(report.to_string().contains("while the reply was awaited"));
/// assert_eq!((report.request_bytes, report.request_bytes_written), (6, 6), "with its newline");
/// assert_eq!(report.exit.unwrap().status().unwrap().code(), Some(3));
/// assert_eq!(report.stderr.text, "no memory\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildReport {
    /// The work that was going on. Only the text of the report says it.
    stage: Stage,
    /// The child's process id.
    pub pid: u32,
    /// How long ago the request was begun; in a handshake, how long ago the child was asked for.
    pub elapsed: Duration,
    /// The length of the request, or of all requests that are unanswered.
    pub request_bytes: usize,
    /// How many of these bytes the system has taken. The child may or may not have read them.
    pub request_bytes_written: usize,
    /// Whether stdin was closed to mark the end of the request, as it is for a
    /// [`OneShot`](crate::OneShot). If so the child has the request, even if it is empty.
    pub is_input_ended: bool,
    /// The beginning of the bytes that were read and make no whole frame yet.
    pub partial: Fragment,
    /// How many such bytes there are.
    pub partial_bytes: usize,
    /// How the child exited, if it had. After the end of its stdout, its exit is awaited for up to
    /// 50 ms, and for up to 1 s more if the system shows that it is about to exit.
    pub exit: Option<Exit>,
    /// Why the pool killed the child, if it did: it weighed more than
    /// [`kill_weight`](pool_core::Builder::kill_weight).
    pub kill_cause: Option<String>,
    /// The end of what it wrote to stderr.
    pub stderr: StderrTail,
}

impl ChildReport {
    /// The part that a child itself can tell, for a request that was begun at `since`.
    pub(crate) fn of(child: &Child, stage: Stage, since: Option<Instant>) -> Box<Self> {
        Self::of_record(&child.record(), stage, since)
    }

    /// As [`of`](Self::of), for a caller that does not hold the child.
    pub(crate) fn of_record(
        record: &ChildRecord,
        stage: Stage,
        since: Option<Instant>,
    ) -> Box<Self> {
        Box::new(Self {
            stage,
            pid: record.pid(),
            elapsed: since.map_or(Duration::ZERO, |since| Instant::now() - since),
            request_bytes: 0,
            request_bytes_written: 0,
            is_input_ended: false,
            partial: Fragment::first_of(&[]),
            partial_bytes: 0,
            exit: record.exit(),
            kill_cause: record.kill_cause(),
            stderr: record.stderr_tail(),
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
            self.pid,
            self.stage.text(),
            self.elapsed
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
        if let Some(cause) = &self.kill_cause {
            write!(f, ", killed by its pool: {cause}")?;
        }
        let stderr = self.stderr.end();
        if !stderr.is_empty() {
            write!(f, ", stderr ends with {stderr:?}")?;
        }
        Ok(())
    }
}
