//! How many shared connections there are: when another one is opened, and when one is replaced, expired, or
//! closed because there are too many.
//!
//! # Algorithm
//!
//! Another connection is opened when leases should be spread over more, see `spread`, or when callers
//! wait.
//!
//! A connection that is evicted or reaches its lifetime in service is *superseded*: it is lent only when
//! no other can be, until another connection was opened in its place. It is in service while it has
//! leases, or had one in the last seconds and can be replaced. Then it is *marked for close*, like one
//! that is broken: it takes no new leases, and is closed after its last. Only the mark of one too many is lifted, when
//! fewer than `max_size` take new leases.

use std::time::Duration;

use crate::id::CloseReason;
use crate::store::share::Multiplexed;
use crate::store::slots::SlotRecord;
use crate::store::sweep::TICK;
use crate::store::{Lending, SlotKey, State, Store};
use crate::time::Time;

impl<C: Send + 'static> Store<C, Multiplexed> {
    /// A connect succeeded: the connection serves waiters, and takes the place of the oldest
    /// superseded one.
    pub(super) fn add_shared(&mut self, key: SlotKey, connection: C) {
        let is_replacement = self.oldest_superseded().is_some();
        let reason = if self.is_closed {
            Some(CloseReason::PoolClosed)
        } else if self.lendable_count() >= self.limits.max_size + usize::from(is_replacement) {
            Some(CloseReason::Shrunk)
        } else {
            self.slots.get(key).close_reason
        };
        if let Some(reason) = reason {
            return self.retire(key, connection, reason);
        }
        self.slots.set_state(key, State::Idle);
        self.shared.push((key, connection));
        self.set_aside_if_surplus(key);
        // If it is a proof of a replacement of all, that waits until it is checked.
        if !self.slots.get(key).is_proof {
            self.close_oldest_superseded();
        }
        self.close_surplus_suspects();
    }

    pub(super) fn close_surplus_suspects(&mut self) {
        for key in self.shared_keys() {
            self.close_surplus_suspect(key);
        }
    }

    /// Closes a suspected connection without leases if its replacement is open and there is no room for both.
    ///
    /// A new one is not closed while no other can be lent: if a connector suspects each connection at birth, each
    /// would be closed for the next, as fast as they connect.
    pub(super) fn close_surplus_suspect(&mut self, key: SlotKey) {
        let is_kept = |record: &SlotRecord| record.close_reason.is_none();
        let record = self.slots.get(key);
        if record.is_suspected
            && record.is_unused()
            && is_kept(record)
            && (record.uses > 0 || self.lendable_count() > 0)
            && self.shared_records().filter(|it| is_kept(it)).count() > self.limits.max_size
        {
            self.retire_share(key, CloseReason::Evicted);
        }
    }

    /// A suspicion was cleared. If there is no room for its replacement any more, that one is closed after its last
    /// lease: a connection that was only slow must not be lost, and callers may need what is in it.
    pub(super) fn close_surplus_replacement(&mut self, cleared: SlotKey) {
        // A proof takes the place of another one once it is checked.
        let is_lent = |record: &SlotRecord| record.takes_leases() && !record.is_proof;
        if self.shared_records().filter(|it| is_lent(it)).count() <= self.limits.max_size {
            return;
        }
        let lent = self.shared.iter().filter_map(|(key, _)| {
            let record = self.slots.get(*key);
            let rank = (record.superseded.is_some(), *key != cleared, record.id);
            is_lent(record).then_some((rank, *key))
        });
        // One that is to be replaced anyway, or the newest.
        if let Some((_, key)) = lent.max_by_key(|(rank, _)| *rank) {
            self.mark_for_close(key, CloseReason::Shrunk);
            self.act_on_share(key);
        }
    }

    /// Fewer connections take new leases than the pool may have: one that was to be closed as one too many is
    /// lent again, of several the newest. It has its slot until its last lease ends, so none can be opened in its place.
    pub(super) fn keep_surplus(&mut self) {
        if self.is_closed || self.lendable_count() >= self.limits.max_size {
            return;
        }
        let surplus = self.shared.iter().filter_map(|(key, _)| {
            let record = self.slots.get(*key);
            let is_surplus = record.close_reason == Some(CloseReason::Shrunk);
            let rank = (record.superseded.is_none(), record.id);
            (is_surplus && !record.is_suspected).then_some((rank, *key))
        });
        if let Some((_, key)) = surplus.max_by_key(|(rank, _)| *rank) {
            self.slots.get_mut(key).close_reason = None;
            self.need.may_have_outgoing = true;
            self.update_unused_state(key);
            self.kick();
        }
    }

    pub(super) fn close_oldest_superseded(&mut self) {
        if let Some(key) = self.oldest_superseded() {
            let reason = self.slots.get(key).superseded;
            self.mark_for_close(key, reason.unwrap_or(CloseReason::Lifetime));
            self.act_on_share(key);
        }
    }

    fn oldest_superseded(&self) -> Option<SlotKey> {
        let superseded = self.shared.iter().filter_map(|(key, _)| {
            let record = self.slots.get(*key);
            record.is_superseded().then_some((record.id, *key))
        });
        let (_, key) = superseded.min_by_key(|(id, _)| *id)?;
        Some(key)
    }

    /// How many connections take new leases, superseded ones included.
    pub(super) fn lendable_count(&self) -> usize {
        let records = self.shared_records();
        records.filter(|record| record.takes_leases()).count()
    }

    /// How many connections need a replacement. One that only its check keeps open needs none.
    fn replacements_wanted(&self) -> usize {
        if !self.need.may_have_outgoing {
            return 0;
        }
        let records = self.shared_records();
        let superseded =
            records.filter(|record| record.is_superseded() && self.is_in_service(record));
        // One that is being checked will replace one of them.
        let proofs = self.shared_records().filter(|record| record.is_proof);
        superseded.count().saturating_sub(proofs.count()) + self.suspects_without_replacement()
    }

    /// How many suspected connections with leases have no replacement. One that is not used is a replacement,
    /// and so is one that was opened since then.
    fn suspects_without_replacement(&self) -> usize {
        let suspects = || {
            let records = self.shared_records();
            records.filter(|record| {
                record.close_reason.is_none()
                    && record.is_suspected
                    && record.load > 0
                    && !record.is_superseded()
            })
        };
        let Some(since) = suspects().map(|record| record.suspected_at).min() else {
            return 0;
        };
        let replacements = self
            .shared_records()
            .filter(|record| record.is_fresh() && (record.load == 0 || record.born >= since));
        suspects().count().saturating_sub(replacements.count())
    }

    /// Whether a connection that is superseded or marked for close still matters to callers: it has
    /// leases, or it can be lent, is likely to be, and another one can be had in its place.
    pub(super) fn is_in_service(&self, record: &SlotRecord) -> bool {
        record.load > 0 || record.is_superseded() && self.is_worth_replacing(record)
    }

    /// Whether a connection is used and can be replaced before it is closed.
    pub(super) fn is_worth_replacing(&self, record: &SlotRecord) -> bool {
        let is_used = record.load > 0 || record.uses > 0 && record.used.after(RECENTLY) > self.tick;
        is_used && self.can_replace()
    }

    /// Whether a superseded connection can be replaced before it is closed: there is room, and connects
    /// succeed.
    fn can_replace(&self) -> bool {
        let has_room = self.limits.sharing.max_surge > 0
            || self.slots.count(State::Opening) > 0
            || self.slots.len() < self.limits.max_size;
        has_room && self.pacer.failure(self.tick).is_none()
    }

    /// Closes superseded connections without leases for which there is no reason any more to wait for
    /// their replacement, and returns when there may be others.
    pub(super) fn close_irreplaceable(&mut self) -> Time {
        let mut next = Time::NEVER;
        let is_outgoing = |record: &SlotRecord| record.superseded.is_some() || record.is_suspected;
        let has_outgoing = self.shared_records().any(is_outgoing);
        self.need.may_have_outgoing = has_outgoing;
        for key in self.shared_keys() {
            let record = self.slots.get(key);
            if record.is_superseded() && record.is_unused() {
                let due = record.used.after(RECENTLY);
                self.act_on_share(key);
                next = next.min(if due > self.tick { due } else { Time::NEVER });
            }
        }
        next
    }

    /// A superseded connection takes no new leases any more if the budget had none in its place for the
    /// minimum residence: it could be lent for ever. One at a time. Returns when to look again.
    fn close_unbudgeted(&mut self) -> Time {
        let Some(residence) = self.unserved_residence() else {
            return Time::NEVER;
        };
        let drains = |record: &SlotRecord| record.superseded.is_some() && !record.is_superseded();
        if self.shared_records().any(drains) {
            return Time::NEVER;
        }
        let Some(key) = self.oldest_superseded() else {
            return Time::NEVER;
        };
        let due = self.slots.get(key).superseded_at.after(residence);
        if due > self.tick {
            return due;
        }
        self.close_oldest_superseded();
        Time::NEVER
    }

    /// How many connections will be open soon, beside those that are. Callers must not wait for those that the
    /// budget does not grant, nor longer than one connect takes: not for connects that begin after those that are in flight.
    pub(super) fn connects_coming(&self) -> usize {
        let opening = self.slots.on_time(State::Opening);
        if self.is_closed || self.is_refused_by_budget() || self.tick < self.pacer.not_before() {
            return opening;
        }
        let room = Multiplexed::size_limit(self).saturating_sub(self.slots.len());
        let coming = self.shares_wanted(0).min(opening + room);
        coming.min(self.limits.max_connecting).max(opening)
    }

    /// How many connections the callers need beside those that are open.
    ///
    /// `missing` are missing of `min_idle`; each of those will also be below its target.
    pub(super) fn shares_wanted(&self, missing: usize) -> usize {
        let for_callers = if self.queue.is_empty() {
            self.spread_missing().max(missing)
        } else if self.awaits_checks() {
            missing
        } else {
            self.wanted_for_queue() + missing
        };
        for_callers + self.replacements_wanted()
    }

    fn wanted_for_queue(&self) -> usize {
        let sharing = &self.limits.sharing;
        let waiting = self.queue.len();
        if self.learner.is_none() {
            return waiting.div_ceil(self.leases_for_queue(self.target_leases()));
        }
        // They wait because no connection may be lent, or for what is being opened to spread them over.
        let room = self
            .shared_records()
            .map(|record| record.room(&self.limits));
        let unserved = waiting.saturating_sub(room.sum());
        let unavoidable = unserved.div_ceil(self.leases_for_queue(sharing.max_leases));
        self.spread_missing().max(unavoidable)
    }

    /// How many waiters a new connection serves, of at most `leases`.
    fn leases_for_queue(&self, leases: u32) -> usize {
        let leases = u64::from(leases);
        let leases = self.limits.max_uses.map_or(leases, |uses| uses.min(leases));
        usize::try_from(leases).unwrap_or(usize::MAX)
    }

    /// Closes connections without leases that are old or were unused for too long, and supersedes
    /// those that are old and in use.
    pub(super) fn expire_shares(&mut self, now: Time) -> Time {
        let mut next = Time::NEVER;
        for key in self.shared_keys() {
            let record = self.slots.get(key);
            if record.expires > now {
                next = next.min(record.expires);
            } else {
                self.supersede(key, CloseReason::Lifetime);
            }
        }
        next.min(self.close_irreplaceable())
            .min(self.close_unbudgeted())
            .min(self.update_spread(now))
            .min(self.expire_unused_shares(now))
    }

    /// A connection that works is to be replaced, for this reason.
    pub(super) fn supersede(&mut self, key: SlotKey, reason: CloseReason) {
        if self.slots.get(key).is_fresh() {
            self.set_superseded(key, reason);
        }
    }

    /// A connection is to be replaced for its weight, also if it hangs: its weight does not depend on
    /// that, and the suspicion may be cleared.
    pub(super) fn supersede_heavy(&mut self, key: SlotKey) {
        if !self.slots.get(key).is_outgoing() {
            self.set_superseded(key, CloseReason::Overweight);
        }
    }

    fn set_superseded(&mut self, key: SlotKey, reason: CloseReason) {
        let tick = self.tick;
        let record = self.slots.get_mut(key);
        record.superseded = Some(reason);
        record.superseded_at = tick;
        self.need.may_have_outgoing = true;
        self.act_on_share(key);
        self.kick();
    }

    fn expire_unused_shares(&mut self, now: Time) -> Time {
        let Some(timeout) = self.limits.idle_timeout else {
            return Time::NEVER;
        };
        let timeout = timeout.saturating_add(TICK);
        let slots = &self.slots;
        let keys = self.shared.iter().map(|(key, _)| *key);
        let mut unused: Vec<_> = keys
            .filter(|key| slots.get(*key).state() == State::Idle && slots.get(*key).is_unused())
            .map(|key| (slots.get(key).used.after(timeout), key))
            .collect();
        unused.sort_unstable_by_key(|(due, _)| *due);
        let kept = self.limits.min_idle.max(self.unused_wanted());
        let spare = unused.len().saturating_sub(kept);
        for (due, key) in unused.into_iter().take(spare) {
            if due > now {
                return due;
            }
            self.retire_share(key, CloseReason::Idle);
        }
        Time::NEVER
    }

    /// Marks what a smaller pool may not keep: superseded connections first, then those with the
    /// fewest leases.
    pub(super) fn shrink_shares(&mut self) {
        let lendable = self.shared.iter().filter_map(|(key, _)| {
            let record = self.slots.get(*key);
            let rank = (!record.needs_replacement(), record.load);
            record.close_reason.is_none().then_some((rank, *key))
        });
        let mut lendable: Vec<_> = lendable.collect();
        lendable.sort_unstable_by_key(|(rank, _)| *rank);
        // A connect in flight does not count: it may fail. If there is no room for its connection
        // once it is open, that one is closed.
        let surplus = lendable.len().saturating_sub(self.limits.max_size);
        for (_, key) in lendable.into_iter().take(surplus) {
            self.mark_for_close(key, CloseReason::Shrunk);
            self.act_on_share(key);
        }
    }
}

/// A superseded connection that had a lease in this time is likely to have another one.
const RECENTLY: Duration = Duration::from_secs(10);
