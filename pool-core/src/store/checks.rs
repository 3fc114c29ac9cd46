//! When connections are checked: in the background while they are idle, and before a lease if they
//! were idle for long.
//!
//! # In the background
//!
//! A connection is due half a check interval after its last use or check at the earliest, and a whole
//! one at the latest. The moment is drawn again after each check, so connections that were used
//! together are not checked together.
//!
//! A connection of an exclusive pool cannot be lent while it is checked. So at most half of those that
//! no caller holds are checked at a time, and a lone one not at all while it is idle.
//!
//! # Before a lease
//!
//! A connection is *stale* when it was neither used nor checked for so long that it must be checked
//! before it is lent. A caller that finds stale ones only joins the queue, before all newcomers, since
//! its turn has come; the check runs as an errand. What passes serves the caller, like any connection
//! that becomes free; if the check fails, the caller still has its place. A check that takes long does
//! not hold it up: it is late, so another connection is opened.
//!
//! # Invariants
//!
//! While callers wait, an exclusive pool has an idle connection only if it is stale, and if at least as
//! many others are being checked in time as callers wait.

use std::panic::Location;
use std::time::Duration;

use crate::error::{CheckError, ConnectError};
use crate::event::EventKind;
use crate::id::CloseReason;
use crate::store::exclusive::{Exclusive, Upkeep};
use crate::store::share::Multiplexed;
use crate::store::slots::SlotRecord;
use crate::store::sweep::{TICK, UPKEEP_PATIENCE};
use crate::store::{Errand, Lending, ShareKey, SlotKey, State, Store};
use crate::time::Time;

/// Connections that are due soon after each other are checked together.
const CHECK_SPACING: Duration = Duration::from_millis(25);

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// Stores the time as the hot path knows it, and with it which connections are stale.
    pub(super) fn set_tick(&mut self, now: Time) {
        self.tick = self.tick.max(now);
        if let Some(limit) = self.limits.stale_after() {
            // The last use was measured by the coarse clock, so it may have been a tick later.
            self.stale_before = self.tick.before(limit.saturating_add(TICK));
        }
    }

    /// Whether a connection without leases must be checked before it is lent.
    #[inline]
    pub(super) fn is_stale(&self, record: &SlotRecord) -> bool {
        record.is_stale(self.stale_before)
    }

    /// A connection works as of now, and when it is due for its next check is drawn.
    pub(super) fn note_proven(&mut self, key: SlotKey, now: Time) {
        let interval = self.limits.check_interval.unwrap_or_default();
        let jitter = self.pacer.random().below(interval / 2);
        let record = self.slots.get_mut(key);
        record.proven = now;
        record.check_after = interval - jitter;
    }
}

fn due(record: &SlotRecord) -> Time {
    record.proven.max(record.used).after(record.check_after)
}

impl<C: Send + 'static> Store<C, Exclusive> {
    /// Takes idle connections out for the checks that are due, and returns when to look again.
    pub(super) fn start_idle_checks(&mut self, now: Time) -> Time {
        if self.limits.check_interval.is_none() {
            return Time::NEVER;
        }
        let mut next = Time::NEVER;
        let mut ready = Vec::new();
        for (key, _) in &self.idle {
            let due = due(self.slots.get(*key));
            if due <= now {
                ready.push((due, *key));
            } else {
                next = next.min(due);
            }
        }
        // Late ones may hang, and must not keep the others from being checked.
        let checking = self.slots.on_time(State::Checking);
        let room = (self.idle.len() + checking) / 2;
        ready.sort_unstable_by_key(|(due, _)| *due);
        ready.truncate(room.saturating_sub(checking));
        if !ready.is_empty() {
            next = next.min(now.after(UPKEEP_PATIENCE));
        }
        for (_, key) in ready {
            self.start_check(key);
        }
        // If there was no room, there is when one of those under way ends or is late.
        next.max(now.after(CHECK_SPACING))
    }

    /// Takes an idle connection out for its check.
    fn start_check(&mut self, key: SlotKey) {
        let place = self.idle.iter().position(|(other, _)| *other == key);
        let (key, connection) = self
            .idle
            .remove(place.expect("an idle slot is in the stack"));
        self.run_check(key, connection);
    }

    /// A connection that was just opened is checked before it is lent.
    pub(super) fn check_opened(&mut self, key: SlotKey, connection: C) {
        if self.is_closed {
            return Exclusive::offer(self, key, connection);
        }
        self.run_check(key, connection);
    }

    fn run_check(&mut self, key: SlotKey, connection: C) {
        let now = self.tick;
        let record = self.slots.set_state(key, State::Checking);
        record.since = now;
        let id = record.id;
        self.set_alarm(now.after(UPKEEP_PATIENCE));
        self.log(EventKind::Checking { id });
        self.owe(Errand::Upkeep(Upkeep::Check(connection)));
    }

    /// Starts the check of a stale connection for each waiter that none is under way for.
    #[cold]
    pub(super) fn check_for_waiters(&mut self) {
        while self.slots.on_time(State::Checking) < self.queue.len() && !self.idle.is_empty() {
            self.check_next();
        }
    }

    /// Starts the check of the idle connection that would be lent next.
    pub(super) fn check_next(&mut self) {
        if let Some(key) = self.next_idle() {
            self.start_check(key);
        }
    }

    /// A check succeeded.
    pub(crate) fn checked(&mut self, key: SlotKey, connection: C, now: Time) {
        self.note_proven(key, now);
        self.note_proof(key, None, now);
        let id = self.slots.get(key).id;
        self.log(EventKind::Checked { id });
        Exclusive::offer(self, key, connection);
    }
}

