//! A lease, and what it owns: the connection, its slot, and with the slot a permit.
//!
//! # Invariants
//!
//! A [`Slot`] exists from before its connect until after its close, moves with the connection, and
//! its `Drop` frees the capacity. Nothing else does.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use tokio::sync::oneshot;

use crate::engine::{Engine, PoolStore};
use crate::foreign;
use crate::id::{CloseReason, ConnectionId};
use crate::status::ConnectionStats;
use crate::store::{Condition, Served, SlotKey};
use crate::sync::{Arc, Permit};

/// The right to one connection of a pool.
pub(crate) struct Slot<T: Send + 'static> {
    pub(crate) engine: Arc<Engine<T>>,
    pub(crate) key: SlotKey,
    pub(crate) id: ConnectionId,
    permit: Option<Permit>,
}

impl<T: Send + 'static> Slot<T> {
    pub(crate) const fn new(
        engine: Arc<Engine<T>>,
        key: SlotKey,
        id: ConnectionId,
        permit: Permit,
    ) -> Self {
        Self {
            engine,
            key,
            id,
            permit: Some(permit),
        }
    }
}

#[cfg(all(test, loom))]
impl<T: Send + 'static> Slot<T> {
    /// For a model that releases it too late.
    pub(crate) fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }
}

impl<T: Send + 'static> Drop for Slot<T> {
    fn drop(&mut self) {
        self.engine.release(self.key, self.permit.take());
    }
}

/// An open connection in its slot.
pub(crate) struct OpenConnection<T: Send + 'static> {
    // Order: the connection goes before its slot, or a new one could be opened beside it.
    connection: T,
    slot: Slot<T>,
    /// Ends the watch on the connection's death when it is dropped.
    watch: Option<oneshot::Sender<()>>,
}

impl<T: Send + 'static> OpenConnection<T> {
    pub(crate) const fn new(
        connection: T,
        slot: Slot<T>,
        watch: Option<oneshot::Sender<()>>,
    ) -> Self {
        Self {
            connection,
            slot,
            watch,
        }
    }

    pub(crate) const fn connection(&self) -> &T {
        &self.connection
    }

    pub(crate) const fn connection_mut(&mut self) -> &mut T {
        &mut self.connection
    }

    pub(crate) const fn key(&self) -> SlotKey {
        self.slot.key
    }

    pub(crate) const fn id(&self) -> ConnectionId {
        self.slot.id
    }

    pub(crate) const fn engine(&self) -> &Arc<Engine<T>> {
        &self.slot.engine
    }

    /// Takes it apart; the watch on it ends.
    pub(crate) fn into_parts(self) -> (T, Slot<T>) {
        drop(self.watch);
        (self.connection, self.slot)
    }

    /// Drops connection and slot here and now: for when there is no runtime to close it on.
    pub(crate) fn dispose(self) {
        let (connection, slot) = self.into_parts();
        foreign::drop_quietly(connection);
        foreign::drop_quietly(slot);
    }
}

/// What a caller holds during a lease: the connection itself, or a share of it.
pub(crate) trait Held<T: Send + 'static>: Sized {
    /// Takes what may be lent at once.
    fn take(store: &mut PoolStore<T>, site: &'static Location<'static>) -> Option<Self>;

    /// Takes what a waiter was served.
    fn claim(store: &PoolStore<T>, served: Served<Box<OpenConnection<T>>>) -> Self;

    /// Begins to use what was served, unless it may not be used any more.
    fn accept(&self, store: &mut PoolStore<T>) -> Result<(), Condition>;

    fn connection(&self) -> &T;

    /// Gives back what proved dead before it was used.
    fn discard_dead(self, engine: &Engine<T>);

    fn give_back(self, engine: &Engine<T>, condition: Condition);
}

impl<T: Send + 'static> Held<T> for Box<OpenConnection<T>> {
    #[inline]
    fn take(store: &mut PoolStore<T>, site: &'static Location<'static>) -> Option<Self> {
        store.take_idle(site)
    }

    #[inline]
    fn claim(_: &PoolStore<T>, served: Served<Self>) -> Self {
        match served {
            Served::Connection(live) => live,
            Served::Share(_) => unreachable!("nothing is shared in an exclusive pool"),
        }
    }

    #[inline]
    fn accept(&self, store: &mut PoolStore<T>) -> Result<(), Condition> {
        store.accept(self.key())
    }

    #[inline]
    fn connection(&self) -> &T {
        &self.connection
    }

    #[cold]
    fn discard_dead(self, engine: &Engine<T>) {
        let key = self.key();
        let mut store = engine.enter_precisely();
        store.discard_dead(key, self);
        engine.finish(store);
    }

    #[inline]
    fn give_back(self, engine: &Engine<T>, condition: Condition) {
        engine.give_back(self, condition);
    }
}

