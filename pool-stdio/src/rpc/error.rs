//! Why a call has no result. The one decision made here is whether it may be repeated elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::scan::{Elements, Envelope, Malformed, MessageKind};
use super::server_request::error_message;
use crate::codec::Fragment;
use crate::error::ErrorKind;
use crate::process::{Exit, StderrTail};

/// Whether a request can have been carried out, wholly or in part.
///
/// # Examples
///
/// ```
/// use pool_stdio::{Fate, RpcError};
///
/// let reason = String::from("no JSON");
/// assert_eq!(RpcError::BadRequest { reason }.fate(), Fate::NotSent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// No byte of it has reached the child, and none will.
    NotSent,
    /// The child may have read it.
    MaybeExecuted,
}

/// Why a call has no result.
///
/// Calls that end for the same cause share its [report](RpcReport).
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = CommandSpec::new("sh").args(["-c", "read line; echo no memory >&2; exit 3"]);
/// let connector = JsonRpcConnector::new(server, Protocol::Plain)?;
/// let pool = ConnectionPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let error = child.call::<u32>("count", &[1, 2]).await.unwrap_err();
/// let RpcError::ProcessExited { report, .. } = &error else { panic!("{error}") };
/// assert_eq!(report.stderr.text, "no memory\n");
/// assert!(!error.is_retry_safe(), "it may have counted");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The child has exited, and everything it wrote was read.
    #[error("child exited ({report})")]
    ProcessExited {
        /// The circumstances, the exit among them.
        report: Arc<RpcReport>,
        /// Whether the request can have been carried out.
        fate: Fate,
    },
    /// The child has closed its stdout, or it cannot be read. No reply can come any more.
    #[error("child closed its stdout ({report})")]
    OutputClosed {
        /// The circumstances.
        report: Arc<RpcReport>,
        /// Whether the request can have been carried out.
        fate: Fate,
    },
    /// The child has closed its stdin. Calls that it had read may still be answered.
    #[error("child closed its stdin ({report})")]
    StdinClosed {
        /// The circumstances.
        report: Arc<RpcReport>,
        /// Whether the request can have been carried out.
        fate: Fate,
    },
    /// The child has not read from its stdin for too long. All its calls end with this.
    #[error("child has not read for {limit:?} ({report})")]
    WriteStalled {
        /// [`write_timeout`](crate::JsonRpcConnector::write_timeout).
        limit: Duration,
        /// The circumstances.
        report: Arc<RpcReport>,
        /// Whether the request can have been carried out.
        fate: Fate,
    },
    /// What the child wrote is not the protocol, and cannot be skipped.
    #[error("child broke the protocol: {reason} ({report})")]
    Protocol {
        /// What it did.
        reason: Arc<str>,
        /// The circumstances.
        report: Arc<RpcReport>,
        /// Whether the request can have been carried out.
        fate: Fate,
    },
    /// A message has too many bytes, the request itself if there is no report.
    #[error("message exceeds {limit_bytes} bytes")]
    FrameTooLarge {
        /// [`frame_bytes_max`](crate::JsonRpcConnector::frame_bytes_max).
        limit_bytes: usize,
        /// The circumstances, if it was the child's message.
        report: Option<Arc<RpcReport>>,
        /// Whether the request can have been carried out.
        fate: Fate,
    },
    /// The time was over. The child is told to [cancel](crate::Cancel).
    #[error("not done within {limit:?} (pid {pid})")]
    Timeout {
        /// How much there was.
        limit: Duration,
        /// The child's process id; 0 if there is no process.
        pid: u32,
        /// Whether the request can have been carried out.
        fate: Fate,
    },
    /// The connection was closed or dropped by its holder.
    #[error("connection closed")]
    Cancelled {
        /// Whether the request can have been carried out.
        fate: Fate,
    },
    /// The child has answered with an error.
    #[error("child answered with an error: {0}")]
    Refused(ErrorObject),
    /// What was to be sent is no request.
    #[error("not a request: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// The child has answered, but not with what was expected.
    #[error("result not understood: {reason}")]
    BadResult {
        /// What is wrong with it.
        reason: String,
        /// The whole reply.
        reply: Bytes,
    },
}

