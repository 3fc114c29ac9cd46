//! What the store says of itself: status, facts about connections, circumstances of an error.

use std::sync::Arc;

use crate::error::{AcquireContext, AcquirePhase, ConnectInFlight};
use crate::status::{ConnectionStats, PoolStatus};
use crate::store::slots::SlotRecord;
use crate::store::{Lending, SlotKey, State, Store};
use crate::time::Time;

/// What a warm-up may expect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WarmUpTerms {
    pub(crate) max_size: usize,
    /// In how many batches of `max_connecting` the connections are opened.
    pub(crate) batches: u32,
}

impl<C: Send + 'static, L: Lending> Store<C, L> {
    pub(crate) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The pool is closed and nothing is left of it.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_closed && self.slots.len() == 0
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.limits.name
    }

    /// What a warm-up of `wanted` connections may expect.
    pub(crate) fn warm_up_terms(&self, wanted: usize) -> WarmUpTerms {
        let batches = wanted.div_ceil(self.limits.max_connecting).max(1);
        WarmUpTerms {
            max_size: self.limits.max_size,
            batches: u32::try_from(batches).unwrap_or(u32::MAX),
        }
    }

    /// How many slots there may be beyond `max_size`.
    pub(crate) const fn max_surge(&self) -> usize {
        self.limits.sharing.max_surge
    }

    /// Connections closed since the pool began to close.
    pub(crate) const fn closed_since(&self) -> usize {
        self.closed_since
    }

    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus {
            leases: L::leases(self),
            max_size: self.limits.max_size,
            opening: self.slots.count(State::Opening),
            idle: self.slots.count(State::Idle),
            leased: self.slots.count(State::Leased),
            checking: self.slots.count(State::Checking),
            returning: self.slots.count(State::Returning),
            closing: self.slots.count(State::Closing),
            stuck: self.slots.count(State::Stuck),
            waiting: self.queue.len(),
            weight: u64::try_from(self.total_weight).unwrap_or(u64::MAX),
            unweighed: self.unweighed(),
            target_leases: L::target_leases(self),
            is_closed: self.is_closed,
        }
    }

    pub(crate) fn stats(&self, key: SlotKey, now: Time) -> ConnectionStats {
        stats_of(self.slots.get(key), now)
    }

    /// Facts about every connection that is open and not being closed.
    pub(crate) fn all_stats(&self, now: Time) -> Vec<ConnectionStats> {
        let open = self.slots.iter().filter(|record| record.is_open());
        open.map(|record| stats_of(record, now)).collect()
    }

    /// The circumstances for an error of acquire.
    pub(crate) fn context(&self, now: Time) -> Arc<AcquireContext> {
        let status = self.status();
        let capacity_free = status.size() < status.max_size;
        let budget = self.awaited_budget();
        let phase = if status.opening > 0 {
            AcquirePhase::Connect
        } else if budget.is_some() {
            AcquirePhase::Budget
        } else if capacity_free && now < self.pacer.not_before() {
            AcquirePhase::Backoff
        } else {
            AcquirePhase::Queue
        };
        let pool = Arc::clone(&self.limits.name);
        let connects = self
            .slots
            .iter()
            .filter(|record| record.state() == State::Opening);
        let oldest = connects.min_by_key(|record| (record.since, record.id));
        let oldest_connect = oldest.map(|record| ConnectInFlight {
            id: record.id,
            elapsed: now.since(record.since),
        });
        let last_failure = self.pacer.failure(now).cloned();
        Arc::new(AcquireContext {
            pool,
            phase,
            status,
            oldest_connect,
            last_failure,
            budget,
            is_key: self.limits.is_key,
        })
    }
}

fn stats_of(record: &SlotRecord, now: Time) -> ConnectionStats {
    ConnectionStats {
        id: record.id,
        age: now.since(record.born),
        uses: record.uses,
        weight: record.weight,
        last_weighing: record.last_weighing,
        // An exclusive lease is no load.
        leases: match record.state() == State::Leased {
            true => record.load.max(1),
            false => 0,
        },
        // The coarse clock may say that it was used before it was opened.
        idle_for: (record.state() == State::Idle).then(|| now.since(record.used.max(record.born))),
    }
}
