//! A shared pool as its users hold it.

use std::fmt;
use std::panic::Location;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::config::SharedBuilder;
use crate::error::{AcquireError, ResizeError, TryAcquireError, WarmUpError};
use crate::handle::Handle;
use crate::shared_pool::acquire::AcquireShared;
use crate::shared_pool::connector::{ArcConnector, SharedConnector};
use crate::shared_pool::lease::SharedLease;
use crate::status::{CloseReport, ConnectionStats, EvictionReport, PoolStatus};
use crate::store::Multiplexed;
use crate::sync::Arc;
use crate::wait::{Patience, draw};
#[cfg(not(loom))]
use crate::weak::WeakPool;

/// A pool whose connections serve many callers at once: each lease gives `&T`.
///
/// For connections that can tell the requests of many callers apart, for example by ids. A new lease
/// goes to the connection with the fewest leases. Another connection is opened when all have
/// [`target_leases`](SharedBuilder::target_leases) or more, or if that is learned, when it helps. A
/// connection that was not needed for the idle timeout, because fewer connections would have carried
/// the leases there were, is closed after its last lease.
///
/// A caller waits in three cases: no connection is open; all connections have
/// [`max_leases_per_connection`](SharedBuilder::max_leases_per_connection); or other callers wait
/// already, because connections are being opened for them. Each of these connections gets an even
/// share of the waiting callers.
///
/// A connection that was evicted or reached its lifetime goes on serving until its replacement is
/// open, as long as it has leases or had one in the last ten seconds. If connects fail, or there is
/// no room for a replacement, it is closed as soon as it has no lease. One that is broken, or was
/// lent as often as `max_uses` allows, takes no new leases and is closed after its last one.
///
/// A connection counts against `max_size` until it is closed. So a broken connection takes up room
/// until its last lease is returned; with a `max_size` of 1 no other caller is served until then.
///
/// With `min_idle`, that many connections without leases are kept ready beside the others. New
/// leases go to them first, so callers spread over as many connections as `max_size` allows.
///
/// Everything else, such as handles, the queue, checks and the end of the pool, is as in a
/// [`ConnectionPool`](crate::ConnectionPool).
///
/// # Examples
///
/// ```
/// # use pool_core::connector_fn;
/// use pool_core::SharedPool;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SharedPool::builder(connector_fn(async |_| Ok(()))).max_size(4).target_leases(2).build()?;
/// pool.warm_up(1).await?;
/// let (one, two) = (pool.acquire().await?, pool.acquire_within(Duration::from_secs(5)).await?);
/// assert_eq!((pool.status().leases, pool.status().size()), (2, 1), "one connection for both");
///
/// // The third lease does not wait either, and makes the pool open another connection.
/// let three = pool.try_acquire()?;
/// while pool.status().size() < 2 {
///     tokio::task::yield_now().await;
/// }
/// # drop((one, two, three));
///
/// assert_eq!(pool.retain(|stats| stats.leases == 0), 0, "all leases are over");
/// pool.resize(2)?;
/// assert!(pool.close(Duration::from_secs(10)).await.is_complete());
/// # Ok(())
/// # }
/// ```
pub struct SharedPool<T: Send + Sync + 'static> {
    handle: Arc<Handle<StdArc<T>, Multiplexed>>,
}

