//! Shared lending: a connection serves many callers at once.
//!
//! An open connection never leaves the store; a lease is a count in its slot. Its *load* is the
//! number of its leases, its *holds* the number of checks under way. It is closed when both are
//! zero.
//!
//! # Algorithm
//!
//! A new lease goes to the connection with the fewest leases, found by looking at all of them: they
//! are few. Leases that are held for long do not count there. Waiters are served at the end of each
//! critical section, as far as each connection's *fill limit*: while other connections are being opened for the queue, a connection takes its
//! share of it and leaves them theirs.
//!
//! How many connections there are is decided in `supply`, over how many of them leases are spread in
//! `spread`.
//!
//! A connection that is *suspected* to hang is not lent until that is cleared. Another one is opened
//! beside it. If there is no room for both, the suspect is closed after its last lease. If it is cleared before
//! that, the newest connection is, unless it is needed again: what was marked as one too many is lent again as soon as
//! fewer than `max_size` others can be.
//!
//! # Invariants
//!
//! 1. While a waiter is queued, every connection that may be lent carries its fill limit, which is
//!    `max_leases` if no other connection is being opened.
//! 2. There are at most `max_size` slots, and `max_surge` more while a superseded connection takes
//!    new leases, or serves its last ones when no other connection is left, or while one is suspected.

use std::panic::Location;

use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId, WaiterId};
use crate::store::adaptive::{LeaseAge, LeaseStamp};
use crate::store::slots::SlotRecord;
use crate::store::{Condition, Lending, SlotKey, State, Store, WaitEnd};
use crate::time::Time;

/// Says of a [`Builder`](crate::Builder) that connections are lent to many callers at once.
#[derive(Debug, Clone, Copy)]
pub enum Multiplexed {}

impl Lending for Multiplexed {
    const IS_SHARED: bool = true;

    type Served<C: Send + 'static> = ShareKey;
    /// A check of the connection in this slot, while it serves.
    type Upkeep<C: Send + 'static> = SlotKey;