impl RpcError {
    /// Whether no byte of the request can have reached the child, so that it cannot have been
    /// carried out, not even in part.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::ConnectionPool;
    /// # use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let connector = JsonRpcConnector::new(CommandSpec::new("cat"), Protocol::Plain)?;
    /// let pool = ConnectionPool::builder(connector).build()?;
    /// let error = pool.acquire().await?.forward("no JSON").await.unwrap_err();
    /// assert!(error.is_retry_safe());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn is_retry_safe(&self) -> bool {
        matches!(self.fate(), Fate::NotSent)
    }

    /// Whether the request can have been carried out.
    #[must_use]
    pub const fn fate(&self) -> Fate {
        match self {
            Self::ProcessExited { fate, .. }
            | Self::OutputClosed { fate, .. }
            | Self::StdinClosed { fate, .. }
            | Self::WriteStalled { fate, .. }
            | Self::Protocol { fate, .. }
            | Self::FrameTooLarge { fate, .. }
            | Self::Timeout { fate, .. }
            | Self::Cancelled { fate } => *fate,
            Self::BadRequest { .. } => Fate::NotSent,
            Self::Refused(_) | Self::BadResult { .. } => Fate::MaybeExecuted,
        }
    }

    /// The circumstances, if the child or its pipes are to blame.
    #[must_use]
    pub fn report(&self) -> Option<&RpcReport> {
        match self {
            Self::ProcessExited { report, .. }
            | Self::OutputClosed { report, .. }
            | Self::StdinClosed { report, .. }
            | Self::WriteStalled { report, .. }
            | Self::Protocol { report, .. } => Some(report),
            Self::FrameTooLarge { report, .. } => report.as_deref(),
            Self::Timeout { .. }
            | Self::Cancelled { .. }
            | Self::Refused(_)
            | Self::BadRequest { .. }
            | Self::BadResult { .. } => None,
        }
    }

    /// The same, though a part of what was asked for may have been carried out.
    pub(super) fn maybe_executed(mut self) -> Self {
        match &mut self {
            Self::ProcessExited { fate, .. }
            | Self::OutputClosed { fate, .. }
            | Self::StdinClosed { fate, .. }
            | Self::WriteStalled { fate, .. }
            | Self::Protocol { fate, .. }
            | Self::FrameTooLarge { fate, .. }
            | Self::Timeout { fate, .. }
            | Self::Cancelled { fate } => *fate = Fate::MaybeExecuted,
            Self::Refused(_) | Self::BadRequest { .. } | Self::BadResult { .. } => {}
        }
        self
    }

    pub(super) const fn kind(&self) -> ErrorKind {
        match self {
            Self::ProcessExited { .. } => ErrorKind::Exited,
            Self::OutputClosed { .. } => ErrorKind::OutputClosed,
            Self::StdinClosed { .. } => ErrorKind::InputClosed,
            Self::WriteStalled { .. } | Self::Timeout { .. } => ErrorKind::TimedOut,
            Self::FrameTooLarge {
                fate: Fate::NotSent,
                report: None,
                ..
            }
            | Self::BadRequest { .. } => ErrorKind::BadRequest,
            Self::Protocol { .. }
            | Self::FrameTooLarge { .. }
            | Self::Refused(_)
            | Self::BadResult { .. } => ErrorKind::BadReply,
            Self::Cancelled { .. } => ErrorKind::Unusable,
        }
    }
}