impl<T: Send + Sync + 'static> SharedPool<T> {
    /// A builder of a pool whose connections `connector` opens.
    pub fn builder(connector: impl SharedConnector<Connection = T>) -> SharedBuilder<T> {
        SharedBuilder::multiplexed(StdArc::new(ArcConnector(connector)))
    }

    pub(crate) fn new(handle: Handle<StdArc<T>, Multiplexed>) -> Self {
        Self {
            handle: Arc::new(handle),
        }
    }

    /// Lends the connection with the fewest leases: at once if one may take another lease, otherwise
    /// the first that may after all earlier callers were served.
    ///
    /// # Errors
    ///
    /// As [`ConnectionPool::acquire`](crate::ConnectionPool::acquire).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue and nothing else. A share that was already
    /// handed to it goes to the next waiter; a connect that was started goes on.
    ///
    /// # Panics
    ///
    /// If the future is polled after it completed.
    #[track_caller]
    pub fn acquire(
        &self,
    ) -> impl Future<Output = Result<SharedLease<T>, AcquireError>> + Send + Unpin {
        let timeout = self.handle.engine.timeouts.acquire;
        AcquireShared::new(&self.handle.engine, Location::caller(), timeout)
    }

    /// [`acquire`](Self::acquire) with a timeout of its own. A timeout of zero never waits.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_within(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<SharedLease<T>, AcquireError>> + Send + Unpin {
        AcquireShared::new(&self.handle.engine, Location::caller(), timeout)
    }

    /// [`acquire`](Self::acquire) as a future that holds a handle of the pool instead of borrowing one:
    /// for a service or a task that keeps it. Pin it to poll it by hand.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_owned(
        &self,
    ) -> impl Future<Output = Result<SharedLease<T>, AcquireError>> + Send + use<T> {
        let (pool, site) = (self.clone(), Location::caller());
        async move {
            let engine = &pool.handle.engine;
            AcquireShared::new(engine, site, engine.timeouts.acquire).await
        }
    }

    /// Lends an open connection if one may take another lease. Never waits and never overtakes a
    /// waiter. The pool may open another connection because of this lease.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Empty`] if no connection may take another lease,
    /// [`TryAcquireError::Closed`] if the pool is closed.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<SharedLease<T>, TryAcquireError> {
        let drawn = draw(&self.handle.engine, Location::caller(), Patience::None);
        match drawn.lent {
            Some(share) => Ok(SharedLease::new(share)),
            None => Err(self.handle.engine.nothing_to_lend()),
        }
    }

    /// Opens connections until at least `connections` are open, as
    /// [`ConnectionPool::warm_up`](crate::ConnectionPool::warm_up) does.
    ///
    /// # Errors
    ///
    /// As [`ConnectionPool::warm_up`](crate::ConnectionPool::warm_up).
    ///
    /// # Cancel safety
    ///
    /// Connections that were opened stay open, and connects in flight go on. No further ones are started.
    pub async fn warm_up(&self, connections: usize) -> Result<(), WarmUpError> {
        self.handle.warm_up(connections).await
    }

    /// The name that errors, events, logs and metrics give the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        self.handle.engine.telemetry.pool()
    }

    /// A reference that does not keep the pool open.
    #[cfg(not(loom))]
    pub fn downgrade(&self) -> WeakPool<Self> {
        let handle = Arc::downgrade(&self.handle);
        WeakPool::new(move || handle.upgrade().map(|handle| Self { handle }))
    }

    /// A consistent snapshot.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.handle.status()
    }

    /// Changes `max_size`. When it shrinks, surplus connections take no new leases and are closed
    /// after their last: first those that are to be replaced, then those with the fewest leases. A
    /// connection that is still being opened is closed once it is open if there is no room for it.
    ///
    /// # Errors
    ///
    /// As [`ConnectionPool::resize`](crate::ConnectionPool::resize).
    pub fn resize(&self, max_size: usize) -> Result<(), ResizeError> {
        self.handle.resize(max_size)
    }

    /// Replaces every connection that exists now, and returns how many. One that has leases, or had
    /// one in the last ten seconds, goes on serving until its replacement is open; the others are
    /// closed at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::connector_fn;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::{SharedLease, SharedPool};
    ///
    /// let pool = SharedPool::builder(connector_fn(async |_| Ok(()))).build()?;
    /// let old = pool.acquire().await?;
    /// assert_eq!(pool.evict_all(), 1);
    ///
    /// // It goes on serving until another one is open.
    /// let new = loop {
    ///     let lease = pool.acquire().await?;
    ///     if SharedLease::id(&lease) != SharedLease::id(&old) {
    ///         break lease;
    ///     }
    ///     tokio::task::yield_now().await;
    /// };
    /// # drop((old, new));
    /// # Ok(())
    /// # }
    /// ```
    pub fn evict_all(&self) -> usize {
        self.handle.evict_all()
    }

    /// Replaces every connection that exists now, one by one, spread over `time`: a new one is opened and
    /// checked, then an old one is evicted. If a new one cannot be opened, or fails its check, the other
    /// old ones stay, and the report says why.
    ///
    /// An old one that is in use goes on serving until a new one has passed its check. The new one takes
    /// leases meanwhile. An unused one is closed first if the pool or its budget is full, unless other pools
    /// wait for the budget; then the old ones stay, and the report names the budget. A call takes the place
    /// of an earlier one that has not ended. It ends one connect and one check timeout after `time` at the
    /// latest.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the replacement. Connections that were replaced stay so.
    pub async fn evict_all_within(&self, time: Duration) -> EvictionReport {
        self.handle.evict_all_within(time).await
    }

    /// Replaces the connections for which `keep` returns `false`, as [`evict_all`](Self::evict_all)
    /// does. `keep` is called on a snapshot, without a lock.
    pub fn retain(&self, keep: impl FnMut(&ConnectionStats) -> bool) -> usize {
        self.handle.retain(keep)
    }

    /// Closes the pool and waits, as [`ConnectionPool::close`](crate::ConnectionPool::close) does. In
    /// the report, `still_leased` counts connections, not leases.
    ///
    /// # Cancel safety
    ///
    /// The close begins with the first poll and is not undone by dropping the future.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        self.handle.close(deadline).await
    }
}

impl<T: Send + Sync + 'static> Clone for SharedPool<T> {
    fn clone(&self) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for SharedPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.describe(f, "SharedPool")
    }
}