    fn offer<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey, connection: C) {
        store.add_shared(key, connection);
    }

    fn check_new<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey, connection: C) {
        store.add_shared(key, connection);
        store.check_opened_share(key);
    }

    fn proved<C: Send + 'static>(store: &mut Store<C, Self>) {
        store.close_oldest_superseded();
    }

    fn serves_until_replaced<C: Send + 'static>(
        store: &Store<C, Self>,
        record: &SlotRecord,
    ) -> bool {
        record.is_open() && store.is_worth_replacing(record)
    }

    fn serve_waiters<C: Send + 'static>(store: &mut Store<C, Self>) {
        if !store.queue.is_empty() {
            store.serve_shares();
            if !store.queue.is_empty() {
                store.check_stale_shares();
            }
        }
    }

    fn has_stale<C: Send + 'static>(store: &Store<C, Self>) -> bool {
        store.queue.is_empty() && !store.stale_shares().is_empty()
    }

    fn check_for_caller<C: Send + 'static>(store: &mut Store<C, Self>) {
        store.check_stale_shares();
    }

    fn withdrawn<C: Send + 'static>(store: &mut Store<C, Self>, served: &ShareKey) {
        store.slots.get_mut(served.slot).promised -= 1;
    }

    fn connect_failed<C: Send + 'static>(store: &mut Store<C, Self>, now: Time) {
        if let Some(learner) = &mut store.learner {
            learner.connect_failed(now);
        }
        store.close_irreplaceable();
    }

    fn ticks_started<C: Send + 'static>(store: &mut Store<C, Self>, now: Time) {
        if let Some(learner) = &mut store.learner {
            learner.start_ticks(now);
        }
    }

    fn died<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey) {
        store.mark_for_close(key, CloseReason::Died);
        store.act_on_share(key);
    }

    fn overweight<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey) {
        store.supersede_heavy(key);
    }

    fn killed<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey) {
        store.mark_for_close(key, CloseReason::Killed);
        store.act_on_share(key);
    }

    fn suspicion_changed<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey) {
        store.need.may_have_outgoing = true;
        if !store.slots.get(key).is_suspected {
            store.close_surplus_replacement(key);
        }
        store.keep_surplus();
        store.act_on_share(key);
        store.close_surplus_suspects();
        store.kick();
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
            } else if record.close_reason == Some(CloseReason::Shrunk) && selects(record.id) {
                // It may be lent again, see `keep_surplus`.
                store.slots.get_mut(key).superseded = Some(CloseReason::Evicted);
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

    fn least_recent<C: Send + 'static>(store: &Store<C, Self>) -> Option<SlotKey> {
        let unused = store.shared.iter().filter_map(|(key, _)| {
            let record = store.slots.get(*key);
            (record.state() == State::Idle && record.is_unused()).then_some((record.used, *key))
        });
        let (_, key) = unused.min_by_key(|(used, _)| *used)?;
        Some(key)
    }

    fn retire_unused<C: Send + 'static>(
        store: &mut Store<C, Self>,
        key: SlotKey,
        reason: CloseReason,
    ) {
        store.retire_share(key, reason);
    }

    fn connects_wanted<C: Send + 'static>(store: &Store<C, Self>, missing: usize) -> usize {
        store.shares_wanted(missing)
    }

    fn spread_wanted<C: Send + 'static>(store: &Store<C, Self>) -> usize {
        match store.queue.is_empty() {
            true => store.spread_missing(),
            false => 0,
        }
    }

    fn unused_needed<C: Send + 'static>(store: &Store<C, Self>) -> usize {
        store.unused_wanted()
    }

    fn can_serve<C: Send + 'static>(store: &Store<C, Self>) -> bool {
        store.slots.count(State::Opening) > 0 || store.lendable_count() > 0
    }

    /// Nearly: all connections may be full, or marked for close.
    #[inline]
    fn has_idle<C: Send + 'static>(store: &Store<C, Self>) -> bool {
        !store.shared.is_empty() && store.queue.is_empty()
    }

    /// A connection that has its replacement gives up its place, unless no other is left: then the
    /// replacement is gone as well.
    fn size_limit<C: Send + 'static>(store: &Store<C, Self>) -> usize {
        if !store.need.may_have_outgoing {
            return store.limits.max_size;
        }
        let is_last = store.lendable_count() == 0;
        let serving = store.shared_records().filter(|record| {
            record.superseded.is_some() && store.is_in_service(record) || record.is_suspected
        });
        let outgoing = serving.filter(|record| is_last || record.close_reason.is_none());
        let surge = store.limits.sharing.max_surge.min(outgoing.count());
        store.limits.max_size + surge
    }

    fn target_leases<C: Send + 'static>(store: &Store<C, Self>) -> Option<u32> {
        Some(store.target_leases())
    }

    fn leases<C: Send + 'static>(store: &Store<C, Self>) -> usize {
        store.need.leases() as usize
    }

    #[cfg(debug_assertions)]
    fn assert_invariants<C: Send + 'static>(store: &Store<C, Self>) {
        let max_leases = store.limits.sharing.max_leases;
        let fill_limit = store.fill_limit();
        let leases: u32 = store.shared_records().map(|record| record.load).sum();
        assert_eq!(
            leases,
            store.need.leases(),
            "invariant broken: the leases are those of all connections"
        );
        for record in store.shared_records() {
            let (id, load) = (record.id, record.load);
            assert!(
                load <= max_leases,
                "invariant 2a broken: {load} leases of {id}"
            );
            assert!(
                store.queue.is_empty()
                    || load >= fill_limit
                    || !record.may_be_lent(&store.limits, store.stale_before),
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

/// A lease of a shared connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareKey {
    pub(crate) slot: SlotKey,
    /// Says when it ends whether it was held for long.
    stamp: LeaseStamp,
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

    /// The connection that the next lease goes to, if any has less than `limit`: of equals, the one that
    /// was opened first.
    fn least_loaded(&self, limit: u32) -> Option<SlotKey> {
        let mut least = None;
        let mut least_rank = u128::MAX;
        for (key, _) in &self.shared {
            let record = self.slots.get(*key);
            let rank = rank(record);
            let may_be_lent = || record.may_be_lent(&self.limits, self.stale_before);
            if rank < least_rank && record.load < limit && may_be_lent() {
                least = Some(*key);
                least_rank = rank;
            }
        }
        least
    }

    /// Lends the connection with the fewest leases, if one may take another lease and nobody came
    /// earlier.
    pub(crate) fn take_share(&mut self, site: &'static Location<'static>) -> Option<ShareKey> {
        if !self.queue.is_empty() {
            return None;
        }
        let key = self.least_loaded(u32::MAX)?;
        Some(self.take_share_of(key, site))
    }

    /// Lends this connection to a caller that did not wait.
    pub(super) fn take_share_of(
        &mut self,
        key: SlotKey,
        site: &'static Location<'static>,
    ) -> ShareKey {
        let share = self.lease_share(key, site, None);
        self.count_use(key);
        if self.is_more_wanted(key) && self.may_open() {
            self.kick();
        }
        share
    }

    /// Whether the lease that this connection just got can be the reason to open another one: it was the
    /// least loaded. What this misses is found by the next tick.
    fn is_more_wanted(&self, key: SlotKey) -> bool {
        let record = self.slots.get(key);
        record.active() >= self.target_leases() || record.load == 1 && self.limits.min_idle > 0
    }

    /// A waiter takes the share it was served; only this counts as a use.
    ///
    /// # Errors
    ///
    /// Since it was served the pool was closed, or the connection was marked for close or suspected: the
    /// share must be returned, in this condition.
    pub(crate) fn accept_share(&mut self, share: ShareKey) -> Result<(), Condition> {
        let record = self.slots.get_mut(share.slot);
        record.promised -= 1;
        // Every connection of a closed pool is marked as well.
        if !record.takes_leases() {
            return Err(Condition::Clean);
        }
        self.count_use(share.slot);
        Ok(())
    }

    fn count_use(&mut self, key: SlotKey) {
        self.totals.leases += 1;
        let record = self.slots.get_mut(key);
        record.uses += 1;
        if record.uses >= record.uses_max {
            self.mark_for_close(key, CloseReason::MaxUses);
        }
    }

    fn lease_share(
        &mut self,
        key: SlotKey,
        site: &'static Location<'static>,
        waiter: Option<WaiterId>,
    ) -> ShareKey {
        let record = self.slots.get_mut(key);
        record.load += 1;
        record.recent[0] += 1;
        record.spare = false;
        self.need.begin_lease();
        if let Some(learner) = &mut self.learner {
            learner.begin_lease(self.need.active());
        }
        self.lease(key, site, waiter);
        self.widen();
        self.share_key(key)
    }

    /// The key of a lease that begins now.
    fn share_key(&self, slot: SlotKey) -> ShareKey {
        let stamp = self.learner.as_ref().map(|learner| learner.stamp());
        ShareKey {
            slot,
            stamp: stamp.unwrap_or_default(),
        }
    }

    /// A share proved dead before its caller had it: that was no use.
    pub(crate) fn discard_dead_share(&mut self, share: ShareKey) {
        self.totals.leases -= 1;
        self.slots.get_mut(share.slot).uses -= 1;
        self.give_back_share(share, Condition::Unfit(CloseReason::Died));
    }

    /// A lease of a shared connection is over.
    pub(crate) fn give_back_share(&mut self, share: ShareKey, condition: Condition) {
        let tick = self.tick;
        let key = share.slot;
        let learner = self.learner.as_deref_mut();
        let age = learner.map_or(LeaseAge::Present, |it| it.end_lease(share.stamp));
        self.need.end_lease(age == LeaseAge::Held);
        let record = self.slots.get_mut(key);
        record.load -= 1;
        match age {
            LeaseAge::Present => record.recent[0] -= 1,
            LeaseAge::Previous => record.recent[1] -= 1,
            LeaseAge::Held => {}
        }
        let id = record.id;
        match condition {
            Condition::Unfit(reason) => {
                self.mark_for_close(key, reason);
                self.judge_end(key, reason);
            }
            Condition::Ended => {
                record.note_served();
                self.mark_for_close(key, CloseReason::Died);
            }
            Condition::Clean | Condition::NeedsReset => {
                record.note_served();
                // A spare one counts as unused since it became spare.
                if !record.spare {
                    record.used = tick;
                }
                self.log_hot(|| EventKind::Returned { id });
                if self.is_pressed() && self.slots.get(key).is_fresh() && self.gives_way(key) {
                    self.mark_for_close(key, CloseReason::Reclaimed);
                }
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
        let id = record.id;
        if !reason.is_orderly() {
            self.note_unfit(key);
        }
        if reason == CloseReason::Died {
            self.log(EventKind::Died { id });
        }
        self.keep_surplus();
        // All others may carry their target, so another one may be wanted.
        self.kick();
    }

    /// Closes a shared connection that has neither leases nor a future.
    pub(super) fn act_on_share(&mut self, key: SlotKey) {
        if self.is_closed {
            self.mark_for_close(key, CloseReason::PoolClosed);
        }
        let record = self.slots.get(key);
        if !record.is_unused() {
            return self.update_unused_state(key);
        }
        match record.close_reason.or(record.superseded) {
            Some(reason) if !self.is_in_service(record) => self.retire_share(key, reason),
            _ => {
                self.update_unused_state(key);
                self.close_surplus_suspect(key);
            }
        }
    }

    pub(super) fn update_unused_state(&mut self, key: SlotKey) {
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
        // The connector must not wait for the orderly end of a peer that hangs.
        let reason = if self.slots.get(key).is_suspected && reason.is_orderly() {
            CloseReason::CheckFailed
        } else {
            reason
        };
        self.retire(key, connection, reason);
        // Another one that was to be closed may be all that is left.
        self.keep_surplus();
    }

    /// Serves waiters as far as the fill limit, which may rise as there are fewer of them.
    fn serve_shares(&mut self) {
        while !self.queue.is_empty()
            && let Some(key) = self.least_loaded(self.fill_limit())
        {
            self.serve_share(key);
        }
    }

    fn serve_share(&mut self, key: SlotKey) {
        let share = self.share_key(key);
        let mut served = None;
        let waker = self.queue.serve_first(|waiter, site| {
            served = Some((waiter, site));
            WaitEnd::Served(share)
        });
        if let Some((waiter, site)) = served {
            self.slots.get_mut(key).promised += 1;
            let _: ShareKey = self.lease_share(key, site, Some(waiter));
        }
        self.wake_served(waker);
    }

    /// How many leases waiters may bring a connection to.
    ///
    /// While others are being opened for them it is an even share of all leases and waiters, but not
    /// less than the target: there is no reason to wait below it.
    fn fill_limit(&self) -> u32 {
        let sharing = &self.limits.sharing;
        let coming = self.connects_coming();
        if coming == 0 && !self.awaits_checks() {
            return sharing.max_leases;
        }
        let serving = self.shared_records().filter(|record| record.is_in_spread());
        let (count, leases) = serving
            .fold((coming, self.queue.len()), |(count, leases), record| {
                (count + 1, leases + record.load as usize)
            });
        let share = u32::try_from(leases.div_ceil(count.max(1))).unwrap_or(u32::MAX);
        share.max(self.target_leases()).min(sharing.max_leases)
    }
}

/// The lower, the sooner it is lent: superseded ones last, then spare ones; then by their active leases,
/// then by all. One number, since the comparison is most of what a lease costs with many connections.
fn rank(record: &SlotRecord) -> u128 {
    let resort = u128::from(record.superseded.is_some()) << 1 | u128::from(record.spare);
    resort << 64 | u128::from(record.active()) << 32 | u128::from(record.load)
}
