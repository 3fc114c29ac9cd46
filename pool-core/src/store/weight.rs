//! How heavy connections are, and what becomes of those that are too heavy.
//!
//! # Algorithm
//!
//! In each interval the store hands out the vitals of all open connections. They are read outside, as a
//! task, and the weights come back together. A connection whose weight was late is left out until that
//! call has ended. If there is no weight, the one before counts. A connection above `max_weight` is not lent again: it is
//! closed when it is returned, or replaced if it is shared. One above `kill_weight` is ended now.
//!
//! If a connection is above `max_weight` when it is new, so will be its replacement. It is new until the first weighing
//! after two intervals: a child that still loads is light in the beginning. Connections that are too heavy when they are new are
//! replaced one after the other, each after twice the time, until a new one is lighter. Otherwise connections would be opened
//! and closed for ever, without getting lighter. They are lent meanwhile, since this limit must refuse nobody. The heaviest
//! goes first: it is the one that leaks, if any does.
//!
//! # Invariants
//!
//! `total_weight` is the sum of the weights of all slots. A slot weighs what it last weighed until it is
//! free, also while it is being closed.

use std::cmp::Reverse;

use crate::budget::Allotment;
use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId};
use crate::store::heavy_pause::HeavyPause;
use crate::store::slots::SlotRecord;
use crate::store::{
    Errand, Lending, SlotKey, State, Store, VitalsHandle, Weighable, Weight, WeightReading,
};
use crate::time::Time;
use crate::vitals::Overweight;

