//! A slot, the right to one connection, and an open connection in its slot.
//!
//! # Invariants
//!
//! A [`Slot`] exists from before its connect until after its close, moves with the connection, and
//! its `Drop` frees the capacity. Nothing else does.

use tokio::sync::oneshot;

use crate::budget::BudgetPermit;
use crate::engine::{Engine, Lends};
use crate::foreign;
use crate::id::ConnectionId;
use crate::store::SlotKey;
use crate::sync::{Arc, Permit};
use crate::time::Time;

/// The right to one connection of a pool.
pub(crate) struct Slot<T: Send + 'static, L: Lends<T>> {
    pub(crate) engine: Arc<Engine<T, L>>,
    pub(crate) key: SlotKey,
    pub(crate) id: ConnectionId,
    permit: Option<Permit>,
    of_budget: Option<BudgetPermit>,
}

impl<T: Send + 'static, L: Lends<T>> Slot<T, L> {
    pub(crate) const fn new(
        engine: Arc<Engine<T, L>>,
        key: SlotKey,
        id: ConnectionId,
        permit: Permit,
        of_budget: Option<BudgetPermit>,
    ) -> Self {
        Self {
            engine,
            key,
            id,
            permit: Some(permit),
            of_budget,
        }
    }

    /// Whether it counts against a budget as well.
    pub(crate) const fn is_budgeted(&self) -> bool {
        self.of_budget.is_some()
    }

    /// Its connect has ended, or is overdue, so another pool may begin one.
    pub(crate) fn connect_ended(&mut self) {
        if let Some(permit) = &mut self.of_budget {
            permit.connect_ended();
        }
    }

    /// Its close hangs, so its pool has nothing of what it holds of the budget.
    pub(crate) fn close_hangs(&mut self) {
        if let Some(permit) = &mut self.of_budget {
            permit.close_hangs();
        }
    }

    /// For a model that releases the permit too late.
    #[cfg(all(test, loom))]
    pub(crate) fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }
}

impl<T: Send + 'static, L: Lends<T>> Drop for Slot<T, L> {
    fn drop(&mut self) {
        let freed = self.engine.release(self.key, self.permit.take());
        // Order: after the store is unlocked.
        if let Some(permit) = self.of_budget.take() {
            permit.give_back(freed);
        }
    }
}

/// An open connection in its slot.
pub(crate) struct OpenConnection<T: Send + 'static, L: Lends<T>> {
    // Order: the connection is dropped before its slot. Otherwise a new one could be opened beside
    // it.
    connection: T,
    slot: Slot<T, L>,
    /// When its present lease began, if leases are timed.
    pub(crate) leased: Time,
    /// Ends the watch on the connection's death when it is dropped.
    watch: Option<oneshot::Sender<()>>,
}

impl<T: Send + 'static, L: Lends<T>> OpenConnection<T, L> {
    pub(crate) const fn new(
        connection: T,
        slot: Slot<T, L>,
        watch: Option<oneshot::Sender<()>>,
    ) -> Self {
        Self {
            connection,
            slot,
            leased: Time::from_nanos(0),
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

    pub(crate) const fn engine(&self) -> &Arc<Engine<T, L>> {
        &self.slot.engine
    }

    /// Takes it apart; the watch on the connection's death ends.
    pub(crate) fn into_parts(self) -> (T, Slot<T, L>) {
        drop(self.watch);
        (self.connection, self.slot)
    }

    /// Drops connection and slot here and now, when there is no runtime to close it on.
    pub(crate) fn dispose(self) {
        let (connection, slot) = self.into_parts();
        foreign::drop_quietly(connection);
        foreign::drop_quietly(slot);
    }
}
