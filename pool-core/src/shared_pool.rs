//! A pool whose connections serve many callers at once.
//!
//! It is the engine of [`ConnectionPool`], told to share: the same store, the same maintenance, the
//! same queue. What it pools are `Arc`s. One stays with the store as long as the connection is open,
//! each lease and each check has another, and gives it up before the store learns that it is over.
//! So the last one is the store's, and `close` gets the connection itself.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;

use crate::acquire::Wait;
use crate::config::SharedBuilder;
use crate::connector::{BoxFuture, ConnectContext, Connector, SharedConnector};
use crate::engine::{Engine, PoolStore};
use crate::error::{
    AcquireError, CheckError, ConnectError, ResizeError, TryAcquireError, WarmUpError,
};
use crate::foreign;
use crate::id::{CloseReason, ConnectionId};
use crate::lease::{Held, OpenConnection};
use crate::pool::ConnectionPool;
use crate::status::{CloseReport, ConnectionStats, PoolStatus};
use crate::store::{Condition, Served, SlotKey};
use crate::sync::Arc;

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
    pool: ConnectionPool<StdArc<T>>,
}

impl<T: Send + Sync + 'static> SharedPool<T> {
    /// Starts to describe a pool of what `connector` opens.
    pub fn builder(connector: impl SharedConnector<Connection = T>) -> SharedBuilder<T> {
        SharedBuilder::multiplexed(StdArc::new(Sharer(connector)))
    }

    pub(crate) const fn new(pool: ConnectionPool<StdArc<T>>) -> Self {
        Self { pool }
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
        let timeout = self.pool.engine().timeouts.acquire;
        AcquireShared::new(self.pool.engine(), Location::caller(), timeout)
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
        AcquireShared::new(self.pool.engine(), Location::caller(), timeout)
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
        let lent = self.pool.engine().lend(Location::caller());
        match lent.held {
            Some(share) => Ok(SharedLease::new(share)),
            None => Err(self.pool.engine().nothing_to_lend()),
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
        self.pool.warm_up(connections).await
    }

    /// A consistent snapshot.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.pool.status()
    }

    /// Changes `max_size`. When it shrinks, connections take no new leases and are closed after
    /// their last: first those that wait for their replacement, then those with the fewest leases.
    /// What is still being opened is closed if there is no room for it.
    ///
    /// # Errors
    ///
    /// As [`ConnectionPool::resize`].
    pub fn resize(&self, max_size: usize) -> Result<(), ResizeError> {
        self.pool.resize(max_size)
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
        self.pool.evict_all()
    }

    /// Replaces the connections for which `keep` says no, as [`evict_all`](Self::evict_all) does.
    /// `keep` is asked about a snapshot, without a lock.
    pub fn retain(&self, keep: impl FnMut(&ConnectionStats) -> bool) -> usize {
        self.pool.retain(keep)
    }

    /// As [`ConnectionPool::close`]. In the report, `still_leased` counts connections.
    ///
    /// # Cancel safety
    ///
    /// The close begins with the first poll and is not undone by dropping the future.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        self.pool.close(deadline).await
    }
}

impl<T: Send + Sync + 'static> Clone for SharedPool<T> {
    fn clone(&self) -> Self {
        Self::new(self.pool.clone())
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for SharedPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedPool").field(&self.pool).finish()
    }
}

/// The future that [`SharedPool::acquire`] returns.
///
/// # Cancel safety
///
/// As that of an [exclusive pool](crate::Acquire).
///
/// # Examples
///
/// See [`Acquire`](crate::Acquire).
#[must_use = "futures do nothing unless polled"]
pub struct AcquireShared<'a, T: Send + Sync + 'static> {
    wait: Wait<'a, StdArc<T>, Share<StdArc<T>>>,
}

impl<'a, T: Send + Sync + 'static> AcquireShared<'a, T> {
    const fn new(
        engine: &'a Engine<StdArc<T>>,
        site: &'static Location<'static>,
        timeout: Duration,
    ) -> Self {
        Self {
            wait: Wait::new(engine, site, timeout),
        }
    }
}

impl<T: Send + Sync + 'static> Future for AcquireShared<'_, T> {
    type Output = Result<SharedLease<T>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let share = ready!(Pin::new(&mut self.wait).poll(cx))?;
        Poll::Ready(Ok(SharedLease::new(share)))
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for AcquireShared<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wait.describe(&mut f.debug_struct("AcquireShared"))
    }
}

/// A lease of a shared connection: `&T` as long as this is held.
///
/// Dropping it is synchronous, never blocks, needs no runtime, and may happen on any thread and
/// during a panic.
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
/// let (one, two) = (pool.acquire().await?, pool.acquire().await?);
/// assert_eq!(SharedLease::id(&one), SharedLease::id(&two));
/// assert_eq!(SharedLease::stats(&one).leases, 2);
///
/// SharedLease::discard(one); // it is broken: no new leases, and closed after the last
/// let three = pool.acquire().await?;
/// assert_ne!(SharedLease::id(&three), SharedLease::id(&two));
/// # Ok(())
/// # }
/// ```
#[must_use = "a lease that is not held is over at once"]
pub struct SharedLease<T: Send + Sync + 'static> {
    /// Present until it is dropped or discarded.
    share: Option<Share<StdArc<T>>>,
}

