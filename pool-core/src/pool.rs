//! An exclusive pool as its users hold it.

use std::fmt;
use std::panic::Location;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::acquire::Acquire;
use crate::config::Builder;
use crate::connector::Connector;
use crate::error::{AcquireError, ResizeError, TryAcquireError, WarmUpError};
use crate::handle::Handle;
use crate::lease::PooledConnection;
use crate::status::{CloseReport, ConnectionStats, EvictionReport, PoolStatus};
use crate::store::Exclusive;
use crate::sync::Arc;
use crate::wait::{Patience, draw};
#[cfg(not(loom))]
use crate::weak::WeakPool;

/// A pool of connections that are lent one caller at a time.
///
/// Clones are handles of the same pool. When the last one is dropped, idle connections are closed
/// at once and leased ones when they are returned. [`close`](Self::close) does the same and waits
/// for it.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
///
/// struct Greeter;
///
/// #[async_trait]
/// impl Connector for Greeter {
///     type Connection = String;
///     async fn connect(&self, cx: &ConnectContext) -> Result<String, ConnectError> {
///         Ok(format!("hello from {}", cx.id))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ConnectionPool::builder(Greeter).max_size(2).build()?;
/// let first = pool.acquire().await?;
/// let second = pool.acquire().await?;
/// assert_eq!((&**first, &**second), ("hello from #0", "hello from #1"));
/// drop(first);
/// assert_eq!(*pool.acquire().await?, "hello from #0", "used again");
/// # Ok(())
/// # }
/// ```
pub struct ConnectionPool<T: Send + 'static> {
    handle: Arc<Handle<T, Exclusive>>,
}

