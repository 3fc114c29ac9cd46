//! What a pool reports about itself: counts, and facts about single connections.

use std::fmt;
use std::time::Duration;

use crate::error::ConnectError;
use crate::id::ConnectionId;

/// One consistent snapshot of a pool, taken under one lock.
///
/// Every connection is in exactly one of the states, so they add up to [`size`](Self::size).
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(4).build()?;
/// pool.warm_up(2).await?;
/// let lease = pool.acquire().await?;
/// let status = pool.status();
/// assert_eq!((status.leased, status.idle, status.size()), (1, 1, 2));
/// assert_eq!(
///     status.to_string(),
///     "1 of 4 leased, 1 idle, 0 opening, 0 closing, 0 stuck, 0 waiting"
/// );
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The current limit on the number of connections.
    pub max_size: usize,
    /// Being opened.
    pub opening: usize,
    /// Ready to be lent.
    pub idle: usize,
    /// Lent to at least one caller.
    pub leased: usize,
    /// All leases: more than `leased` if connections are shared.
    pub leases: usize,
    /// Taken out of the idle ones for a check.
    pub checking: usize,
    /// Returned, and waiting for their reset or being reset.
    pub returning: usize,
    /// Being closed, within the close timeout.
    pub closing: usize,
    /// Being closed for longer than the close timeout. They take up room until they are gone.
    pub stuck: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// What all connections together weigh, as far as they were weighed; see
    /// [`max_weight`](crate::Builder::max_weight).
    pub weight: u64,
    /// Connections that could not be weighed at the last attempt: see
    /// [`ConnectionStats::last_weighing`]. Their last weight counts.
    pub unweighed: u32,
    /// How many leases a connection should carry, as set or as learned so far; `None` if connections
    /// are not shared.
    pub target_leases: Option<u32>,
    /// Whether the pool has begun to close.
    pub is_closed: bool,
}

impl PoolStatus {
    /// Adds the counts of another pool.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.max_size += other.max_size;
        self.opening += other.opening;
        self.idle += other.idle;
        self.leased += other.leased;
        self.leases += other.leases;
        self.checking += other.checking;
        self.returning += other.returning;
        self.closing += other.closing;
        self.stuck += other.stuck;
        self.waiting += other.waiting;
        self.weight = self.weight.saturating_add(other.weight);
        self.unweighed += other.unweighed;
    }

    /// All connections together, whatever their state.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.opening
            + self.idle
            + self.leased
            + self.checking
            + self.returning
            + self.closing
            + self.stuck
    }
}

impl fmt::Display for PoolStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} leased, {} idle, ",
            self.leased, self.max_size, self.idle
        )?;
        write!(f, "{} opening, ", self.opening)?;
        for (count, what) in [
            (self.checking, "being checked"),
            (self.returning, "returning"),
        ] {
            if count > 0 {
                write!(f, "{count} {what}, ")?;
            }
        }
        write!(
            f,
            "{} closing, {} stuck, {} waiting",
            self.closing, self.stuck, self.waiting
        )
    }
}

/// Facts about one connection.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::PooledConnection;
///
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(1).build()?;
/// drop(pool.acquire().await?);
/// let lease = pool.acquire().await?;
/// let stats = PooledConnection::stats(&lease);
/// assert_eq!((stats.id, stats.uses), (PooledConnection::id(&lease), 2));
/// assert_eq!((stats.leases, stats.idle_for), (1, None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Its number.
    pub id: ConnectionId,
    /// How long ago it was opened.
    pub age: Duration,
    /// How often it was lent, the present lease included.
    pub uses: u64,
    /// What it weighed when it was last weighed; 0 before.
    pub weight: u64,
    /// How the last attempt to weigh it ended.
    pub last_weighing: LastWeighing,
    /// Its leases at present: at most one, unless it is shared.
    pub leases: u32,
    /// How long it has been idle; `None` while it is lent, checked or reset. As exact as the
    /// pool's clock on the hot path: a tenth of a second.
    pub idle_for: Option<Duration>,
}

/// How the last attempt to weigh a connection ended; see
/// [`max_weight`](crate::Builder::max_weight).
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::{LastWeighing, PooledConnection};
///
/// // Its connector has no vitals.
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_weight(100).build()?;
/// let lease = pool.acquire().await?;
/// let last = PooledConnection::stats(&lease).last_weighing;
/// assert_eq!(last, LastWeighing::NotYet);
/// assert!(!last.has_failed());
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LastWeighing {
    /// There was none.
    NotYet,
    /// It has a weight.
    Measured,
    /// Its [`Vitals`](crate::Vitals) could not tell its weight.
    Unknown,
    /// Its [`Vitals`](crate::Vitals) did not answer in time, or no thread was left to ask them. It is not
    /// weighed again before that call has ended.
    Late,
}

impl LastWeighing {
    /// Whether it gave no weight.
    #[must_use]
    pub const fn has_failed(self) -> bool {
        matches!(self, Self::Unknown | Self::Late)
    }
}

/// How a [`close`](crate::ConnectionPool::close) ended.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).build()?;
/// let held = pool.acquire().await?;
/// let report = pool.close(Duration::ZERO).await;
/// assert_eq!((report.closed, report.still_leased), (0, 1));
///
/// drop(held); // closed now
/// let report = pool.close(Duration::from_secs(5)).await;
/// assert_eq!(report.closed, 1);
/// assert!(report.is_complete());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Connections closed since the pool began to close.
    pub closed: usize,
    /// Connections that are still leased. Each is closed when its last lease is returned.
    pub still_leased: usize,
    /// Connections in a connect, reset, check or close that has not ended.
    pub closing: usize,
    /// Connections whose close takes longer than the close timeout.
    pub stuck: usize,
    /// Threads that are still delivering events: an observer blocks them.
    pub delivering: usize,
    /// Keys of a keyed pool whose pool another thread is still making. It is closed when it is made.
    pub building: usize,
}

impl CloseReport {
    /// Of no pool.
    pub(crate) const NOTHING: Self = Self {
        closed: 0,
        still_leased: 0,
        closing: 0,
        stuck: 0,
        delivering: 0,
        building: 0,
    };

    /// Adds the counts of another pool.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.closed += other.closed;
        self.still_leased += other.still_leased;
        self.closing += other.closing;
        self.stuck += other.stuck;
        self.delivering += other.delivering;
        self.building += other.building;
    }

    /// Whether nothing is left of the pool's connections, and every event is delivered.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        let is_empty = self.still_leased == 0 && self.closing == 0 && self.stuck == 0;
        is_empty && self.delivering == 0 && self.building == 0
    }
}

/// How [`evict_all_within`](crate::ConnectionPool::evict_all_within) ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EvictionReport {
    /// Connections that were evicted. Those in use are closed when they are returned.
    pub replaced: usize,
    /// Old connections that were not replaced: no new one could be opened, the time was over, another
    /// call took over, or the pool was closed.
    pub left: usize,
    /// Why no new connection could be opened: the connect failed, or the check after it, or the
    /// [`Budget`](crate::Budget) was used up ([`Fault::BudgetUsedUp`](crate::Fault::BudgetUsedUp)) or too
    /// heavy ([`Fault::BudgetTooHeavy`](crate::Fault::BudgetTooHeavy)).
    pub failure: Option<ConnectError>,
    /// The pool was closed before all were replaced. Then those that were left are closed, not replaced.
    pub is_closed: bool,
}

impl EvictionReport {
    /// Whether no old connection stays, in a pool that is still open.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.left == 0 && !self.is_closed
    }
}
