//! Sharing: connections that serve many callers at once.
//!
//! A shared connection never leaves the store while it is open: it stays in the *stock*, and a
//! lease is a count in its slot. What it serves is its *load*; a check under way is a *hold*. It
//! leaves the stock to be closed, when both are zero.
//!
//! # Algorithm
//!
//! A new lease goes to the least loaded connection, found by looking at all of them: they are few.
//! Another one is opened when all carry their target, or somebody waits. A connection that reached
//! its lifetime or was evicted while it serves is *superseded*: it goes on as the last resort until
//! another one was opened in its place; then, like one that is broken, it is *doomed*: it takes no
//! new leases and is closed after its last one.
//!
//! # Invariants
//!
//! 1. No connection that may take a lease is below its limit of leases while a waiter is queued.
//! 2. There are at most `max_size` slots, and `max_surge` more while a superseded connection serves
//!    new leases, or its last ones when nothing else is left.

use std::panic::Location;

use crate::error::CheckError;
use crate::event::EventKind;
use crate::id::CloseReason;
use crate::id::WaiterId;
use crate::store::slots::SlotRecord;
use crate::store::{Condition, Errand, Limits, Served, SlotKey, State, Store, WaitEnd};
use crate::time::Time;

/// How connections are shared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sharing {
    /// Another connection is opened when all have as many leases as this.
    pub(crate) target_leases: u32,
    /// No connection has more than this.
    pub(crate) max_leases: u32,
    /// So many slots beyond `max_size` may be used to replace what is superseded.
    pub(crate) max_surge: usize,
}

impl Limits {
    /// How many slots there may ever be.
    pub(crate) fn slots_max(&self) -> usize {
        self.max_size + self.max_surge()
    }

    fn max_surge(&self) -> usize {
        self.sharing.map_or(0, |sharing| sharing.max_surge)
    }
}

impl SlotRecord {
    /// Takes new leases, though perhaps as the last resort.
    const fn may_be_lent(&self, sharing: &Sharing) -> bool {
        self.close_reason.is_none() && self.load < sharing.max_leases
    }

    /// Serves callers, has reached its end, and waits for its replacement.
    const fn is_superseded(&self) -> bool {
        self.superseded.is_some() && self.close_reason.is_none()
    }

    /// Nobody has it.
    const fn is_free(&self) -> bool {
        self.load == 0 && self.holds == 0
    }
}

impl<C> Store<C> {
    fn sharing(&self) -> Sharing {
        self.limits.sharing.expect("only a shared pool shares")
    }

    /// The connection of this slot, which is open and shared.
    pub(crate) fn shared_connection(&self, key: SlotKey) -> &C {
        let entry = self.shared.iter().find(|(other, _)| *other == key);
        &entry
            .expect("a shared connection with a lease is in stock")
            .1
    }

    /// Lends the least loaded connection, if one may take another lease.
    pub(crate) fn take_share(&mut self, site: &'static Location<'static>) -> Option<SlotKey> {
        let sharing = self.sharing();
        let loads = self.shared.iter().filter_map(|(key, _)| {
            let record = self.slots.get(*key);
            let rank = (record.is_superseded(), record.load, record.id);
            record.may_be_lent(&sharing).then_some((rank, *key))
        });
        let (_, key) = loads.min_by_key(|(rank, _)| *rank)?;
        self.lease_share(key, site, None);
        self.count_use(key);
        if self.may_open() {
            self.kick();
        }
        Some(key)
    }

    /// A waiter takes its share: from here on it is a use. Unless the pool was closed or the connection
    /// is not to be used any more; then the share comes home as it is.
    pub(crate) fn accept_share(&mut self, key: SlotKey) -> Result<(), Condition> {
        // Those of a closed pool are doomed as well.
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

    /// A share that was taken proved dead before its caller had it: that was no use.
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

    /// A shared connection takes no new leases from now on. The first reason stands, unless only
    /// the other one says that nothing is to be expected of the peer any more.
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
        // It may be that all others carry their target.
        self.kick();
    }

    /// Whether there is, or will be, a connection that may serve a waiter.
    pub(super) fn can_serve(&self) -> bool {
        if self.limits.sharing.is_none() {
            return self.slots.serving() > 0;
        }
        let is_good = |(key, _): &(SlotKey, C)| self.slots.get(*key).close_reason.is_none();
        self.slots.count(State::Opening) > 0 || self.shared.iter().any(is_good)
    }