impl<C: Send + 'static> Store<C, Multiplexed> {
    /// Starts the checks that are due. The connections go on serving meanwhile.
    pub(super) fn start_share_checks(&mut self, now: Time) -> Time {
        let mut next = Time::NEVER;
        for key in self.shared_keys() {
            let record = self.slots.get(key);
            if record.holds > 0 {
                // If it is checked for waiting callers, they wait for it no longer than this.
                let late_at = record.since.after(UPKEEP_PATIENCE);
                next = next.min(if late_at > now { late_at } else { Time::NEVER });
                continue;
            }
            if self.limits.check_interval.is_none() || record.close_reason.is_some() {
                continue;
            }
            let due = due(record);
            if due <= now {
                self.start_share_check(key);
            } else {
                next = next.min(due.max(now.after(CHECK_SPACING)));
            }
        }
        next
    }

    /// A connection that was just opened is checked, unless there is no room for it.
    pub(super) fn check_opened_share(&mut self, key: SlotKey) {
        if self.slots.get(key).is_open() {
            self.start_share_check(key);
        }
    }

    fn start_share_check(&mut self, key: SlotKey) {
        let now = self.tick;
        let record = self.slots.get_mut(key);
        record.holds += 1;
        record.since = now;
        let id = record.id;
        self.set_alarm(now.after(UPKEEP_PATIENCE));
        self.log(EventKind::Checking { id });
        self.owe(Errand::Upkeep(key));
    }

    /// The connections that could be lent if they were not stale.
    pub(super) fn stale_shares(&self) -> Vec<SlotKey> {
        if self.stale_before == Time::default() {
            return Vec::new();
        }
        let keys = self.shared.iter().map(|(key, _)| *key);
        keys.filter(|key| self.is_stale_share(self.slots.get(*key)))
            .collect()
    }

    fn is_stale_share(&self, record: &SlotRecord) -> bool {
        self.is_stale(record) && record.may_be_lent(&self.limits, Time::default())
    }

    /// Has every stale connection checked.
    pub(super) fn check_stale_shares(&mut self) {
        for key in self.stale_shares() {
            if self.slots.get(key).holds == 0 {
                self.start_share_check(key);
            }
        }
    }

    /// Whether stale connections are being checked in time, so that waiting callers count on them.
    pub(super) fn awaits_checks(&self) -> bool {
        let mut records = self.shared_records();
        records.any(|record| {
            record.holds > 0
                && self.is_stale_share(record)
                && record.since.after(UPKEEP_PATIENCE) > self.tick
        })
    }

    /// Lends a stale connection unchecked, to a caller that does not wait.
    pub(crate) fn take_stale_share(
        &mut self,
        site: &'static Location<'static>,
    ) -> Option<ShareKey> {
        if !self.queue.is_empty() {
            return None;
        }
        let lendable = |(key, _): &&(SlotKey, C)| {
            let record = self.slots.get(*key);
            record.may_be_lent(&self.limits, Time::default())
        };
        let key = self.shared.iter().find(lendable)?.0;
        Some(self.take_share_of(key, site))
    }

    /// The check of a shared connection is over: `None` if it was dropped without a result.
    pub(crate) fn checked_share(
        &mut self,
        key: SlotKey,
        result: Option<Result<(), CheckError>>,
        now: Time,
    ) {
        let id = self.slots.get(key).id;
        self.note_proven(key, now);
        match result {
            Some(Ok(())) => {
                self.note_proof(key, None, now);
                self.log(EventKind::Checked { id });
            }
            Some(Err(error)) => {
                self.note_proof(key, Some(ConnectError::transient(error.clone())), now);
                self.log(EventKind::CheckFailed { id, error });
                self.mark_for_close(key, CloseReason::CheckFailed);
            }
            None => {}
        }
        // Order: after the proof. That may mark this very connection for close, which happens below, once.
        self.slots.get_mut(key).holds -= 1;
        self.act_on_share(key);
        // Nothing else sets the alarm for the next check.
        if self.limits.check_interval.is_some() {
            self.set_alarm(due(self.slots.get(key)));
        }
    }
}
