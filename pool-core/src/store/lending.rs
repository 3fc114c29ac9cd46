//! The two ways to lend: a connection to one caller at a time, or to many callers at once.
//!
//! The store is the same for both. [`Lending`] lists every point at which they differ.

use crate::id::{CloseReason, ConnectionId};
use crate::store::slots::SlotRecord;
use crate::store::{SlotKey, Store};
use crate::time::Time;

/// The decisions that depend on how connections are lent.
pub(crate) trait Lending: Sized + Send + Sync + 'static {
    /// Whether a connection can have several leases.
    const IS_SHARED: bool;

    /// What a waiter is handed.
    type Served<C: Send + 'static>: Send + 'static;
    /// Work on an open connection that the maintenance task runs.
    type Upkeep<C: Send + 'static>: Send + 'static;

    /// Lends, keeps or closes a connection that was just opened or checked.
    fn offer<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey, connection: C);

    /// Checks a connection that was just opened, before or while it is lent.
    fn check_new<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey, connection: C);

    /// A new connection passed its check, so an old one may go.
    fn proved<C: Send + 'static>(store: &mut Store<C, Self>);

    /// Whether this connection would go on serving after it was evicted, until another one is open.
    fn serves_until_replaced<C: Send + 'static>(
        store: &Store<C, Self>,
        record: &SlotRecord,
    ) -> bool;

    /// Serves the waiters that may be served now, if that was not done at once.
    fn serve_waiters<C: Send + 'static>(store: &mut Store<C, Self>);

    /// Nothing may be lent at once. Whether that is so only because what is idle is stale.
    fn has_stale<C: Send + 'static>(store: &Store<C, Self>) -> bool;

    /// Starts the check of what is stale, for a caller that is about to queue.
    fn check_for_caller<C: Send + 'static>(store: &mut Store<C, Self>);

    /// What a waiter was served will not be taken by it.
    fn withdrawn<C: Send + 'static>(store: &mut Store<C, Self>, served: &Self::Served<C>);

    /// A connect failed, so what is open has to serve longer, or cannot be replaced.
    fn connect_failed<C: Send + 'static>(store: &mut Store<C, Self>, now: Time);

    /// The ticks begin again.
    fn ticks_started<C: Send + 'static>(store: &mut Store<C, Self>, now: Time);

    /// The connection of this slot, which is not being closed, has died.
    fn died<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey);

    /// What is suspected of the open connection of this slot has changed.
    fn suspicion_changed<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey);

    /// The open connection of this slot is too heavy to be lent again.
    fn overweight<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey);

    /// The open connection of this slot is about to be killed.
    fn killed<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey);

    /// Closes what is too old or was unused for too long, and returns when to look again.
    fn expire<C: Send + 'static>(store: &mut Store<C, Self>, now: Time) -> Time;

    /// Starts the checks that are due, and returns when to look again.
    fn start_checks<C: Send + 'static>(store: &mut Store<C, Self>, now: Time) -> Time;

    /// Evicts the open connections that `selects` picks, and returns how many.
    fn evict<C: Send + 'static>(
        store: &mut Store<C, Self>,
        selects: impl FnMut(ConnectionId) -> bool,
    ) -> usize;

    /// Closes what a pool that became smaller may not keep.
    fn shrink<C: Send + 'static>(store: &mut Store<C, Self>);

    /// The pool was closed: closes every connection without a lease.
    fn close_unused<C: Send + 'static>(store: &mut Store<C, Self>);

    /// The least recently used connection that has no lease and may be closed without one.
    fn least_recent<C: Send + 'static>(store: &Store<C, Self>) -> Option<SlotKey>;

    /// Closes a connection without a lease.
    fn retire_unused<C: Send + 'static>(
        store: &mut Store<C, Self>,
        key: SlotKey,
        reason: CloseReason,
    );

    /// How many connections should be opening now, if `missing` are missing of `min_idle`.
    fn connects_wanted<C: Send + 'static>(store: &Store<C, Self>, missing: usize) -> usize;

    /// How many of these no caller waits for: leases are to be spread over more connections.
    fn spread_wanted<C: Send + 'static>(store: &Store<C, Self>) -> usize;

    /// How many connections without leases it would open again if they were closed, though nobody waits.
    fn unused_needed<C: Send + 'static>(store: &Store<C, Self>) -> usize;

    /// Whether there is, or soon will be, a connection that may serve a waiter.
    fn can_serve<C: Send + 'static>(store: &Store<C, Self>) -> bool;

    /// Whether a caller that comes now would be lent a connection at once.
    fn has_idle<C: Send + 'static>(store: &Store<C, Self>) -> bool;

    /// How many slots there may be at present.
    fn size_limit<C: Send + 'static>(store: &Store<C, Self>) -> usize;

    /// How many leases a connection should carry, if it may have several.
    fn target_leases<C: Send + 'static>(store: &Store<C, Self>) -> Option<u32>;

    /// How many leases there are.
    fn leases<C: Send + 'static>(store: &Store<C, Self>) -> usize;

    #[cfg(debug_assertions)]
    fn assert_invariants<C: Send + 'static>(store: &Store<C, Self>);
}