    /// Does what the state of a shared connection calls for: close it, serve waiters, or rest.
    pub(super) fn act_on_share(&mut self, key: SlotKey) {
        if self.is_closed {
            self.mark_for_close(key, CloseReason::PoolClosed);
        }
        let record = self.slots.get(key);
        if record.is_free()
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
            // One that is only held by its check, and doomed, cannot be lent.
            let state = match record.close_reason {
                Some(_) => State::Checking,
                None => State::Idle,
            };
            self.slots.set_state(key, state);
        }
    }

    /// Takes a shared connection that nobody has out of the stock; closing it is owed.
    fn retire_share(&mut self, key: SlotKey, reason: CloseReason) {
        let place = self.shared.iter().position(|(other, _)| *other == key);
        let place = place.expect("an open shared connection is in stock");
        let (_, connection) = self.shared.remove(place);
        self.retire(key, connection, reason);
    }

    /// Serves as many waiters as the connection may.
    fn serve_shares(&mut self, key: SlotKey) {
        let sharing = self.sharing();
        while !self.queue.is_empty() && self.slots.get(key).may_be_lent(&sharing) {
            let mut served = None;
            let waker = self.queue.serve_first(|waiter, ticket| {
                served = Some((waiter, ticket.site));
                WaitEnd::Served(Served::Share(key))
            });
            if let Some((waiter, site)) = served {
                self.lease_share(key, site, Some(waiter));
            }
            self.wake_served(waker);
        }
    }

    /// A shared connection is open: it enters the stock and takes the place of a superseded one.
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
        self.serve_shares(key);
        self.close_oldest_superseded();
    }

    /// The oldest superseded connection has its replacement.
    fn close_oldest_superseded(&mut self) {
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

    /// How many slots there may be at present.
    ///
    /// What was replaced and has leases yet gives up its place only if nothing else is left: its
    /// replacement is gone as well.
    pub(super) fn size_limit(&self) -> usize {
        let max_surge = self.max_surge();
        if max_surge == 0 {
            return self.limits.max_size;
        }
        let is_last = self.lendable_count() == 0;
        let records = self.shared.iter().map(|(key, _)| self.slots.get(*key));
        let serving = records.filter(|record| record.superseded.is_some() && record.load > 0);
        let outgoing = serving.filter(|record| is_last || record.close_reason.is_none());
        self.limits.max_size + max_surge.min(outgoing.count())
    }

    /// How many slots there may be beyond `max_size`.
    pub(crate) fn max_surge(&self) -> usize {
        self.limits.max_surge()
    }

    /// How many connections take new leases.
    fn lendable_count(&self) -> usize {
        let records = self.shared.iter().map(|(key, _)| self.slots.get(*key));
        records
            .filter(|record| record.close_reason.is_none())
            .count()
    }

    /// How many connections need a replacement. One that only its check has does not.
    fn superseded_count(&self) -> usize {
        let records = self.shared.iter().map(|(key, _)| self.slots.get(*key));
        let in_use = records.filter(|record| record.is_superseded() && record.load > 0);
        in_use.count()
    }

    /// How many connections the callers of a shared pool need beside those that are open.
    ///
    /// So many are missing of `min_idle`; any of these is below its target, too.
    pub(super) fn shares_wanted(&self, sharing: &Sharing, missing: usize) -> usize {
        let crowd = if self.queue.is_empty() {
            usize::from(self.are_busy(sharing, |_| true)).max(missing)
        } else {
            self.queue.len().div_ceil(sharing.target_leases as usize) + missing
        };
        crowd + self.superseded_count()
    }

    /// Whether there are connections like these, and all carry their target. What is about to go
    /// does not count.
    fn are_busy(&self, sharing: &Sharing, like: impl Fn(&SlotRecord) -> bool) -> bool {
        let records = self.shared.iter().map(|(key, _)| self.slots.get(*key));
        let mut fresh = records
            .filter(|record| {
                record.close_reason.is_none() && record.superseded.is_none() && like(record)
            })
            .peekable();
        fresh.peek().is_some() && fresh.all(|record| record.load >= sharing.target_leases)
    }

    /// Closes shared connections that nobody uses and that are old or were unused for too long, and
    /// supersedes those that are old and in use.
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
        next.min(self.expire_unused_shares(now))
    }

    /// The end of a shared connection has come, for no fault of its own.
    pub(super) fn supersede(&mut self, key: SlotKey, reason: CloseReason) {
        let record = self.slots.get_mut(key);
        if record.close_reason.is_none() && record.superseded.is_none() {
            record.superseded = Some(reason);
            self.act_on_share(key);
            self.kick();
        }
    }

    fn expire_unused_shares(&mut self, now: Time) -> Time {
        let (Some(sharing), Some(timeout)) = (self.limits.sharing, self.limits.idle_timeout) else {
            return Time::NEVER;
        };
        let timeout = timeout.saturating_add(super::sweep::TICK);
        let slots = &self.slots;
        let keys = self.shared.iter().map(|(key, _)| *key);
        let mut unused: Vec<_> = keys
            .filter(|key| slots.get(*key).state() == State::Idle && slots.get(*key).is_free())
            .map(|key| (slots.get(key).used.after(timeout), key))
            .collect();
        unused.sort_unstable_by_key(|(due, _)| *due);
        // Without the last one beside busy ones, another would be opened at once.
        let is_needed = self.are_busy(&sharing, |record| record.load > 0);
        let kept = self.limits.min_idle.max(usize::from(is_needed));
        let spare = unused.len().saturating_sub(kept);
        for (due, key) in unused.into_iter().take(spare) {
            if due > now {
                return due;
            }
            self.retire_share(key, CloseReason::Idle);
        }
        Time::NEVER
    }

    /// Has shared connections checked that have not proven themselves for a while, the longest
    /// unproven first. They go on serving meanwhile.
    pub(super) fn start_probes(&mut self, now: Time) -> Time {
        let Some(interval) = self.limits.check_interval else {
            return Time::NEVER;
        };
        let records = self
            .shared
            .iter()
            .map(|(key, _)| (self.slots.get(*key), *key));
        let under_way = records.clone().filter(|(record, _)| record.holds > 0);
        let mut room = super::sweep::CHECKS_MAX.saturating_sub(under_way.count());
        let mut candidates: Vec<_> = records
            .filter(|(record, _)| record.holds == 0 && record.close_reason.is_none())
            .map(|(record, key)| (record.proven.max(record.used).after(interval), key))
            .collect();
        candidates.sort_unstable_by_key(|(due, _)| *due);
        for (due, key) in candidates {
            if due > now {
                return due;
            }
            if room == 0 {
                return now.after(super::sweep::TICK);
            }
            room -= 1;
            let record = self.slots.get_mut(key);
            record.holds += 1;
            let id = record.id;
            self.log(EventKind::Checking { id });
            self.owe(Errand::Probe(key));
        }
        Time::NEVER
    }

    /// The check of a shared connection is over: `None` if it was dropped without a result.
    pub(crate) fn probed(
        &mut self,
        key: SlotKey,
        result: Option<Result<(), CheckError>>,
        now: Time,
    ) {
        let record = self.slots.get_mut(key);
        record.holds -= 1;
        record.proven = now;
        let id = record.id;
        match result {
            Some(Ok(())) => self.log(EventKind::Checked { id }),
            Some(Err(error)) => {
                self.log(EventKind::CheckFailed { id, error });
                self.mark_for_close(key, CloseReason::CheckFailed);
            }
            None => {}
        }
        self.act_on_share(key);
        // The next one has no other alarm.
        if let Some(interval) = self.limits.check_interval {
            self.set_alarm(now.after(interval));
        }
    }

    /// Ends all that is shared: what nobody has now, the rest after its last lease.
    pub(super) fn close_shares(&mut self) {
        for key in self.shared_keys() {
            self.act_on_share(key);
        }
    }

    /// Ends what a smaller pool may not keep: first what is to be replaced, then the connections
    /// with the fewest leases.
    pub(super) fn shrink_shares(&mut self) {
        let lendable = self.shared.iter().filter_map(|(key, _)| {
            let record = self.slots.get(*key);
            let rank = (!record.is_superseded(), record.load);
            record.close_reason.is_none().then_some((rank, *key))
        });
        let mut lendable: Vec<_> = lendable.collect();
        lendable.sort_unstable_by_key(|(rank, _)| *rank);
        // What is being opened does not count: it may fail, and if there is no room for it when it is
        // open, it is the one that goes.
        let surplus = lendable.len().saturating_sub(self.limits.max_size);
        for (_, key) in lendable.into_iter().take(surplus) {
            self.mark_for_close(key, CloseReason::Shrunk);
            self.act_on_share(key);
        }
    }

    pub(super) fn shared_keys(&self) -> Vec<SlotKey> {
        self.shared.iter().map(|(key, _)| *key).collect()
    }

    #[cfg(debug_assertions)]
    pub(super) fn assert_shares(&self) {
        let Some(sharing) = &self.limits.sharing else {
            return;
        };
        for (key, _) in &self.shared {
            let record = self.slots.get(*key);
            assert!(
                record.load <= sharing.max_leases,
                "invariant 2 broken: {} leases of {}",
                record.load,
                record.id
            );
            assert!(
                self.queue.is_empty() || !record.may_be_lent(sharing),
                "invariant 3 broken: {} could serve a waiter",
                record.id
            );
            assert_eq!(
                record.load > 0,
                record.state() == State::Leased,
                "invariant broken: what has leases is leased"
            );
        }
    }
}
