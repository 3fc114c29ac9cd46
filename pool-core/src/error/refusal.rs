//! Why a caller gets no connection.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::error::cause::ConnectError;
use crate::status::PoolStatus;

/// What an acquire was waiting for when it failed.
///
/// # Examples
///
/// See [`AcquireError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcquirePhase {
    /// Every connection was lent, being checked, reset or closed, and no more may be opened.
    Queue,
    /// At least one connection was being opened.
    Connect,
    /// The next connect waited for the delay after failures to pass.
    Backoff,
}

impl fmt::Display for AcquirePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "waiting for a connection to come back",
            Self::Connect => "waiting for a connect",
            Self::Backoff => "waiting out the delay after failed connects",
        })
    }
}

/// The circumstances in which an acquire failed: the same for every variant of [`AcquireError`].
///
/// # Examples
///
/// See [`AcquireError`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AcquireContext {
    /// The pool's name.
    pub pool: Arc<str>,
    /// What the acquire was waiting for.
    pub phase: AcquirePhase,
    /// How many connections were in which state.
    pub status: PoolStatus,
    /// The latest failure to open a connection that has not been made good since.
    pub last_failure: Option<ConnectError>,
}

/// Why no connection was lent.
///
/// Cheap to clone. [`Error::source`] is the latest [`ConnectError`], whose own source is the
/// connector's error.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
/// use pool_core::{AcquireError, AcquirePhase};
/// use std::time::Duration;
/// # struct Units;
/// # #[async_trait]
/// # impl Connector for Units {
/// #     type Connection = ();
/// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ConnectionPool::builder(Units).name("workers").max_size(1).build()?;
/// let held = pool.acquire().await?;
/// let error = pool.acquire_within(Duration::from_secs(2)).await.unwrap_err();
/// assert!(matches!(error, AcquireError::Timeout { .. }));
///
/// let context = error.context();
/// assert_eq!((&*context.pool, context.phase), ("workers", AcquirePhase::Queue));
/// assert_eq!((context.status.leased, context.status.waiting), (1, 1));
/// assert!(context.last_failure.is_none(), "it is not for want of connects");
/// # drop(held);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AcquireError {
    /// No connection became free in time. Look at the counts: raise `max_size` if all are leased,
    /// look for leaked leases if they should not be, look at the source if connects fail.
    Timeout {
        /// The acquire timeout that passed.
        limit: Duration,
        /// The circumstances when it passed.
        context: Arc<AcquireContext>,
    },
    /// As many callers as allowed are waiting already. Shed the request, or raise `max_waiters`.
    Overloaded {
        /// `max_waiters`.
        limit: usize,
        /// The circumstances of the refusal.
        context: Arc<AcquireContext>,
    },
    /// The pool is closed, or its home runtime has gone.
    Closed {
        /// The circumstances of the refusal.
        context: Arc<AcquireContext>,
    },
    /// Connections cannot be opened at present, and none is left that could serve.
    Unavailable {
        /// When the pool will try again if asked.
        retry_after: Duration,
        /// The circumstances of the refusal.
        context: Arc<AcquireContext>,
    },
}

impl AcquireError {
    /// The circumstances in which the acquire failed.
    #[must_use]
    pub fn context(&self) -> &AcquireContext {
        match self {
            Self::Timeout { context, .. }
            | Self::Overloaded { context, .. }
            | Self::Closed { context }
            | Self::Unavailable { context, .. } => context,
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = &self.context().pool;
        match self {
            Self::Timeout { limit, .. } => {
                write!(f, "no connection of pool `{pool}` within {limit:?}: ")
            }
            Self::Overloaded { limit, .. } => {
                write!(f, "queue of pool `{pool}` is full with {limit} waiters: ")
            }
            Self::Closed { .. } => write!(f, "pool `{pool}` is closed: "),
            Self::Unavailable { retry_after, .. } => {
                write!(
                    f,
                    "pool `{pool}` cannot open connections, retry after {retry_after:.1?}: "
                )
            }
        }?;
        match self {
            Self::Timeout { context, .. } | Self::Unavailable { context, .. } => {
                write!(f, "{}; ", context.phase)
            }
            Self::Overloaded { .. } | Self::Closed { .. } => Ok(()),
        }?;
        let context = self.context();
        write!(f, "{}", context.status)?;
        if context.last_failure.is_some() {
            f.write_str("; the last connect failed")?;
        }
        Ok(())
    }
}

// By hand, because the source lies one box deeper than a derive can reach.
impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.context()
            .last_failure
            .as_ref()
            .map(|failure| failure as _)
    }
}

/// Why [`try_acquire`](crate::ConnectionPool::try_acquire) lent nothing.
///
/// # Examples
///
/// See [`try_acquire`](crate::ConnectionPool::try_acquire).
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// No idle connection. [`acquire`](crate::ConnectionPool::acquire) would wait for one.
    #[error("no idle connection in pool `{pool}`: {status}")]
    Empty {
        /// The pool's name.
        pool: Arc<str>,
        /// How many connections were in which state.
        status: PoolStatus,
    },
    /// The pool is closed, or its home runtime has gone.
    #[error("pool `{pool}` is closed: {status}")]
    Closed {
        /// The pool's name.
        pool: Arc<str>,
        /// How many connections were in which state.
        status: PoolStatus,
    },
}