/// What follows from a weighing.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Weighing {
    /// These are to be killed.
    pub(crate) kills: Vec<(VitalsHandle, Overweight)>,
    /// By how much the pool is heavier than before.
    pub(crate) change: i128,
    /// What the heaviest connection weighs, if any could be weighed.
    pub(crate) heaviest: Option<u64>,
}

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// Whether connections are weighed.
    pub(crate) fn weighs(&self) -> bool {
        let allotment = self.allotment.as_ref();
        self.limits.max_weight.is_some()
            || self.limits.kill_weight.is_some()
            || allotment.is_some_and(Allotment::limits_weight)
    }

    /// The connection that is about to be opened in this slot can be weighed.
    pub(crate) fn note_vitals(&mut self, key: SlotKey, vitals: VitalsHandle, now: Time) {
        self.slots.get_mut(key).vitals = Some(vitals);
        if !self.is_weighing && self.next_weighing <= now {
            self.weigh_after(now);
        }
    }

    fn weigh_after(&mut self, now: Time) {
        self.next_weighing = now.after(self.limits.weigh_interval);
        self.set_alarm(self.next_weighing);
    }

    /// Has the connections weighed if that is due, and returns when to look again.
    pub(super) fn start_weighing(&mut self, now: Time) -> Time {
        if self.is_weighing || !self.weighs() {
            return Time::NEVER;
        }
        let with_vitals = self.slots.iter_with_keys().filter_map(|(key, record)| {
            let vitals = record.vitals.as_ref().filter(|_| record.is_open())?;
            Some((key, record.id, vitals))
        });
        let mut with_vitals = with_vitals.peekable();
        if with_vitals.peek().is_none() {
            return Time::NEVER;
        }
        if now < self.next_weighing {
            return self.next_weighing;
        }
        let free = with_vitals.filter(|(_, _, vitals)| !vitals.is_in_call());
        let weighable: Vec<_> = free
            .map(|(key, id, vitals)| Weighable {
                key,
                id,
                vitals: vitals.clone(),
            })
            .collect();
        if weighable.is_empty() {
            self.next_weighing = now.after(self.limits.weigh_interval);
            return self.next_weighing;
        }
        self.is_weighing = true;
        self.owe(Errand::Weigh(weighable));
        Time::NEVER
    }

    /// The connections were weighed.
    pub(crate) fn weighed(&mut self, readings: &[WeightReading], now: Time) -> Weighing {
        self.note_time(now);
        self.is_weighing = false;
        self.weigh_after(now);
        let mut weighing = Weighing::default();
        let mut measured = Vec::new();
        for reading in readings {
            let record = self.slots.find(reading.key, reading.id);
            let Some(record) = record.filter(|record| record.is_open()) else {
                continue;
            };
            let last = reading.weight.told();
            let is_news = std::mem::replace(&mut record.last_weighing, last) != last;
            let Weight::Measured(weight) = reading.weight else {
                if is_news {
                    let (id, why) = (reading.id, last);
                    self.log(EventKind::Unweighed { id, why });
                }
                continue;
            };
            let before = std::mem::replace(&mut record.weight, weight);
            self.total_weight = self.total_weight - u128::from(before) + u128::from(weight);
            weighing.change += i128::from(weight) - i128::from(before);
            weighing.heaviest = weighing.heaviest.max(Some(weight));
            self.note_weight_when_new(reading.key, weight, now);
            measured.push((weight, reading.id, reading.key));
        }
        // Order: the heaviest first. In the order of slots, the replacement of the one before would be replaced
        // again and again, since it gets the same slot.
        measured.sort_by_key(|(weight, id, _)| (Reverse(*weight), *id));
        for (weight, id, key) in measured {
            weighing
                .kills
                .extend(self.judge_weight(key, id, weight, now));
        }
        weighing
    }

    fn note_weight_when_new(&mut self, key: SlotKey, weight: u64, now: Time) {
        let is_heavy = self.limits.max_weight.is_some_and(|limit| weight > limit);
        let record = self.slots.get_mut(key);
        if !record.is_new {
            return;
        }
        record.was_heavy_when_new = is_heavy;
        let new_for = self.limits.weigh_interval.saturating_mul(NEW_INTERVALS);
        record.is_new = now < record.born.after(new_for);
        // A light one says that replacing helps, once it had the time to become heavy.
        if !record.is_new && !is_heavy {
            self.heavy_pause = HeavyPause::default();
        }
    }

    fn judge_weight(
        &mut self,
        key: SlotKey,
        id: ConnectionId,
        weight: u64,
        now: Time,
    ) -> Option<(VitalsHandle, Overweight)> {
        let record = self.slots.get_mut(key);
        if let Some(limit) = self.limits.kill_weight.filter(|limit| weight > *limit)
            && record.kill_cause.is_none()
        {
            let cause = Overweight { weight, limit };
            record.kill_cause = Some(cause);
            let vitals = record.vitals.clone();
            self.log(EventKind::Killed { id, weight, limit });
            self.note_unfit(key);
            L::killed(self, key);
            return vitals.map(|vitals| (vitals, cause));
        }
        let limit = self.limits.max_weight.filter(|limit| weight > *limit)?;
        let record = self.slots.get(key);
        if record.is_outgoing() {
            return None;
        }
        if record.was_heavy_when_new {
            if now < self.heavy_pause.ends {
                return None;
            }
            if self.heavy_pause.begin(self.limits.weigh_interval, now) {
                self.log(EventKind::HeavyWhenNew { id, weight, limit });
            }
        }
        self.log(EventKind::Overweight { id, weight, limit });
        L::overweight(self, key);
        None
    }

    /// How many connections have no present weight: the last attempt to weigh them gave none.
    pub(super) fn unweighed(&self) -> u32 {
        if !self.weighs() {
            return 0;
        }
        let open = self.slots.iter().filter(|record| record.is_open());
        let unweighed = open.filter(|record| record.last_weighing.has_failed());
        u32::try_from(unweighed.count()).unwrap_or(u32::MAX)
    }

    /// How much of the pool's weight is on its way out. A shared connection that hangs is not: other
    /// connections are closed in its place.
    pub(crate) fn outgoing_weight(&self) -> u64 {
        let outgoing = self.slots.iter().filter(|record| record.leaves_soon());
        let weights = outgoing.map(|record| record.weight);
        weights.fold(0, u64::saturating_add)
    }

    /// Closes idle connections, the heaviest first, until this much is on its way out. Returns how much
    /// is.
    pub(crate) fn shed_idle(&mut self, excess: u64) -> u64 {
        let reserved = self.allotment.as_ref().map_or(0, Allotment::reserved);
        let mut shed: u64 = 0;
        while shed < excess && self.slots.count(State::Idle) > reserved {
            let idle = |record: &SlotRecord| {
                record.state() == State::Idle && record.is_unused() && !record.is_outgoing()
            };
            let Some(key) = self.heaviest(idle) else {
                break;
            };
            shed = shed.saturating_add(self.slots.get(key).weight);
            self.log_overweight(key);
            L::retire_unused(self, key, CloseReason::Overweight);
        }
        shed
    }

    /// The heaviest connection is not lent again, though callers have it. Returns whether there was one. Idle
    /// ones that are reserved are kept: they would be opened again.
    pub(crate) fn shed_leased(&mut self) -> bool {
        let reserved = self.allotment.as_ref().map_or(0, Allotment::reserved);
        let keeps_idle = self.slots.count(State::Idle) <= reserved;
        let is_kept = |record: &SlotRecord| keeps_idle && record.state() == State::Idle;
        let stays = |record: &SlotRecord| record.is_open() && !record.is_outgoing();
        let Some(key) = self.heaviest(|record| stays(record) && !is_kept(record)) else {
            return false;
        };
        self.log_overweight(key);
        L::overweight(self, key);
        true
    }

    fn heaviest(&self, like: impl Fn(&SlotRecord) -> bool) -> Option<SlotKey> {
        let records = self.slots.iter_with_keys();
        let like = records.filter(|(_, record)| record.weight > 0 && like(record));
        let (key, _) = like.max_by_key(|(_, record)| record.weight)?;
        Some(key)
    }

    /// It is too heavy for the budget.
    fn log_overweight(&mut self, key: SlotKey) {
        let record = self.slots.get(key);
        let (id, weight) = (record.id, record.weight);
        let limit = self.allotment.as_ref().map_or(0, Allotment::max_weight);
        self.log(EventKind::Overweight { id, weight, limit });
    }

    /// Why the connection of this slot was killed, if it was.
    pub(crate) fn kill_cause(&self, key: SlotKey) -> Option<Overweight> {
        self.slots.get(key).kill_cause
    }
}

/// For so many intervals a connection is new: in the first one it can be weighed right after it was opened.
const NEW_INTERVALS: u32 = 2;
