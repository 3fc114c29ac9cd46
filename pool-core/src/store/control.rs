//! Operations on the pool as a whole: resize, evict, close, and what it says of itself.

use std::sync::Arc;

use crate::error::{AcquireContext, AcquirePhase};
use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId};
use crate::status::{ConnectionStats, PoolStatus};
use crate::store::slots::SlotRecord;
use crate::store::{Refusal, SlotKey, State, Store};
use crate::time::Time;

/// What a resize changes about the free permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Resized {
    Add(usize),
    Remove(usize),
}

impl<C> Store<C> {
    /// Changes the limit, unless the pool is closed. The permits must change with it, in the same
    /// critical section.
    pub(crate) fn resize(&mut self, max_size: usize) -> Option<Resized> {
        if self.is_closed {
            return None;
        }
        let before = self.limits.slots_max();
        let from = std::mem::replace(&mut self.limits.max_size, max_size);
        self.log(EventKind::Resized { from, to: max_size });
        self.shrink_shares();
        let surplus = self
            .slots
            .serving()
            .saturating_sub(max_size)
            .min(self.idle.len());
        for (key, connection) in self.idle.drain(..surplus).collect::<Vec<_>>() {
            self.retire(key, connection, CloseReason::Shrunk);
        }
        self.kick();
        let slots = self.slots.len();
        let (before, after) = (before.max(slots), self.limits.slots_max().max(slots));
        Some(if after >= before {
            Resized::Add(after - before)
        } else {
            Resized::Remove(before - after)
        })
    }

    /// Closes the connections that `selects` picks: idle ones now, others when they come home.
    /// Returns how many it picked.
    pub(crate) fn evict(&mut self, mut selects: impl FnMut(ConnectionId) -> bool) -> usize {
        let mut count = 0;
        for key in self.shared_keys() {
            let record = self.slots.get(key);
            if record.close_reason.is_none() && record.superseded.is_none() && selects(record.id) {
                self.supersede(key, CloseReason::Evicted);
                count += 1;
            }
        }
        let is_shared = self.limits.sharing.is_some();
        for record in self.slots.iter_mut() {
            // The open ones of a shared pool are those of its stock.
            let is_passed = record.is_leaving() || is_shared && record.is_open();
            if !is_passed && record.close_reason.is_none() && selects(record.id) {
                record.close_reason = Some(CloseReason::Evicted);
                count += 1;
            }
        }
        let slots = &self.slots;
        let is_marked = |entry: &mut (SlotKey, C)| slots.get(entry.0).close_reason.is_some();
        let out: Vec<_> = self.idle.extract_if(.., is_marked).collect();
        for (key, connection) in out {
            self.retire(key, connection, CloseReason::Evicted);
        }
        count
    }

    /// Stops intake, refuses the waiters and closes what is idle. The first call does it all.
    pub(crate) fn close(&mut self) {
        if self.is_closed {
            return;
        }
        self.is_closed = true;
        self.log(EventKind::PoolClosing);
        self.refuse_all(Refusal::Closed);
        for (key, connection) in std::mem::take(&mut self.idle) {
            self.retire(key, connection, CloseReason::PoolClosed);
        }
        self.close_shares();
        if self.slots.len() == 0 {
            self.log(EventKind::PoolClosed);
        }
        self.resolve_goals();
        self.kick();
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Nothing is left to do for a closed pool.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_closed && self.slots.len() == 0
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.limits.name
    }

    /// How many connections there may be, and in how many batches so many of them are opened.
    pub(crate) fn warm_up_terms(&self, wanted: usize) -> (usize, u32) {
        let batches = wanted.div_ceil(self.limits.max_connecting).max(1);
        (
            self.limits.max_size,
            u32::try_from(batches).unwrap_or(u32::MAX),
        )
    }

    /// Connections closed since the pool began to close.
    pub(crate) const fn closed_since(&self) -> usize {
        self.closed_since
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let leased = self.slots.count(State::Leased);
        let leases = match self.limits.sharing {
            None => leased,
            Some(_) => self.slots.iter().map(|record| record.load as usize).sum(),
        };
        PoolStatus {
            leases,
            max_size: self.limits.max_size,
            opening: self.slots.count(State::Opening),
            idle: self.slots.count(State::Idle),
            leased,
            checking: self.slots.count(State::Checking),
            returning: self.slots.count(State::Returning),
            closing: self.slots.count(State::Closing),
            stuck: self.slots.count(State::Stuck),
            waiting: self.queue.len(),
            is_closed: self.is_closed,
        }
    }

    pub(crate) fn stats(&self, key: SlotKey, now: Time) -> ConnectionStats {
        stats_of(self.slots.get(key), now)
    }

    /// Facts about every connection that is open and not on its way out.
    pub(crate) fn all_stats(&self, now: Time) -> Vec<ConnectionStats> {
        let open = self.slots.iter().filter(|record| record.is_open());
        open.map(|record| stats_of(record, now)).collect()
    }

    /// The circumstances for an error of acquire.
    pub(crate) fn context(&self, now: Time) -> Arc<AcquireContext> {
        let status = self.status();
        let capacity_free = status.size() < status.max_size;
        let phase = if status.opening > 0 {
            AcquirePhase::Connect
        } else if capacity_free && now < self.pacer.not_before() {
            AcquirePhase::Backoff
        } else {
            AcquirePhase::Queue
        };
        let pool = Arc::clone(&self.limits.name);
        let last_failure = self.pacer.failure().cloned();
        Arc::new(AcquireContext {
            pool,
            phase,
            status,
            last_failure,
        })
    }
}

fn stats_of(record: &SlotRecord, now: Time) -> ConnectionStats {
    ConnectionStats {
        id: record.id,
        age: now.since(record.born),
        uses: record.uses,
        // An exclusive lease is no load.
        leases: match record.state() == State::Leased {
            true => record.load.max(1),
            false => 0,
        },
        // The coarse clock may say that it was used before it was opened.
        idle_for: (record.state() == State::Idle).then(|| now.since(record.used.max(record.born))),
    }
}
