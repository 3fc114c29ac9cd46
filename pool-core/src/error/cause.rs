//! What can be wrong with a single connection: errors that a connector makes, and faults that the
//! pool finds.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::id::{CloseReason, ConnectionId};

/// Any error, as connectors pass it to the pool.
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
    /// A failure that may not recur: a later attempt can succeed.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self {
            kind: Kind::Transient,
            source: Arc::from(source.into()),
        }
    }

    /// A failure that every later attempt will meet, until something outside the pool changes.
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

/// Why a check or a reset failed.
///
/// # Examples
///
/// ```
/// use pool_core::CheckError;
/// use std::error::Error;
///
/// let error = CheckError::new("no answer to the ping");
/// assert_eq!(error.to_string(), "the connection is unfit");
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
        f.write_str("the connection is unfit")
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

/// What the pool itself found wrong with a connector's call or with a connection. It is the source of
/// each [`ConnectError`] and [`CheckError`] that the connector did not make.
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
    /// The call took longer than its limit.
    #[error("{call} did not end within {limit:?}")]
    TimedOut {
        /// The method of the connector.
        call: &'static str,
        /// Its limit, from the pool's settings.
        limit: Duration,
    },
    /// The call panicked.
    #[error("{call} panicked: {message}")]
    Panicked {
        /// The method of the connector.
        call: &'static str,
        /// The panic's message, if it was text.
        message: String,
    },
    /// The connection was found dead or unfit sooner than
    /// [`min_uptime`](crate::Builder::min_uptime) after it was opened.
    #[error("connection {id} ended {age:.1?} after it was opened: {reason}")]
    EndedEarly {
        /// The connection.
        id: ConnectionId,
        /// How old it was.
        age: Duration,
        /// Why it is closed.
        reason: CloseReason,
    },
    /// The pool's [`Budget`](crate::Budget) had no room for another connection.
    #[error("budget `{budget}` is used up: {used} of {limit} connections")]
    BudgetUsedUp {
        /// The budget's name.
        budget: Arc<str>,
        /// The connections of all its pools.
        used: usize,
        /// Its limit.
        limit: usize,
    },
    /// The pool's [`Budget`](crate::Budget) grants nothing until its connections are lighter.
    #[error("budget `{budget}` is too heavy: weight {weight} of {max_weight}")]
    BudgetTooHeavy {
        /// The budget's name.
        budget: Arc<str>,
        /// The weight of the connections of all its pools.
        weight: u64,
        /// Its limit.
        max_weight: u64,
    },
}
