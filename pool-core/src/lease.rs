//! The lease of an exclusive pool: one caller has the connection alone.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use crate::connect;
use crate::engine::{Engine, Lends, PoolStore, Stored};
use crate::foreign;
use crate::id::{CloseReason, ConnectionId};
use crate::slot::OpenConnection;
use crate::status::ConnectionStats;
use crate::store::{Condition, Exclusive, Upkeep};
use crate::sync::Arc;
use crate::vitals::Overweight;

/// The connection of an exclusive pool, in its slot.
pub(crate) type Leased<T> = Stored<T, Exclusive>;

impl<T: Send + 'static> Lends<T> for Exclusive {
    type Lent = Leased<T>;

    #[inline]
    fn take(store: &mut PoolStore<T, Self>, site: &'static Location<'static>) -> Option<Leased<T>> {
        store.take_idle(site)
    }

    fn take_stale(
        store: &mut PoolStore<T, Self>,
        site: &'static Location<'static>,
    ) -> Option<Leased<T>> {
        store.take_stale(site)
    }

    #[inline]
    fn claim(_: &PoolStore<T, Self>, served: Leased<T>) -> Leased<T> {
        served
    }

    #[inline]
    fn accept(store: &mut PoolStore<T, Self>, lent: &Leased<T>) -> Result<(), Condition> {
        store.accept(lent.key())
    }

    #[inline]
    fn connection(lent: &Leased<T>) -> &T {
        lent.connection()
    }

    #[cold]
    fn discard_dead(lent: Leased<T>, engine: &Engine<T, Self>) {
        let key = lent.key();
        let mut store = engine.enter_precisely();
        store.discard_dead(key, lent);
        engine.finish(store);
    }

    #[inline]
    fn give_back(lent: Leased<T>, engine: &Engine<T, Self>, condition: Condition) {
        let key = lent.key();
        let mut store = match condition {
            Condition::Clean | Condition::NeedsReset => engine.enter(),
            Condition::Ended | Condition::Unfit(_) => engine.enter_precisely(),
        };
        store.give_back(key, lent, condition);
        engine.finish(store);
    }

    async fn run(upkeep: Upkeep<Leased<T>>, _: Arc<Engine<T, Self>>) {
        match upkeep {
            Upkeep::Reset(open) => connect::reset(open).await,
            Upkeep::Check(open) => connect::check(open).await,
        }
    }

    fn abandon(upkeep: Upkeep<Leased<T>>, _: &Engine<T, Self>) {
        match upkeep {
            Upkeep::Reset(open) | Upkeep::Check(open) => open.dispose(),
        }
    }
}

/// A lease of an exclusive pool: the connection itself, as long as this is held.
///
/// Dropping it returns the connection. That is synchronous, never blocks, needs no runtime, and may
/// happen on any thread and during a panic. The connector decides what happens next: a connection
/// that is alive and clean goes straight to the oldest waiter or becomes idle; one that needs a
/// reset is reset first; any other is closed.
///
/// Everything that is not the connection's own is an associated function, so that it hides none of
/// the connection's methods: `PooledConnection::discard(lease)`.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
/// # struct Words;
/// # #[async_trait]
/// # impl Connector for Words {
/// #     type Connection = String;
/// #     async fn connect(&self, _cx: &ConnectContext) -> Result<String, ConnectError> {
/// #         Ok(String::from("hello"))
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ConnectionPool::builder(Words).max_size(1).build()?;
/// let mut lease = pool.acquire().await?;
/// lease.push_str(", pool");
/// drop(lease);
/// assert_eq!(*pool.acquire().await?, "hello, pool");
/// # Ok(())
/// # }
/// ```
#[must_use = "a lease that is not held returns its connection at once"]
pub struct PooledConnection<T: Send + 'static> {
    /// Present until it is dropped, discarded or detached.
    open: Option<Leased<T>>,
}

