//! Why a pool was not built, warmed up or resized.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::budget::BudgetUsage;
use crate::error::cause::ConnectError;
use crate::status::PoolStatus;

/// Why [`warm_up`](crate::ConnectionPool::warm_up) gave up.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum WarmUpError {
    /// More connections were asked for than the pool may hold, from the start or since it became
    /// smaller.
    #[error("warm-up of {wanted} connections exceeds max_size {max_size}")]
    TooMany {
        /// How many were asked for.
        wanted: usize,
        /// The pool's limit.
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
    /// The connections were not open in time, although no connect failed meanwhile. Slow closes took
    /// up the room, the pool shrank, or connects waited for the delay after an earlier failure, which
    /// then is the source.
    #[error("warm-up took longer than {limit:?}: {}{status}", Because(budget.as_deref()))]
    Timeout {
        /// One second, and the connect timeout for each batch of `max_connecting`.
        limit: Duration,
        /// How many connections were in which state.
        status: PoolStatus,
        /// How full the pool's budget was, if it had no room for another connection.
        budget: Option<Box<BudgetUsage>>,
        /// The latest failure to open a connection, unless connections have lived for `min_uptime`
        /// since.
        #[source]
        last_failure: Option<ConnectError>,
    },
    /// The pool is closed, or its home runtime has shut down.
    #[error("warm-up ended because the pool is closed")]
    Closed,
}

/// Why [`resize`](crate::ConnectionPool::resize), of a pool or of a [`Budget`](crate::Budget), changed
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// No pool can be so large.
    #[error("max_size {max_size} exceeds the largest possible pool of {limit} connections")]
    TooLarge {
        /// What was asked for.
        max_size: usize,
        /// The largest possible value.
        limit: usize,
    },
    /// More than that is reserved for the `min_idle` of the budget's pools.
    #[error("max_connections {limit} is less than the {reserved} that are reserved")]
    Reserved {
        /// What was asked for.
        limit: usize,
        /// What is reserved.
        reserved: usize,
    },
    /// The pool is closed, or its home runtime has shut down.
    #[error("a closed pool cannot be resized")]
    Closed,
}

/// Why [`build`](crate::Builder::build) made no pool.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// use pool_core::BuildError;
///
/// let nowhere = ConnectionPool::builder(connector_fn(async |_| Ok(()))).build();
/// assert_eq!(nowhere.unwrap_err(), BuildError::NoRuntime);
///
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// let of_none = ConnectionPool::builder(connector_fn(async |_| Ok(()))).runtime(runtime.handle().clone()).max_size(0).build();
/// assert_eq!(of_none.unwrap_err().to_string(), "max_size is 0, but must be at least 1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no runtime for the pool's tasks. Call `build` inside a Tokio runtime, or name one with
    /// [`runtime`](crate::Builder::runtime).
    #[error("no Tokio runtime: build the pool inside one or pass its handle to `runtime`")]
    NoRuntime,
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
    /// The budget has no room for the `min_idle` that the pool wants to reserve.
    #[error("budget `{budget}` cannot reserve {wanted} connections, {left} are not reserved yet")]
    Unreservable {
        /// The budget's name.
        budget: Arc<str>,
        /// The pool's `min_idle`.
        wanted: usize,
        /// What is not reserved for other pools.
        left: usize,
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

/// The part of a text that names a full budget, if that is the reason.
struct Because<'a>(Option<&'a BudgetUsage>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |usage| write!(f, "{usage}; "))
    }
}
