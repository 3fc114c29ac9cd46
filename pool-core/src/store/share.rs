//! Shared lending: a connection serves many callers at once.
//!
//! An open connection never leaves the store; a lease is a count in its slot. Its *load* is the
//! number of its leases, its *holds* the number of checks under way. It is closed when both are
//! zero.
//!
//! # Algorithm
//!
//! A new lease goes to the connection with the fewest leases, found by looking at all of them: they
//! are few. Another connection is opened when all carry their target, or when callers wait. A
//! connection that is evicted or reaches its lifetime while it has leases is *superseded*: it is
//! lent only when no other can be, until another connection was opened in its place. Then it is
//! *marked for close*, like one that is broken: it takes no new leases, and is closed after its last.
//!
//! # Invariants
//!
//! 1. While a waiter is queued, every connection that may be lent has `max_leases` leases.
//! 2. There are at most `max_size` slots, and `max_surge` more while a superseded connection serves
//!    new leases, or its last ones when no other connection is left.

use std::panic::Location;

use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId, WaiterId};
use crate::store::slots::SlotRecord;
use crate::store::{Condition, Lending, SlotKey, State, Store, WaitEnd};
use crate::time::Time;

/// Says of a [`Builder`](crate::Builder) that connections are lent to many callers at once.
#[derive(Debug, Clone, Copy)]
pub enum Multiplexed {}

impl Lending for Multiplexed {
    type Served<C: Send + 'static> = SlotKey;
    /// A check of the connection in this slot, while it serves.
    type Upkeep<C: Send + 'static> = SlotKey;

    fn offer<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey, connection: C) {
        store.add_shared(key, connection);
    }

    fn died<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey) {
        store.mark_for_close(key, CloseReason::Died);
        store.act_on_share(key);
    }

    fn expire<C: Send + 'static>(store: &mut Store<C, Self>, now: Time) -> Time {
        store.expire_shares(now)
    }

    fn start_checks<C: Send + 'static>(store: &mut Store<C, Self>, now: Time) -> Time {
        store.start_share_checks(now)
    }

    fn evict<C: Send + 'static>(
        store: &mut Store<C, Self>,
        mut selects: impl FnMut(ConnectionId) -> bool,
    ) -> usize {
        let mut count = 0;
        for key in store.shared_keys() {
            let record = store.slots.get(key);
            if record.is_fresh() && selects(record.id) {
                store.supersede(key, CloseReason::Evicted);
                count += 1;
            }
        }
        count
    }

    fn shrink<C: Send + 'static>(store: &mut Store<C, Self>) {
        store.shrink_shares();
    }

    fn close_unused<C: Send + 'static>(store: &mut Store<C, Self>) {
        for key in store.shared_keys() {
            store.act_on_share(key);
        }
    }

    fn connects_wanted<C: Send + 'static>(store: &Store<C, Self>, missing: usize) -> usize {
        store.shares_wanted(missing)
    }

    fn can_serve<C: Send + 'static>(store: &Store<C, Self>) -> bool {
        store.slots.count(State::Opening) > 0 || store.lendable_count() > 0
    }

    fn has_idle<C: Send + 'static>(_: &Store<C, Self>) -> bool {
        false
    }

    /// A connection that has its replacement gives up its place, unless no other is left: then the
    /// replacement is gone as well.
    fn size_limit<C: Send + 'static>(store: &Store<C, Self>) -> usize {
        let is_last = store.lendable_count() == 0;
        let serving = store
            .shared_records()
            .filter(|record| record.superseded.is_some() && record.load > 0);
        let outgoing = serving.filter(|record| is_last || record.close_reason.is_none());
        let surge = store.limits.sharing.max_surge.min(outgoing.count());
        store.limits.max_size + surge
    }

    fn leases<C: Send + 'static>(store: &Store<C, Self>) -> usize {
        store
            .shared_records()
            .map(|record| record.load as usize)
            .sum()
    }

    #[cfg(debug_assertions)]
    fn assert_invariants<C: Send + 'static>(store: &Store<C, Self>) {
        let max_leases = store.limits.sharing.max_leases;
        for record in store.shared_records() {
            let (id, load) = (record.id, record.load);
            assert!(
                load <= max_leases,
                "invariant 2a broken: {load} leases of {id}"
            );
            assert!(
                store.queue.is_empty() || !record.may_be_lent(max_leases),
                "invariant 3a broken: {id} could serve a waiter"
            );
            assert_eq!(
                load > 0,
                record.state() == State::Leased,
                "invariant broken: {id} is leased if and only if it has leases"
            );
        }
    }
}