impl<T: Send + 'static> ConnectionPool<T> {
    /// A builder of a pool whose connections `connector` opens.
    pub fn builder(connector: impl Connector<Connection = T>) -> Builder<T> {
        Builder::exclusive(StdArc::new(connector))
    }

    pub(crate) fn new(handle: Handle<T, Exclusive>) -> Self {
        Self {
            handle: Arc::new(handle),
        }
    }

    /// Lends a connection: an idle one at once, otherwise the first that becomes free after all
    /// earlier callers were served. A new one is opened if more callers wait than connects are in
    /// flight and the limit allows it.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::AcquireError::Timeout) after the acquire timeout,
    /// [`Overloaded`](crate::AcquireError::Overloaded) if the queue is full,
    /// [`Unavailable`](crate::AcquireError::Unavailable) if connects keep failing and no connection
    /// is left that could serve, [`Closed`](crate::AcquireError::Closed) if the pool is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue and nothing else. A connection that was
    /// already handed to it goes to the next waiter; a connect that was started goes on.
    ///
    /// # Panics
    ///
    /// If the future is polled after it completed.
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_, T> {
        let timeout = self.handle.engine.timeouts.acquire;
        Acquire::new(&self.handle.engine, Location::caller(), timeout)
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectionPool, connector_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::AcquireError;
    /// use std::time::Duration;
    ///
    /// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(1).build()?;
    /// let held = pool.acquire_within(Duration::from_secs(5)).await?;
    /// let error = pool.acquire_within(Duration::ZERO).await.unwrap_err();
    /// assert!(matches!(error, AcquireError::Timeout { .. }));
    /// # drop(held);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn acquire_within(&self, timeout: Duration) -> Acquire<'_, T> {
        Acquire::new(&self.handle.engine, Location::caller(), timeout)
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectionPool, connector_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(5))).build()?;
    /// let acquire = pool.acquire_owned();
    /// drop(pool);
    /// let lease = tokio::spawn(acquire).await??;
    /// assert_eq!(*lease, 5);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn acquire_owned(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<T>, AcquireError>> + Send + use<T> {
        let (pool, site) = (self.clone(), Location::caller());
        async move {
            let engine = &pool.handle.engine;
            Acquire::new(engine, site, engine.timeouts.acquire).await
        }
    }

    /// Lends an idle connection if there is one. Never waits, never opens a connection, and never
    /// overtakes a waiter.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Empty`] if no connection is idle, [`TryAcquireError::Closed`] if the pool
    /// is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectionPool, connector_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::TryAcquireError;
    ///
    /// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).build()?;
    /// // Nothing is open yet, and `try_acquire` opens nothing.
    /// assert!(matches!(pool.try_acquire(), Err(TryAcquireError::Empty { .. })));
    /// pool.warm_up(1).await?;
    /// assert!(pool.try_acquire().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn try_acquire(&self) -> Result<PooledConnection<T>, TryAcquireError> {
        match draw(&self.handle.engine, Location::caller(), Patience::None).lent {
            Some(open) => Ok(PooledConnection::new(open)),
            None => Err(self.handle.engine.nothing_to_lend()),
        }
    }

    /// Opens connections until at least `connections` are open, leased ones included. For programs
    /// that should fail at their start if they cannot connect.
    ///
    /// # Errors
    ///
    /// [`WarmUpError::Connect`] with the first failure to connect, [`WarmUpError::TooMany`] beyond
    /// `max_size`, also if the pool becomes smaller meanwhile, [`WarmUpError::Timeout`] after one second and one connect timeout for each batch
    /// of `max_connecting`, [`WarmUpError::Closed`] if the pool is closed.
    ///
    /// # Cancel safety
    ///
    /// Connections that were opened stay open, and connects in flight go on. No further ones are started.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
    /// use pool_core::WarmUpError;
    ///
    /// struct Fickle(bool);
    ///
    /// #[async_trait]
    /// impl Connector for Fickle {
    ///     type Connection = ();
    ///     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
    ///         if self.0 { Ok(()) } else { Err(ConnectError::permanent("no such program")) }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ConnectionPool::builder(Fickle(true)).max_size(4).build()?;
    /// pool.warm_up(2).await?;
    /// assert_eq!(pool.status().idle, 2);
    /// assert!(matches!(pool.warm_up(5).await, Err(WarmUpError::TooMany { max_size: 4, .. })));
    ///
    /// let pool = ConnectionPool::builder(Fickle(false)).build()?;
    /// match pool.warm_up(2).await {
    ///     Err(WarmUpError::Connect { wanted: 2, open: 0, failure }) => assert!(failure.is_permanent()),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
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

    /// Changes `max_size`.
    ///
    /// When it grows, connections are opened for the waiters at once. When it shrinks, surplus idle
    /// connections are closed, the longest unused first, and surplus leased ones when they are
    /// returned. A connect in flight goes on; its connection is closed if there is no room for it. A pool of size zero lends nothing until it grows again.
    ///
    /// # Errors
    ///
    /// [`ResizeError::TooLarge`] beyond the largest possible pool, [`ResizeError::Closed`] if the pool is
    /// closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectionPool, connector_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::ResizeError;
    ///
    /// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(1).build()?;
    /// let first = pool.acquire().await?;
    /// pool.resize(2)?;
    /// let second = pool.acquire().await?;
    ///
    /// pool.resize(1)?;
    /// drop(first); // one too many: closed
    /// assert_eq!(pool.status().idle, 0);
    /// drop(second);
    /// assert_eq!(pool.status().idle, 1);
    /// assert!(matches!(pool.resize(usize::MAX), Err(ResizeError::TooLarge { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn resize(&self, max_size: usize) -> Result<(), ResizeError> {
        self.handle.resize(max_size)
    }

    /// Closes every connection that exists now: idle ones at once, leased ones when they are
    /// returned, those being opened as soon as they are open. Returns how many. For use when the
    /// peer has changed.
    pub fn evict_all(&self) -> usize {
        self.handle.evict_all()
    }

    /// Replaces every connection that exists now, one by one, spread over `time`: a new one is opened and
    /// checked, then an old one is evicted. If a new one cannot be opened, or fails its check, the other
    /// old ones stay, and the report says why.
    ///
    /// Connections in use are closed when they are returned. A full pool has no room for both, so one
    /// old connection is evicted before its replacement is opened. So it is if the budget is full and no
    /// other pool waits for it; otherwise the old ones stay, and the report names the budget. A call takes
    /// the place of an earlier one that has not ended. It ends one connect and one check timeout after `time` at the latest.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the replacement. Connections that were replaced stay so.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectionPool, connector_fn};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).build()?;
    /// pool.warm_up(3).await?;
    /// let report = pool.evict_all_within(Duration::from_secs(60)).await;
    /// assert_eq!((report.replaced, report.left), (3, 0));
    /// assert!(pool.status().idle >= 2, "new ones");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn evict_all_within(&self, time: Duration) -> EvictionReport {
        self.handle.evict_all_within(time).await
    }

    /// Closes the connections for which `keep` returns `false`: idle ones at once, others when they
    /// are returned. Returns how many.
    ///
    /// `keep` is called on a snapshot, without a lock; it may be slow, and may use the pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectionPool, connector_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::PooledConnection;
    ///
    /// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).build()?;
    /// pool.warm_up(2).await?;
    /// let used = pool.acquire().await?;
    /// let id = PooledConnection::id(&used);
    /// drop(used);
    ///
    /// assert_eq!(pool.retain(|stats| stats.uses == 0), 1);
    /// let kept = pool.acquire().await?;
    /// assert_ne!(PooledConnection::id(&kept), id);
    /// # drop(kept);
    /// assert_eq!(pool.evict_all(), 1, "the one that was kept");
    /// # Ok(())
    /// # }
    /// ```
    pub fn retain(&self, keep: impl FnMut(&ConnectionStats) -> bool) -> usize {
        self.handle.retain(keep)
    }

    /// Closes the pool and waits, at most for `deadline`, until its last connection is gone.
    ///
    /// From the first poll on, no acquire succeeds, every waiter is answered with
    /// [`Closed`](crate::AcquireError::Closed), connects in flight are dropped, and idle connections
    /// are closed. Leased connections are closed when they are returned, even after the deadline.
    /// Calling it again, on any handle, waits again.
    ///
    /// If the report is [complete](CloseReport::is_complete), all events of the pool have been delivered to
    /// its observer. An observer that blocks another thread does not hold up the close beyond its deadline, even
    /// if that thread is the only worker of the pool's runtime; the report counts such threads. One that blocks
    /// the thread that polls this future does hold it up: with the events of the close itself, or, if the future
    /// is polled by a runtime's only worker, with any event that is delivered there.
    ///
    /// # Cancel safety
    ///
    /// The close begins with the first poll and is not undone by dropping the future.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectionPool, connector_fn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::AcquireError;
    /// use std::time::Duration;
    ///
    /// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).build()?;
    /// drop(pool.acquire().await?);
    /// let report = pool.close(Duration::from_secs(10)).await;
    /// assert!(report.is_complete());
    /// assert!(matches!(pool.acquire().await, Err(AcquireError::Closed { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        self.handle.close(deadline).await
    }
}

impl<T: Send + 'static> Clone for ConnectionPool<T> {
    fn clone(&self) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for ConnectionPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.describe(f, "ConnectionPool")
    }
}
