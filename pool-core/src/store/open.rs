//! Opening: when a connect may begin, and what becomes of its result.

use crate::error::ConnectError;
use crate::event::EventKind;
use crate::id::ConnectionId;
use crate::store::slots::SlotRecord;
use crate::store::{Lending, SlotKey, State, Store};
use crate::time::Time;

/// The permission to run one connect.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) key: SlotKey,
    pub(crate) id: ConnectionId,
    /// One more than the number of failed rounds before it.
    pub(crate) attempt: u32,
}

/// A lifetime is shortened by a random part of up to one in this many, so that connections that were
/// opened together do not end together.
const LIFETIME_JITTER: u32 = 10;

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
        let id = ConnectionId::from_u64(self.next_connection);
        self.next_connection += 1;
        let key = self
            .slots
            .insert(SlotRecord::opening(id, now, self.pacer.round()));
        self.log(EventKind::Opening { id });
        Some(Opening {
            key,
            id,
            attempt: self.pacer.round().saturating_add(1),
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
        self.pacer.connected();
        let tick = self.tick;
        let record = self.slots.get_mut(key);
        record.born = now;
        record.expires = expires;
        record.used = tick;
        record.proven = now;
        record.opened = true;
        let id = record.id;
        self.log(EventKind::Opened { id });
        L::offer(self, key, connection);
        self.resolve_goals();
        // One of `max_connecting` is free again; otherwise that is noticed only at the next tick.
        if self.may_open() {
            self.kick();
        }
    }

    /// A connect failed. Its slot follows by [`release`](Self::release).
    pub(crate) fn connect_failed(&mut self, key: SlotKey, error: ConnectError, now: Time) {
        let record = self.slots.set_state(key, State::Closing);
        let (id, round) = (record.id, record.round);
        let before = self.pacer.failed(now, round, error.clone());
        self.drop_outside(before);
        self.log(EventKind::ConnectFailed {
            id,
            error: error.clone(),
        });
        self.fail_warm_ups(&error);
        L::connect_failed(self, now);
        self.refuse_if_unavailable(now);
    }

    /// Whether a connect is wanted and capacity allows it; the pacer may still delay it.
    ///
    /// There are never more connects in flight than waiting callers plus what is missing of `min_idle`,
    /// or than a warm-up still needs.
    pub(super) fn may_open(&self) -> bool {
        let opening = self.slots.count(State::Opening);
        opening < self.limits.max_connecting
            && !self.is_closed
            && self.slots.len() < L::size_limit(self)
            && opening < self.wanted()
    }

    fn wanted(&self) -> usize {
        let at_rest = self.slots.count(State::Idle)
            + self.slots.count(State::Checking)
            + self.slots.count(State::Returning);
        let min_idle = self.limits.min_idle.min(self.limits.max_size);
        let missing = min_idle.saturating_sub(at_rest);
        let demand = L::connects_wanted(self, missing);
        demand.max(self.goals.open_wanted().saturating_sub(self.slots.open()))
    }
}