/// The error object of a JSON-RPC reply.
///
/// # Examples
///
/// ```
/// use pool_stdio::ErrorObject;
///
/// let error = ErrorObject::new(-32601, "method not found");
/// assert_eq!(error.to_string(), "method not found (-32601)");
/// assert_eq!(serde_json::to_string(&error)?, r#"{"code":-32601,"message":"method not found"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorObject {
    /// What kind of error it is.
    pub code: i64,
    /// In words.
    pub message: String,
    /// Whatever else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl ErrorObject {
    /// An error without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// This error as the reply to a client whose message could not be handed on: under the client's
    /// own id, byte for byte, and to each request of a batch. `None` if no reply is expected, as to a
    /// notification. Who has sent what is no message gets it under the id `null`, once for all that
    /// is none in a batch: a reply should not be many times as long as what was sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_stdio::ErrorObject;
    ///
    /// let error = ErrorObject::new(-32000, "no server");
    /// let reply = error.reply_to(br#"{"jsonrpc":"2.0","id":1.0,"method":"greet"}"#);
    /// let expected = r#"{"jsonrpc":"2.0","id":1.0,"error":{"code":-32000,"message":"no server"}}"#;
    /// assert_eq!(reply.unwrap(), expected);
    /// assert!(error.reply_to(br#"{"jsonrpc":"2.0","method":"news"}"#).is_none());
    /// ```
    #[must_use]
    pub fn reply_to(&self, frame: &[u8]) -> Option<Bytes> {
        let to_nobody = || Some(error_message(NOBODY, self).into());
        let Some(mut elements) = Elements::of(frame) else {
            return match addressee(frame) {
                Ok(id) => id.map(|id| error_message(id, self).into()),
                Err(_) => to_nobody(),
            };
        };
        let (mut replies, mut is_empty, mut has_told_nobody) = (Vec::new(), true, false);
        loop {
            let element = match elements.next() {
                Ok(Some(span)) => span.of(frame),
                Ok(None) if !is_empty => break,
                Ok(None) | Err(_) => return to_nobody(),
            };
            is_empty = false;
            let id = match addressee(element) {
                Ok(Some(id)) => id,
                Err(_) if !std::mem::replace(&mut has_told_nobody, true) => NOBODY,
                Ok(None) | Err(_) => continue,
            };
            replies.push(if replies.is_empty() { b'[' } else { b',' });
            replies.extend(error_message(id, self));
        }
        if replies.is_empty() {
            return None;
        }
        replies.push(b']');
        Some(replies.into())
    }
}

/// The id under which a message expects a reply, if it does.
fn addressee(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let found = Envelope::of(message)?;
    Ok(match found.kind()? {
        MessageKind::Request => found.id.map(|id| id.of(message)),
        MessageKind::Notification | MessageKind::Reply => None,
    })
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// The circumstances in which a connection came to its end.
///
/// # Examples
///
/// See [`RpcError`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RpcReport {
    /// The child's process id; 0 if there is no process.
    pub pid: u32,
    /// How the child exited, if it had. After the end of its stdout that is waited for, for 50 ms.
    pub exit: Option<Exit>,
    /// The end of what it wrote to stderr.
    pub stderr: StderrTail,
    /// How the last few frames begin that were no message.
    pub strays: Vec<Fragment>,
}

impl fmt::Display for RpcReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if let Some(exit) = self.exit {
            write!(f, ", {exit}")?;
        }
        if let Some(last) = self.strays.last() {
            write!(f, ", no message: {last}")?;
        }
        let stderr = self.stderr.text.trim_end();
        if let Some(last) = stderr.lines().next_back() {
            write!(f, ", stderr ends with {last:?}")?;
        }
        Ok(())
    }
}

/// Why a connection, or its way in, is over.
#[derive(Debug)]
pub(super) struct ConnectionEnd {
    pub(super) cause: EndCause,
    pub(super) report: Arc<RpcReport>,
}

#[derive(Debug)]
pub(super) enum EndCause {
    Exited,
    OutputClosed,
    StdinClosed,
    WriteStalled(Duration),
    Protocol(Arc<str>),
    FrameTooLarge(usize),
    Closed,
}

impl ConnectionEnd {
    /// What it means for a call.
    pub(super) fn error(&self, fate: Fate) -> RpcError {
        let report = Arc::clone(&self.report);
        match &self.cause {
            EndCause::Exited => RpcError::ProcessExited { report, fate },
            EndCause::OutputClosed => RpcError::OutputClosed { report, fate },
            EndCause::StdinClosed => RpcError::StdinClosed { report, fate },
            EndCause::WriteStalled(limit) => RpcError::WriteStalled {
                limit: *limit,
                report,
                fate,
            },
            EndCause::Protocol(reason) => RpcError::Protocol {
                reason: Arc::clone(reason),
                report,
                fate,
            },
            EndCause::FrameTooLarge(limit_bytes) => RpcError::FrameTooLarge {
                limit_bytes: *limit_bytes,
                report: Some(report),
                fate,
            },
            EndCause::Closed => RpcError::Cancelled { fate },
        }
    }
}

/// The id of who has sent no request that could be told.
const NOBODY: &[u8] = b"null";