const HELD: &str = "a lease holds its share until it ends";

impl<T: Send + Sync + 'static> SharedLease<T> {
    const fn new(share: Share<StdArc<T>>) -> Self {
        Self { share: Some(share) }
    }

    fn share(lease: &Self) -> &Share<StdArc<T>> {
        lease.share.as_ref().expect(HELD)
    }

    /// The number of the connection, as events and logs name it.
    #[must_use]
    pub fn id(lease: &Self) -> ConnectionId {
        Self::share(lease).id
    }

    /// What the pool knows of the connection.
    #[must_use]
    pub fn stats(lease: &Self) -> ConnectionStats {
        let share = Self::share(lease);
        let now = share.engine.clock.now();
        share.engine.lock().stats(share.key, now)
    }

    /// Ends the lease, and says that the connection is unusable: it takes no new leases, and is
    /// closed with [`CloseReason::Discarded`] after its last one.
    pub fn discard(mut lease: Self) {
        if let Some(share) = lease.share.take() {
            let engine = Arc::clone(&share.engine);
            share.give_back(&engine, Condition::Unfit(CloseReason::Discarded));
        }
    }
}

impl<T: Send + Sync + 'static> Drop for SharedLease<T> {
    fn drop(&mut self) {
        if let Some(share) = self.share.take() {
            let engine = Arc::clone(&share.engine);
            let condition = engine.condition(&share.connection);
            share.give_back(&engine, condition);
            // It may be the last that holds the connector, whose drop is foreign code.
            foreign::drop_quietly(engine);
        }
    }
}

impl<T: Send + Sync + 'static> Deref for SharedLease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &Self::share(self).connection
    }
}

impl<T: Send + Sync + fmt::Debug + 'static> fmt::Debug for SharedLease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLease")
            .field("id", &Self::id(self))
            .field("connection", &**self)
            .finish()
    }
}

/// A part in a shared connection. It is counted by the store, so it must be given back.
pub(crate) struct Share<T: Send + 'static> {
    connection: T,
    key: SlotKey,
    id: ConnectionId,
    engine: Arc<Engine<T>>,
}

impl<T: Send + 'static> Share<T> {
    /// A share that the store has counted already.
    fn of(store: &PoolStore<T>, key: SlotKey) -> Self {
        let live = store.shared_connection(key);
        let engine = Arc::clone(live.engine());
        let share = engine.share.expect("only a shared pool lends shares");
        Self {
            connection: share(live.connection()),
            key,
            id: live.id(),
            engine,
        }
    }
}

impl<T: Send + 'static> Held<T> for Share<T> {
    fn take(store: &mut PoolStore<T>, site: &'static Location<'static>) -> Option<Self> {
        let key = store.take_share(site)?;
        Some(Self::of(store, key))
    }

    fn claim(store: &PoolStore<T>, served: Served<Box<OpenConnection<T>>>) -> Self {
        match served {
            Served::Share(key) => Self::of(store, key),
            Served::Connection(_) => unreachable!("a shared pool lends shares only"),
        }
    }

    fn accept(&self, store: &mut PoolStore<T>) -> Result<(), Condition> {
        store.accept_share(self.key)
    }

    fn connection(&self) -> &T {
        &self.connection
    }

    #[cold]
    fn discard_dead(self, engine: &Engine<T>) {
        let key = self.key;
        foreign::drop_quietly(self.connection);
        let mut store = engine.enter_precisely();
        store.discard_dead_share(key);
        engine.finish(store);
    }

    fn give_back(self, engine: &Engine<T>, condition: Condition) {
        let key = self.key;
        // Order: our handle of the connection goes before the store may close it.
        foreign::drop_quietly(self.connection);
        let mut store = match condition {
            Condition::Clean | Condition::NeedsReset => engine.enter(),
            Condition::Unfit(_) => engine.enter_precisely(),
        };
        store.give_back_share(key, condition);
        engine.finish(store);
    }
}

/// A connector of `Arc`s of what another one opens.
struct Sharer<C>(C);

#[async_trait]
impl<C: SharedConnector> Connector for Sharer<C> {
    type Connection = StdArc<C::Connection>;

    async fn connect(&self, cx: &ConnectContext) -> Result<Self::Connection, ConnectError> {
        self.0.connect(cx).await.map(StdArc::new)
    }

    fn is_alive(&self, conn: &Self::Connection) -> bool {
        self.0.is_alive(conn)
    }

    fn is_clean(&self, conn: &Self::Connection) -> bool {
        self.0.is_clean_shared(conn)
    }

    fn died(&self, conn: &Self::Connection) -> Option<BoxFuture<'static, ()>> {
        self.0.died(conn)
    }

    async fn check(&self, conn: &mut Self::Connection) -> Result<(), CheckError> {
        self.0.check_shared(conn).await
    }

    async fn close(&self, conn: Self::Connection, reason: CloseReason) {
        let conn = StdArc::into_inner(conn);
        debug_assert!(
            conn.is_some(),
            "invariant broken: the last handle of a shared connection is the store's"
        );
        if let Some(conn) = conn {
            self.0.close(conn, reason).await;
        }
    }
}
