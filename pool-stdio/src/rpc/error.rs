//! Why a call has no result, and whether it may be repeated on another child.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::reply::ErrorObject;
use super::report::RpcReport;
use crate::error::ErrorKind;

/// Whether the child can have carried out any part of a request.
///
/// # Examples
///
/// ```
/// use pool_stdio::{Fate, RpcError};
///
/// let error = RpcError::Cancelled { fate: Fate::NotSent };
/// assert!(error.is_retry_safe());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// No byte of the request reached the child, and none will.
    NotSent,
    /// The child may have read the request.
    MaybeExecuted,
}

/// Why a call has no result.
///
/// Calls that end for the same reason share one [report](RpcReport).
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
    /// The child exited, and everything that it wrote was read.
    #[error("child exited ({report})")]
    ProcessExited {
        /// What was known of the child, including its exit.
        report: Arc<RpcReport>,
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The child closed its stdout, or reading from it failed. No reply can come any more.
    #[error("child closed its stdout ({report})")]
    OutputClosed {
        /// What was known of the child.
        report: Arc<RpcReport>,
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The child closed its stdin. It may still answer requests that it had read.
    #[error("child closed its stdin ({report})")]
    StdinClosed {
        /// What was known of the child.
        report: Arc<RpcReport>,
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The child did not read its stdin for too long. This ends all its calls.
    #[error("child has not read for {limit:?} ({report})")]
    WriteStalled {
        /// [`write_timeout`](crate::RpcLimits::write_timeout).
        limit: Duration,
        /// What was known of the child.
        report: Arc<RpcReport>,
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The child was suspected to hang, and was ended. [`hang_after`](crate::RpcLimits::hang_after)
    /// has the rule.
    #[error("child hung: it said nothing for {silent_for:?} ({report})")]
    Hung {
        /// How long it was silent.
        silent_for: Duration,
        /// What was known of the child.
        report: Arc<RpcReport>,
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The child wrote something that breaks the protocol and cannot be skipped.
    #[error("child broke the protocol: {reason} ({report})")]
    Protocol {
        /// What the child did.
        reason: Arc<str>,
        /// What was known of the child.
        report: Arc<RpcReport>,
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// A message is too long: the request if there is no report, otherwise one of the child.
    #[error("message exceeds {limit_bytes} bytes")]
    FrameTooLarge {
        /// [`frame_bytes_max`](crate::RpcLimits::frame_bytes_max).
        limit_bytes: usize,
        /// What was known of the child, if the message was the child's.
        report: Option<Arc<RpcReport>>,
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The limit of the call passed. The child is told to cancel.
    #[error("not done within {limit:?} ({report})")]
    Timeout {
        /// The limit.
        limit: Duration,
        /// The child's process id.
        pid: u32,
        /// What was known of the child, with the end of its stderr.
        report: Arc<RpcReport>,
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The owner of the connection closed or dropped it.
    #[error("connection closed")]
    Cancelled {
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The client cancelled the request by its own id.
    #[error("cancelled by the client")]
    ClientCancelled {
        /// Whether the child can have carried out the request.
        fate: Fate,
    },
    /// The child cancelled the request, as a server does that ends a subscription.
    #[error("cancelled by the child")]
    ServerCancelled,
    /// Notifications of a subscription were not taken in time. Since one would have been lost, the
    /// subscription was cancelled.
    #[error(
        "subscription ended: {notes} of its notifications, with {bytes} bytes, were not taken in time"
    )]
    SubscriptionOverflow {
        /// How many there were. They are limited by [`notes_max`](crate::Terms::notes_max).
        notes: usize,
        /// How long they are together. They are limited by
        /// [`notification_bytes_max`](crate::RpcLimits::notification_bytes_max).
        bytes: usize,
    },
    /// Another request of the same client is in flight under the same id.
    #[error("id {id} is in flight already")]
    IdInUse {
        /// The id, as the client wrote it.
        id: String,
    },
    /// The child answered with an error.
    #[error("child answered with an error: {0}")]
    Refused(ErrorObject),
    /// The message cannot be sent: it is not a request.
    #[error("not a request: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// The child answered with a result of another type than expected.
    #[error("result not understood: {reason}")]
    BadResult {
        /// What is wrong with it.
        reason: String,
        /// The whole reply.
        reply: Bytes,
    },
}

impl RpcError {
    /// Whether no byte of the request reached the child, so that no part of it can have been carried
    /// out.
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

    /// Whether the child can have carried out the request.
    #[must_use]
    pub(super) const fn fate(&self) -> Fate {
        match self {
            Self::ProcessExited { fate, .. }
            | Self::OutputClosed { fate, .. }
            | Self::StdinClosed { fate, .. }
            | Self::WriteStalled { fate, .. }
            | Self::Hung { fate, .. }
            | Self::Protocol { fate, .. }
            | Self::FrameTooLarge { fate, .. }
            | Self::Timeout { fate, .. }
            | Self::Cancelled { fate }
            | Self::ClientCancelled { fate } => *fate,
            Self::BadRequest { .. } | Self::IdInUse { .. } => Fate::NotSent,
            Self::Refused(_)
            | Self::BadResult { .. }
            | Self::ServerCancelled
            | Self::SubscriptionOverflow { .. } => Fate::MaybeExecuted,
        }
    }

    /// Whether the connection is over, so that another child may do better.
    pub(super) const fn ends_connection(&self) -> bool {
        match self {
            Self::ProcessExited { .. }
            | Self::OutputClosed { .. }
            | Self::StdinClosed { .. }
            | Self::WriteStalled { .. }
            | Self::Hung { .. }
            | Self::Protocol { .. }
            | Self::Cancelled { .. } => true,
            Self::FrameTooLarge { report, .. } => report.is_some(),
            Self::Timeout { .. }
            | Self::ClientCancelled { .. }
            | Self::ServerCancelled
            | Self::SubscriptionOverflow { .. }
            | Self::IdInUse { .. }
            | Self::Refused(_)
            | Self::BadRequest { .. }
            | Self::BadResult { .. } => false,
        }
    }

    /// What was known of the child, if the child or its pipes caused the error, or it was late.
    #[must_use]
    pub fn report(&self) -> Option<&RpcReport> {
        match self {
            Self::ProcessExited { report, .. }
            | Self::OutputClosed { report, .. }
            | Self::StdinClosed { report, .. }
            | Self::WriteStalled { report, .. }
            | Self::Hung { report, .. }
            | Self::Protocol { report, .. }
            | Self::Timeout { report, .. } => Some(report),
            Self::FrameTooLarge { report, .. } => report.as_deref(),
            Self::Cancelled { .. }
            | Self::ClientCancelled { .. }
            | Self::ServerCancelled
            | Self::SubscriptionOverflow { .. }
            | Self::IdInUse { .. }
            | Self::Refused(_)
            | Self::BadRequest { .. }
            | Self::BadResult { .. } => None,
        }
    }

    /// The same error for a batch of which a part may have been carried out.
    pub(super) fn maybe_executed(mut self) -> Self {
        match &mut self {
            Self::ProcessExited { fate, .. }
            | Self::OutputClosed { fate, .. }
            | Self::StdinClosed { fate, .. }
            | Self::WriteStalled { fate, .. }
            | Self::Hung { fate, .. }
            | Self::Protocol { fate, .. }
            | Self::FrameTooLarge { fate, .. }
            | Self::Timeout { fate, .. }
            | Self::Cancelled { fate }
            | Self::ClientCancelled { fate } => *fate = Fate::MaybeExecuted,
            Self::Refused(_)
            | Self::BadRequest { .. }
            | Self::BadResult { .. }
            | Self::ServerCancelled
            | Self::SubscriptionOverflow { .. }
            | Self::IdInUse { .. } => {}
        }
        self
    }

    pub(super) const fn kind(&self) -> ErrorKind {
        match self {
            Self::ProcessExited { .. } => ErrorKind::Exited,
            Self::OutputClosed { .. } => ErrorKind::OutputClosed,
            Self::StdinClosed { .. } => ErrorKind::InputClosed,
            Self::WriteStalled { .. } | Self::Hung { .. } | Self::Timeout { .. } => {
                ErrorKind::TimedOut
            }
            Self::FrameTooLarge {
                fate: Fate::NotSent,
                report: None,
                ..
            }
            | Self::BadRequest { .. }
            | Self::IdInUse { .. } => ErrorKind::BadRequest,
            Self::Protocol { .. }
            | Self::FrameTooLarge { .. }
            | Self::Refused(_)
            | Self::BadResult { .. } => ErrorKind::BadReply,
            Self::Cancelled { .. }
            | Self::ClientCancelled { .. }
            | Self::ServerCancelled
            | Self::SubscriptionOverflow { .. } => ErrorKind::Unusable,
        }
    }
}

/// Why a connection is over, or why nothing can be written to it any more.
#[derive(Debug)]
pub(super) struct ConnectionEnd {
    pub(super) cause: EndCause,
    pub(super) report: Arc<RpcReport>,
}

#[derive(Debug, Clone)]
pub(super) enum EndCause {
    Exited,
    OutputClosed,
    StdinClosed,
    WriteStalled(Duration),
    Hung(Duration),
    Protocol(Arc<str>),
    FrameTooLarge(usize),
    Closed,
}

impl ConnectionEnd {
    /// The error of a call that this ends.
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
            EndCause::Hung(silent_for) => RpcError::Hung {
                silent_for: *silent_for,
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