const HELD: &str = "a lease holds its connection until it ends";

impl<T: Send + 'static> PooledConnection<T> {
    #[inline]
    pub(crate) fn new(mut open: Leased<T>) -> Self {
        open.leased = open.engine().lease_begins();
        Self { open: Some(open) }
    }

    /// For models that return it in their own way.
    #[cfg(all(test, loom))]
    pub(crate) fn into_open(mut self) -> Leased<T> {
        self.open.take().expect(HELD)
    }

    fn open(lease: &Self) -> &OpenConnection<T, Exclusive> {
        lease.open.as_ref().expect(HELD)
    }

    /// The number of the connection, as events and logs name it.
    #[must_use]
    pub fn id(lease: &Self) -> ConnectionId {
        Self::open(lease).id()
    }

    /// Facts about the connection.
    #[must_use]
    pub fn stats(lease: &Self) -> ConnectionStats {
        let open = Self::open(lease);
        let engine = open.engine();
        let now = engine.clock.now();
        engine.lock().stats(open.key(), now)
    }

    /// Why the connection was killed, if it was: it weighed more than
    /// [`kill_weight`](crate::Builder::kill_weight).
    #[must_use]
    pub fn kill_cause(lease: &Self) -> Option<Overweight> {
        let open = Self::open(lease);
        open.engine().lock().kill_cause(open.key())
    }

    /// Gives the connection up to be closed, with [`CloseReason::Discarded`]. For a holder that knows
    /// it to be unusable.
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
    /// let lease = pool.acquire().await?;
    /// let id = PooledConnection::id(&lease);
    /// PooledConnection::discard(lease);
    /// assert_ne!(PooledConnection::id(&pool.acquire().await?), id);
    /// # Ok(())
    /// # }
    /// ```
    pub fn discard(mut lease: Self) {
        let Some(open) = lease.open.take() else {
            return;
        };
        let engine = Arc::clone(open.engine());
        engine.lease_ends(open.leased);
        Exclusive::give_back(open, &engine, Condition::Unfit(CloseReason::Discarded));
        foreign::drop_quietly(engine);
    }

    /// Takes the connection out of the pool for good. Its slot is free at once, in the pool's
    /// [`Budget`](crate::Budget) too, and the pool will not close it.
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
    /// let mine: () = PooledConnection::detach(pool.acquire().await?);
    /// assert_eq!(pool.status().size(), 0, "there is room for another");
    /// # let _ = mine;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a detached connection is the caller's to close"]
    #[expect(
        clippy::missing_panics_doc,
        reason = "it holds its connection until it ends"
    )]
    pub fn detach(mut lease: Self) -> T {
        let open = lease.open.take().expect(HELD);
        open.engine().lease_ends(open.leased);
        let (connection, slot) = open.into_parts();
        let engine = Arc::clone(&slot.engine);
        let mut store = engine.enter();
        store.detach(slot.key);
        engine.finish(store);
        drop(slot);
        foreign::drop_quietly(engine);
        connection
    }
}

impl<T: Send + 'static> Drop for PooledConnection<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let engine = Arc::clone(open.engine());
            engine.lease_ends(open.leased);
            let condition = engine.condition(open.connection());
            Exclusive::give_back(open, &engine, condition);
            // This may be the last reference to the connector, whose drop is foreign code.
            foreign::drop_quietly(engine);
        }
    }
}

impl<T: Send + 'static> Deref for PooledConnection<T> {
    type Target = T;

    fn deref(&self) -> &T {
        Self::open(self).connection()
    }
}

impl<T: Send + 'static> DerefMut for PooledConnection<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.open.as_mut().expect(HELD).connection_mut()
    }
}

// Without the connection, so that `unwrap_err` of an acquire compiles whatever `T` is.
impl<T: Send + 'static> fmt::Debug for PooledConnection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection")
            .field("id", &Self::id(self))
            .finish_non_exhaustive()
    }
}
