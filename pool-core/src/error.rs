//! What can go wrong, one type per operation, each with what is needed to act on it.
//!
//! A cause is in `source()`, never in `Display` as well. The types that several waiters receive
//! are cheap to clone.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::id::ConnectionId;
use crate::status::PoolStatus;

/// Any error, as connectors hand it over.
///
/// # Examples
///
/// ```
/// use pool_core::BoxError;
///
/// let error = BoxError::from("no route");
/// assert_eq!(error.to_string(), "no route");
/// ```
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Why a connection could not be opened.
///
/// Keeps the connector's own error: [`Error::source`] returns it with its original type, so
/// `downcast_ref` reaches it.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectError;
/// use std::error::Error;
/// use std::io;
///
/// let error = ConnectError::permanent(io::Error::from(io::ErrorKind::NotFound));
/// assert!(error.is_permanent());
/// let source = error.source().and_then(|e| e.downcast_ref::<io::Error>());
/// assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::NotFound));
/// ```
#[derive(Clone)]
pub struct ConnectError {
    kind: Kind,
    source: Arc<dyn Error + Send + Sync + 'static>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transient,
    Permanent,
}

impl ConnectError {
    /// A failure that a later attempt may not meet.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self {
            kind: Kind::Transient,
            source: Arc::from(source.into()),
        }
    }

    /// A failure that every attempt will meet until somebody changes something.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self {
            kind: Kind::Permanent,
            source: Arc::from(source.into()),
        }
    }

    /// Whether the connector classified the failure as permanent.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self.kind, Kind::Permanent)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Transient => "connect failed, a later attempt may succeed",
            Kind::Permanent => "connect failed, later attempts will fail as well",
        })
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectError")
            .field("kind", &self.kind)
            .field("source", &self.source)
            .finish()
    }
}

impl Error for ConnectError {
    // By hand: a derived `#[source]` would return the `Arc`, and `downcast_ref` would not see
    // through it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Why a check or a reset did not approve of a connection.
///
/// # Examples
///
/// ```
/// use pool_core::CheckError;
/// use std::error::Error;
///
/// let error = CheckError::new("no answer to the ping");
/// assert_eq!(error.to_string(), "the connection did not pass");
/// assert_eq!(error.source().unwrap().to_string(), "no answer to the ping");
/// ```
#[derive(Clone)]
pub struct CheckError(Arc<dyn Error + Send + Sync + 'static>);

impl CheckError {
    /// Wraps the connector's own error; a string will do.
    pub fn new(source: impl Into<BoxError>) -> Self {
        Self(Arc::from(source.into()))
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection did not pass")
    }
}

impl fmt::Debug for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CheckError").field(&self.0).finish()
    }
}

impl Error for CheckError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// What the pool itself found wrong with a connector's call or with a connection; the source of a
/// [`ConnectError`] or [`CheckError`] that no connector made.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, Fault, async_trait};
/// use std::error::Error;
///
/// struct Broken;
///
/// #[async_trait]
/// impl Connector for Broken {
///     type Connection = ();
///     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
///         panic!("no such table")
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn Error>> {
/// # std::panic::set_hook(Box::new(|_| {}));
/// let pool = ConnectionPool::builder(Broken).fail_fast_after(1).build()?;
/// let error = pool.acquire().await.unwrap_err();
/// let connect = error.source().expect("a connect has failed");
/// let fault = connect.source().and_then(|source| source.downcast_ref::<Fault>());
/// assert!(matches!(fault, Some(Fault::Panicked { message, .. }) if message == "no such table"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The call did not end by its deadline.
    #[error("{call} did not end within {limit:?}")]
    TimedOut {
        /// The method of the connector.
        call: &'static str,
        /// Its deadline, from the pool's configuration.
        limit: Duration,
    },
    /// The call panicked.
    #[error("{call} panicked: {message}")]
    Panicked {
        /// The method of the connector.
        call: &'static str,
        /// What the panic said, if it was text.
        message: String,
    },
    /// The connection died sooner than [`min_uptime`](crate::Builder::min_uptime).
    #[error("connection {id} died {age:.1?} after it was opened")]
    DiedEarly {
        /// The connection.
        id: ConnectionId,
        /// How old it was.
        age: Duration,
    },
}

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

/// Why [`warm_up`](crate::ConnectionPool::warm_up) gave up.
///
/// # Examples
///
/// See [`warm_up`](crate::ConnectionPool::warm_up).
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum WarmUpError {
    /// More connections were asked for than the pool may hold.
    #[error("warm-up of {wanted} connections exceeds max_size {max_size}")]
    TooMany {
        /// How many were asked for.
        wanted: usize,
        /// The pool's present limit.
        max_size: usize,
    },
    /// A connect failed. Those that succeeded stay in the pool.
    #[error("warm-up failed with {open} of {wanted} connections open")]
    Connect {
        /// How many were asked for.
        wanted: usize,
        /// How many were open at that moment.
        open: usize,
        /// The failure.
        #[source]
        failure: ConnectError,
    },
    /// The connections were not open in time, although no connect failed meanwhile: capacity was
    /// held by slow or stuck closes, the pool shrank, or connects waited out the delay after an
    /// earlier failure, which then is the source.
    #[error("warm-up took longer than {limit:?}: {status}")]
    Timeout {
        /// The connect timeout, once for each batch of `max_connecting`, and a second.
        limit: Duration,
        /// How many connections were in which state.
        status: PoolStatus,
        /// The latest failure to connect that has not been made good since.
        #[source]
        last_failure: Option<ConnectError>,
    },
    /// The pool is closed, or its home runtime has gone.
    #[error("warm-up ended because the pool is closed")]
    Closed,
}

/// Why [`resize`](crate::ConnectionPool::resize) changed nothing.
///
/// # Examples
///
/// See [`resize`](crate::ConnectionPool::resize).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// The limit is larger than any pool's.
    #[error("max_size {max_size} exceeds the largest possible pool of {limit} connections")]
    TooLarge {
        /// What was asked for.
        max_size: usize,
        /// The largest possible value.
        limit: usize,
    },
    /// The pool is closed, or its home runtime has gone.
    #[error("a closed pool cannot be resized")]
    Closed,
}

/// Why [`build`](crate::Builder::build) made no pool.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
/// use pool_core::BuildError;
/// # struct Units;
/// # #[async_trait]
/// # impl Connector for Units {
/// #     type Connection = ();
/// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
/// # }
///
/// let nowhere = ConnectionPool::builder(Units).build();
/// assert_eq!(nowhere.unwrap_err(), BuildError::NoRuntime);
///
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// let of_none = ConnectionPool::builder(Units).runtime(runtime.handle().clone()).max_size(0).build();
/// assert_eq!(of_none.unwrap_err().to_string(), "max_size is 0, but must be at least 1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no runtime to live on. Call `build` from within a Tokio runtime, or name one with
    /// [`runtime`](crate::Builder::runtime).
    #[error("no Tokio runtime: build the pool inside one or pass its handle to `runtime`")]
    NoRuntime,
    /// The runtime has no timer. Build it with `enable_time` or `enable_all`.
    #[error("the Tokio runtime has no timer: build it with `enable_time` or `enable_all`")]
    NoTimer,
    /// A setting is out of its range.
    #[error("{setting} is {value}, but must be {must}")]
    OutOfRange {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// Two settings contradict each other.
    #[error("{setting} is {value}, but {other} is {other_value}: {rule}")]
    Contradiction {
        /// One setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// The other setting.
        other: &'static str,
        /// Its value.
        other_value: String,
        /// What must hold between the two.
        rule: &'static str,
    },
}
