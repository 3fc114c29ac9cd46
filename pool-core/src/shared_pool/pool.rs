//! A shared pool as its users hold it.

use std::fmt;
use std::panic::Location;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::config::SharedBuilder;
use crate::error::{ResizeError, TryAcquireError, WarmUpError};
use crate::handle::Handle;
use crate::shared_pool::acquire::AcquireShared;
use crate::shared_pool::connector::{ArcConnector, SharedConnector};
use crate::shared_pool::lease::SharedLease;
use crate::status::{CloseReport, ConnectionStats, PoolStatus};
use crate::store::Multiplexed;
use crate::sync::Arc;
use crate::wait::draw;

/// A pool whose connections serve many callers at once: each lease gives `&T`.
///
/// For connections that tell requests apart by themselves, as a multiplexed child does by ids. A
/// new lease goes to the connection with the fewest leases; another one is opened only when all have
/// [`target_leases`](SharedBuilder::target_leases) or more; a caller waits only when all have
/// [`max_leases_per_connection`](SharedBuilder::max_leases_per_connection), or none is open.
///
/// A connection that reached its lifetime, or was evicted, serves on until its replacement is open.
/// One that is broken, or was lent as often as `max_uses` allows, takes no new leases. All are
/// closed after their last lease.
///
/// A connection holds its place until it is gone. So while all leases of a broken one have not come
/// home, there is one place less, and with a `max_size` of 1 nobody else is served: whoever wants to
/// bridge that needs room for two.
///
/// With `min_idle` so many connections without any lease are kept ready beside the others. New
/// leases go to them first, so callers spread over as many connections as there may be.
///
/// All else is as in a [`ConnectionPool`], whose clone of the handle, queue, checks, limits and end
/// it has.
///
/// # Examples
///
/// For the connector's side see [`SharedConnector`].
///
/// ```
/// # use pool_core::{ConnectContext, ConnectError, Connector, SharedConnector, async_trait};
/// # struct Units;
/// # #[async_trait]
/// # impl Connector for Units {
/// #     type Connection = ();
/// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
/// # }
/// # impl SharedConnector for Units {}
/// use pool_core::SharedPool;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SharedPool::builder(Units).max_size(4).target_leases(2).build()?;
/// pool.warm_up(1).await?;
/// let (one, two) = (pool.acquire().await?, pool.acquire_within(Duration::from_secs(5)).await?);
/// assert_eq!((pool.status().leases, pool.status().size()), (2, 1), "one connection for both");
///
/// // The third one does not wait either: another connection is opened for those to come.
/// let three = pool.try_acquire()?;
/// while pool.status().size() < 2 {
///     tokio::task::yield_now().await;
/// }
/// # drop((one, two, three));
///
/// assert_eq!(pool.retain(|stats| stats.leases == 0), 0, "nobody has a lease");
/// pool.resize(2)?;
/// assert!(pool.close(Duration::from_secs(10)).await.is_complete());
/// # Ok(())
/// # }
/// ```
pub struct SharedPool<T: Send + Sync + 'static> {
    handle: Arc<Handle<StdArc<T>, Multiplexed>>,
}

impl<T: Send + Sync + 'static> SharedPool<T> {
    /// Starts to describe a pool of what `connector` opens.
    pub fn builder(connector: impl SharedConnector<Connection = T>) -> SharedBuilder<T> {
        SharedBuilder::multiplexed(StdArc::new(ArcConnector(connector)))
    }

    pub(crate) fn new(handle: Handle<StdArc<T>, Multiplexed>) -> Self {
        Self {
            handle: Arc::new(handle),
        }
    }

    /// Lends the connection with the fewest leases: at once if one may take another lease, else the
    /// first that may after everybody who came earlier was served.
    ///
    /// # Errors
    ///
    /// As [`ConnectionPool::acquire`].
    ///
    /// # Cancel safety
    ///
    /// As [`ConnectionPool::acquire`].
    ///
    /// # Panics
    ///
    /// If the future is polled after it completed.
    #[track_caller]
    pub fn acquire(&self) -> AcquireShared<'_, T> {
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
    pub fn acquire_within(&self, timeout: Duration) -> AcquireShared<'_, T> {
        AcquireShared::new(&self.handle.engine, Location::caller(), timeout)
    }

    /// Lends an open connection, or nothing: never waits, overtakes nobody. It may be the lease that
    /// makes the pool open another connection.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Empty`] if no connection may take another lease,
    /// [`TryAcquireError::Closed`] if the pool is closed.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<SharedLease<T>, TryAcquireError> {
        let drawn = draw(&self.handle.engine, Location::caller());
        match drawn.lent {
            Some(share) => Ok(SharedLease::new(share)),
            None => Err(self.handle.engine.nothing_to_lend()),
        }
    }

    /// As [`ConnectionPool::warm_up`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn warm_up(&self, connections: usize) -> Result<(), WarmUpError> {
        self.handle.warm_up(connections).await
    }

    /// A consistent snapshot.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.handle.status()
    }

    /// Changes `max_size`. When it shrinks, connections take no new leases and are closed after
    /// their last: first those that wait for their replacement, then those with the fewest leases.
    /// What is still being opened is closed if there is no room for it.
    ///
    /// # Errors
    ///
    /// As [`ConnectionPool::resize`].
    pub fn resize(&self, max_size: usize) -> Result<(), ResizeError> {
        self.handle.resize(max_size)
    }

    /// Replaces every connection there is: each goes on serving until another one is open, if it
    /// has leases, and is closed after its last. Returns how many.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectContext, ConnectError, Connector, SharedConnector, async_trait};
    /// # struct Units;
    /// # #[async_trait]
    /// # impl Connector for Units {
    /// #     type Connection = ();
    /// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
    /// # }
    /// # impl SharedConnector for Units {}
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::{SharedLease, SharedPool};
    ///
    /// let pool = SharedPool::builder(Units).build()?;
    /// let old = pool.acquire().await?;
    /// assert_eq!(pool.evict_all(), 1);
    ///
    /// // It serves on, until another one is open.
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

    /// Replaces the connections for which `keep` says no, as [`evict_all`](Self::evict_all) does.
    /// `keep` is asked about a snapshot, without a lock.
    pub fn retain(&self, keep: impl FnMut(&ConnectionStats) -> bool) -> usize {
        self.handle.retain(keep)
    }

    /// As [`ConnectionPool::close`]. In the report, `still_leased` counts connections.
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
