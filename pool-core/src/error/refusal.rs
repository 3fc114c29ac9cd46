//! Why a caller gets no connection.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::budget::BudgetUsage;
use crate::error::cause::ConnectError;
use crate::id::ConnectionId;
use crate::status::PoolStatus;

/// What an acquire was waiting for when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcquirePhase {
    /// No connection was being opened: every slot was in use, or a check or a reset was about to end.
    Queue,
    /// At least one connection was being opened.
    Connect,
    /// No connection was being opened, because the delay after a failure had not passed yet.
    Backoff,
    /// No connection was being opened, because the pool's [`Budget`](crate::Budget) was used up.
    Budget,
}

impl fmt::Display for AcquirePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "waiting for a connection to come back",
            Self::Connect => "waiting for a connect",
            Self::Backoff => "waiting out the delay after failed connects",
            Self::Budget => "waiting for the budget",
        })
    }
}

/// The circumstances in which an acquire failed, with every variant of [`AcquireError`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AcquireContext {
    /// The pool's name.
    pub pool: Arc<str>,
    /// What the acquire was waiting for.
    pub phase: AcquirePhase,
    /// How many connections were in which state.
    pub status: PoolStatus,
    /// The connect that has been in flight for longest.
    pub oldest_connect: Option<ConnectInFlight>,
    /// The latest failure to open a connection, unless connections have proved themselves since, or it
    /// is long past.
    pub last_failure: Option<ConnectError>,
    /// How full the budget was, if the pool waited for it.
    pub budget: Option<BudgetUsage>,
    /// Whether `pool` is the name of a key of a [`KeyedPool`](crate::KeyedPool).
    pub is_key: bool,
}

impl AcquireContext {
    const fn noun(&self) -> &'static str {
        match self.is_key {
            true => "key",
            false => "pool",
        }
    }
}

/// A connect that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectInFlight {
    /// The number the connection will have.
    pub id: ConnectionId,
    /// How long ago the connect began.
    pub elapsed: Duration,
}

impl fmt::Display for ConnectInFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.1?}", self.id, self.elapsed)
    }
}

/// Why no connection was lent.
///
/// Cheap to clone. [`Error::source`] is the latest [`ConnectError`], whose own source is the
/// connector's error.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// use pool_core::{AcquireError, AcquirePhase};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).name("workers").max_size(1).build()?;
/// let held = pool.acquire().await?;
/// let error = pool.acquire_within(Duration::from_secs(2)).await.unwrap_err();
/// assert!(matches!(error, AcquireError::Timeout { .. }));
///
/// let context = error.context();
/// assert_eq!((&*context.pool, context.phase), ("workers", AcquirePhase::Queue));
/// assert_eq!((context.status.leased, context.status.waiting), (1, 1));
/// assert!(context.last_failure.is_none(), "no connect has failed");
/// # drop(held);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AcquireError {
    /// No connection became free in time. The counts say why: if all are leased, `max_size` is too
    /// small or leases are leaked; if connects fail, the source has the cause.
    Timeout {
        /// The acquire timeout that passed.
        limit: Duration,
        /// The circumstances when it passed.
        context: Arc<AcquireContext>,
    },
    /// `max_waiters` callers are waiting already. Reject the request upstream, or raise `max_waiters`.
    Overloaded {
        /// `max_waiters`.
        limit: usize,
        /// The circumstances of the refusal.
        context: Arc<AcquireContext>,
    },
    /// The pool is closed, or its home runtime has shut down.
    Closed {
        /// The circumstances of the refusal.
        context: Arc<AcquireContext>,
    },
    /// Connects keep failing, and no connection is left that could serve.
    Unavailable {
        /// After how long an acquire makes the pool try again.
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
        let (noun, pool) = (self.context().noun(), &self.context().pool);
        match self {
            Self::Timeout { limit, .. } => {
                write!(f, "no connection of {noun} `{pool}` within {limit:?}: ")
            }
            Self::Overloaded { limit, .. } => {
                write!(f, "queue of {noun} `{pool}` is full with {limit} waiters: ")
            }
            Self::Closed { .. } => write!(f, "{noun} `{pool}` is closed: "),
            Self::Unavailable { retry_after, .. } => {
                write!(
                    f,
                    "{noun} `{pool}` cannot open connections, retry after {retry_after:.1?}: "
                )
            }
        }?;
        match self {
            Self::Timeout { context, .. } => {
                match (context.phase, context.oldest_connect, &context.budget) {
                    (AcquirePhase::Connect, Some(connect), _) => {
                        write!(f, "{} ({connect}); ", context.phase)
                    }
                    (AcquirePhase::Budget, _, Some(usage)) => {
                        usage.describe(f, context.noun())?;
                        f.write_str("; ")
                    }
                    (phase, _, _) => write!(f, "{phase}; "),
                }
            }
            Self::Overloaded { context, .. } => match &context.budget {
                Some(usage) => {
                    usage.describe(f, context.noun())?;
                    f.write_str("; ")
                }
                None => Ok(()),
            },
            Self::Closed { .. } | Self::Unavailable { .. } => Ok(()),
        }?;
        let context = self.context();
        write!(f, "{}", context.status)?;
        if let Some(failure) = &context.last_failure {
            f.write_str("; the last connect or check failed")?;
            // Many programs log this text alone, and not the chain of sources.
            if let Some(cause) = failure.source() {
                write!(f, ": {cause}")?;
            }
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
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// No connection is idle. [`acquire`](crate::ConnectionPool::acquire) would wait for one.
    #[error("no idle connection in pool `{pool}`: {status}")]
    Empty {
        /// The pool's name.
        pool: Arc<str>,
        /// How many connections were in which state.
        status: PoolStatus,
    },
    /// The pool is closed, or its home runtime has shut down.
    #[error("pool `{pool}` is closed: {status}")]
    Closed {
        /// The pool's name.
        pool: Arc<str>,
        /// How many connections were in which state.
        status: PoolStatus,
    },
}