impl<C: Send + 'static> Store<C, Multiplexed> {
    /// The open connection in this slot.
    pub(crate) fn shared_connection(&self, key: SlotKey) -> &C {
        let entry = self.shared.iter().find(|(other, _)| *other == key);
        &entry
            .expect("a connection with a lease or a check stays in the store")
            .1
    }

    pub(super) fn shared_keys(&self) -> Vec<SlotKey> {
        self.shared.iter().map(|(key, _)| *key).collect()
    }

    pub(super) fn shared_records(&self) -> impl Iterator<Item = &SlotRecord> + Clone {
        self.shared.iter().map(|(key, _)| self.slots.get(*key))
    }

    /// Lends the connection with the fewest leases, if one may take another lease.
    pub(crate) fn take_share(&mut self, site: &'static Location<'static>) -> Option<SlotKey> {
        let max_leases = self.limits.sharing.max_leases;
        let ranks = self.shared.iter().filter_map(|(key, _)| {
            let record = self.slots.get(*key);
            let rank = (record.is_superseded(), record.load, record.id);
            record.may_be_lent(max_leases).then_some((rank, *key))
        });
        let (_, key) = ranks.min_by_key(|(rank, _)| *rank)?;
        self.lease_share(key, site, None);
        self.count_use(key);
        if self.may_open() {
            self.kick();
        }
        Some(key)
    }

    /// A waiter takes the share it was served; only this counts as a use.
    ///
    /// # Errors
    ///
    /// The pool was closed, or the connection marked for close, since it was served: the share must
    /// be returned, in this condition.
    pub(crate) fn accept_share(&mut self, key: SlotKey) -> Result<(), Condition> {
        // Every connection of a closed pool is marked as well.
        if self.slots.get(key).close_reason.is_some() {
            return Err(Condition::Clean);
        }
        self.count_use(key);
        Ok(())
    }

    fn count_use(&mut self, key: SlotKey) {
        let max_uses = self.limits.max_uses;
        let record = self.slots.get_mut(key);
        record.uses += 1;
        if max_uses.is_some_and(|max_uses| record.uses >= max_uses) {
            self.mark_for_close(key, CloseReason::MaxUses);
        }
    }

    fn lease_share(
        &mut self,
        key: SlotKey,
        site: &'static Location<'static>,
        waiter: Option<WaiterId>,
    ) {
        self.slots.get_mut(key).load += 1;
        self.lease(key, site, waiter);
    }

    /// A share proved dead before its caller had it: that was no use.
    pub(crate) fn discard_dead_share(&mut self, key: SlotKey) {
        self.slots.get_mut(key).uses -= 1;
        self.give_back_share(key, Condition::Unfit(CloseReason::Died));
    }

    /// A lease of a shared connection is over.
    pub(crate) fn give_back_share(&mut self, key: SlotKey, condition: Condition) {
        let tick = self.tick;
        let record = self.slots.get_mut(key);
        record.load -= 1;
        let id = record.id;
        match condition {
            Condition::Unfit(reason) => self.mark_for_close(key, reason),
            Condition::Clean | Condition::NeedsReset => {
                record.used = tick;
                self.log_hot(|| EventKind::Returned { id });
            }
        }
        self.act_on_share(key);
    }

    /// A shared connection takes no new leases from now on.
    ///
    /// The first reason stands, unless it was an orderly one and the connection broke after it: a
    /// connector must not wait for the orderly end of a dead peer.
    pub(super) fn mark_for_close(&mut self, key: SlotKey, reason: CloseReason) {
        let record = self.slots.get_mut(key);
        let stands = |first: CloseReason| reason.is_orderly() || !first.is_orderly();
        if record.close_reason.is_some_and(stands) {
            return;
        }
        record.close_reason = Some(reason);
        if reason == CloseReason::Died {
            let id = record.id;
            self.log(EventKind::Died { id });
            self.count_early_death(key);
        }
        // All others may carry their target, so another one may be wanted.
        self.kick();
    }

    /// Closes a shared connection, or serves waiters with it, as its state allows.
    pub(super) fn act_on_share(&mut self, key: SlotKey) {
        if self.is_closed {
            self.mark_for_close(key, CloseReason::PoolClosed);
        }
        let record = self.slots.get(key);
        if record.is_unused()
            && let Some(reason) = record.close_reason.or(record.superseded)
        {
            return self.retire_share(key, reason);
        }
        self.update_unused_state(key);
        self.serve_shares(key);
    }

    fn update_unused_state(&mut self, key: SlotKey) {
        let record = self.slots.get(key);
        if record.load == 0 {
            // One that is marked for close is open only until its check ends, and cannot be lent.
            let state = match record.close_reason {
                Some(_) => State::Checking,
                None => State::Idle,
            };
            self.slots.set_state(key, state);
        }
    }

    /// Takes an unused connection out of the store to be closed.
    pub(super) fn retire_share(&mut self, key: SlotKey, reason: CloseReason) {
        let place = self.shared.iter().position(|(other, _)| *other == key);
        let place = place.expect("an open connection is in the store");
        let (_, connection) = self.shared.remove(place);
        self.retire(key, connection, reason);
    }

    /// Serves as many waiters as the connection may.
    pub(super) fn serve_shares(&mut self, key: SlotKey) {
        let max_leases = self.limits.sharing.max_leases;
        while !self.queue.is_empty() && self.slots.get(key).may_be_lent(max_leases) {
            let mut served = None;
            let waker = self.queue.serve_first(|waiter, site| {
                served = Some((waiter, site));
                WaitEnd::Served(key)
            });
            if let Some((waiter, site)) = served {
                self.lease_share(key, site, Some(waiter));
            }
            self.wake_served(waker);
        }
    }
}
