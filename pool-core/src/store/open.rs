//! Opening: when a connect may begin, and what becomes of its result.

use std::time::Duration;

use crate::error::ConnectError;
use crate::event::EventKind;
use crate::id::ConnectionId;
use crate::store::pacer::{Cost, FailureRecord};
use crate::store::slots::SlotRecord;
use crate::store::{Lending, SlotKey, State, Store};
use crate::time::{Clock, Time};

/// The permission to run one connect.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) key: SlotKey,
    pub(crate) id: ConnectionId,
    /// One more than the number of failed rounds before it.
    pub(crate) attempt: u32,
    /// After how long it is late.
    pub(crate) patience: Duration,
}

/// A lifetime is shortened by a random part of up to one in this many, so that connections that were
/// opened together do not end together.
const LIFETIME_JITTER: u32 = 10;
/// And so is the number of uses, if it is at least this.
const USES_JITTER: u64 = 10;

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// Starts a connect if one is wanted and allowed. The caller holds a permit for it.
    pub(crate) fn open(&mut self, now: Time) -> Option<Opening> {
        if !self.may_open() {
            return None;
        }
        if now < self.pacer.not_before() {
            self.set_alarm(self.pacer.not_before());
            return None;
        }
        // When it is late is found by a sweep, and the pool may be quiet by then.
        let patience = self.connect_patience();
        self.set_alarm(now.after(patience));
        let id = ConnectionId::from_u64(self.next_connection);
        self.next_connection += 1;
        let key = self
            .slots
            .insert(SlotRecord::opening(id, now, self.pacer.round(now)));
        self.note_granted_proof();
        self.log(EventKind::Opening { id });
        Some(Opening {
            key,
            id,
            attempt: self.pacer.round(now).saturating_add(1),
            patience,
        })
    }

    /// A connect succeeded.
    pub(crate) fn opened(&mut self, key: SlotKey, connection: C, now: Time) {
        let expires = match self.limits.max_lifetime {
            Some(lifetime) => {
                let jitter = self.pacer.random().below(lifetime / LIFETIME_JITTER);
                now.after(lifetime - jitter)
            }
            None => Time::NEVER,
        };
        let uses_max = self.limits.max_uses.map_or(u64::MAX, |uses| {
            uses - self.pacer.random().number_below(uses / USES_JITTER + 1)
        });
        let tick = self.tick;
        let record = self.slots.get_mut(key);
        record.born = now;
        record.expires = expires;
        record.uses_max = uses_max;
        record.used = tick;
        record.opened = true;
        let (id, took) = (record.id, now.since(record.since));
        self.note_proven(key, now);
        self.pacer.connected(took);
        self.log(EventKind::Opened { id });
        match self.is_proof_wanted(key) {
            true => L::check_new(self, key, connection),
            false => L::offer(self, key, connection),
        }
        self.resolve_goals();
        // One of `max_connecting` is free again; otherwise that is noticed only at the next tick.
        self.call_for_connects();
    }

    /// A connect failed. Its slot follows by [`release`](Self::release).
    pub(crate) fn connect_failed(&mut self, key: SlotKey, error: ConnectError, now: Time) {
        let record = self.slots.set_state(key, State::Closing);
        let (id, round) = (record.id, record.round);
        let cost = Cost::Connect(now.since(record.since));
        let before = self.pacer.failed(now, round, cost, error.clone());
        self.drop_outside(before);
        self.log(EventKind::ConnectFailed {
            id,
            error: error.clone(),
        });
        self.fail_warm_ups(&error);
        self.note_failed_connect(id, &error);
        L::connect_failed(self, now);
        self.refuse_if_unavailable(now);
    }

    /// Whether a connect is wanted and capacity allows it; the pacer may still delay it.
    ///
    /// There are never more connects in flight than waiting callers plus what is missing of `min_idle`,
    /// or than a warm-up still needs, apart from those that are late: one that hangs must not keep
    /// callers from getting another.
    pub(super) fn may_open(&self) -> bool {
        let opening = self.slots.on_time(State::Opening);
        opening < self.limits.max_connecting
            && self.pacer.allows_beside(opening)
            && !self.is_closed
            && self.slots.len() < L::size_limit(self)
            && opening < self.wanted()
    }

    /// Has the maintenance task start the connects that are wanted, when the pacer allows it.
    pub(super) fn call_for_connects(&mut self) {
        if !self.may_open() {
            return;
        }
        let not_before = self.pacer.not_before();
        if self.tick < not_before {
            self.set_alarm(not_before);
        } else {
            self.kick();
        }
    }

    /// How many connects should be in flight.
    pub(super) fn wanted(&self) -> usize {
        let at_rest = self.slots.count(State::Idle)
            + self.slots.on_time(State::Checking)
            + self.slots.on_time(State::Returning);
        let min_idle = self.limits.min_idle.min(self.limits.max_size);
        self.wanted_beside(min_idle.saturating_sub(at_rest)) + usize::from(self.wants_proof())
    }

    /// How many of these somebody waits for.
    pub(super) fn wanted_by_callers(&self) -> usize {
        self.wanted_beside(0)
    }

    fn wanted_beside(&self, missing: usize) -> usize {
        let demand = L::connects_wanted(self, missing);
        demand.max(self.goals.open_wanted().saturating_sub(self.slots.open()))
    }

    /// What to remember of failures when the pool ends.
    pub(crate) fn failure_record(&self, clock: &Clock) -> Option<FailureRecord> {
        self.pacer.record(clock)
    }

    /// Goes on with the failures of an earlier pool of the same peer.
    pub(crate) fn restore_failures(&mut self, record: FailureRecord, clock: &Clock) {
        self.pacer.restore(record, clock);
    }

    /// After how long the next connect to begin would be late.
    pub(super) fn connect_patience(&self) -> Duration {
        self.pacer.patience(self.slots.late(State::Opening))
    }
}