/// A lease of one connection: the connection itself, as long as this is held.
///
/// Dropping it returns the connection. That is synchronous, never blocks, needs no runtime, may
/// happen on any thread and during a panic. What happens then is the connector's word: a connection
/// that is alive and clean goes straight to the oldest waiter or becomes idle; one that needs a
/// reset is reset first; any other is closed.
///
/// Everything that is not the connection's own is an associated function, so that it shadows none
/// of the connection's methods: `PooledConnection::discard(lease)`.
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
    live: Option<Box<OpenConnection<T>>>,
}

const HELD: &str = "a lease holds its connection until it ends";

impl<T: Send + 'static> PooledConnection<T> {
    pub(crate) const fn new(live: Box<OpenConnection<T>>) -> Self {
        Self { live: Some(live) }
    }

    /// For models that return it in their own way.
    #[cfg(all(test, loom))]
    pub(crate) fn into_live(mut self) -> Box<OpenConnection<T>> {
        self.live.take().expect(HELD)
    }

    fn live(lease: &Self) -> &OpenConnection<T> {
        lease.live.as_ref().expect(HELD)
    }

    /// The number of the connection, as events and logs name it.
    #[must_use]
    pub fn id(lease: &Self) -> ConnectionId {
        Self::live(lease).slot.id
    }

    /// What the pool knows of the connection.
    #[must_use]
    pub fn stats(lease: &Self) -> ConnectionStats {
        let live = Self::live(lease);
        let engine = live.engine();
        let now = engine.clock.now();
        engine.lock().stats(live.key(), now)
    }

    /// Returns the connection to be closed, with [`CloseReason::Discarded`]: for a holder that
    /// knows it to be unusable.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
    /// # struct Units;
    /// # #[async_trait]
    /// # impl Connector for Units {
    /// #     type Connection = ();
    /// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::PooledConnection;
    ///
    /// let pool = ConnectionPool::builder(Units).build()?;
    /// let lease = pool.acquire().await?;
    /// let id = PooledConnection::id(&lease);
    /// PooledConnection::discard(lease);
    /// assert_ne!(PooledConnection::id(&pool.acquire().await?), id);
    /// # Ok(())
    /// # }
    /// ```
    pub fn discard(mut lease: Self) {
        let Some(live) = lease.live.take() else {
            return;
        };
        let engine = Arc::clone(live.engine());
        engine.give_back(live, Condition::Unfit(CloseReason::Discarded));
    }

    /// Takes the connection out of the pool for good. Its slot is free at once; the pool will not
    /// close it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
    /// # struct Units;
    /// # #[async_trait]
    /// # impl Connector for Units {
    /// #     type Connection = ();
    /// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_core::PooledConnection;
    ///
    /// let pool = ConnectionPool::builder(Units).max_size(1).build()?;
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
        let live = lease.live.take().expect(HELD);
        let (connection, slot) = live.into_parts();
        let mut store = slot.engine.enter();
        store.detach(slot.key);
        slot.engine.finish(store);
        connection
    }
}

impl<T: Send + 'static> Drop for PooledConnection<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            let engine = Arc::clone(live.engine());
            let condition = engine.condition(live.connection());
            engine.give_back(live, condition);
            // It may be the last that holds the connector, whose drop is foreign code.
            foreign::drop_quietly(engine);
        }
    }
}

impl<T: Send + 'static> Deref for PooledConnection<T> {
    type Target = T;

    fn deref(&self) -> &T {
        Self::live(self).connection()
    }
}

impl<T: Send + 'static> DerefMut for PooledConnection<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.live.as_mut().expect(HELD).connection_mut()
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for PooledConnection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PooledConnection");
        debug
            .field("id", &Self::id(self))
            .field("connection", &**self)
            .finish()
    }
}
