//! The spread: over how many connections leases are spread.
//!
//! # Algorithm
//!
//! With a fixed target, leases are spread over one more connection than they fill: another one is
//! wanted when all carry their target. With a learned one, over as many as they need to carry no more
//! than the target each, as far as that many have proven to help; or over as many as an experiment
//! asks for. See [`adaptive`](super::adaptive).
//!
//! A connection that leases are not spread over is *spare*. It is lent only when the others cannot take
//! a lease, so its leases end, and it is closed for being idle. Spare are: those that were not needed
//! for the idle timeout, since fewer would have carried the leases there were; those beyond what has
//! proven to help; and those that an experiment does without.

use std::cmp::Reverse;

use crate::store::adaptive::{PoolView, TargetLearner};
use crate::store::share::Multiplexed;
use crate::store::slots::SlotRecord;
use crate::store::sweep::TICK;
use crate::store::{SlotKey, State, Store, TargetLeases};
use crate::time::Time;

impl<C: Send + 'static> Store<C, Multiplexed> {
    /// How many leases a connection should carry.
    pub(super) fn target_leases(&self) -> u32 {
        match (&self.learner, self.limits.sharing.target_leases) {
            (Some(learner), _) => learner.target(),
            (None, TargetLeases::Fixed(leases)) => leases,
            (None, TargetLeases::Adaptive { min, .. }) => min,
        }
    }

    fn spread(&self) -> usize {
        let records = self.shared_records();
        records.filter(|record| record.is_in_spread()).count()
    }

    /// How many connections are missing to spread the leases, and the waiters, as they should be.
    pub(super) fn spread_missing(&self) -> usize {
        match &self.learner {
            Some(learner) => self.spread_wanted(learner).saturating_sub(self.spread()),
            None => usize::from(self.are_busy(|_| true)),
        }
    }

    fn spread_wanted(&self, learner: &TargetLearner) -> usize {
        learner.spread_for(self.demand()).min(self.limits.max_size)
    }

    /// The leases that count, and the waiters.
    fn demand(&self) -> u32 {
        let waiting = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        self.need.active().saturating_add(waiting)
    }

    /// How many connections without leases are wanted beside those in use: without them others would be
    /// opened.
    pub(super) fn unused_wanted(&self) -> usize {
        let Some(learner) = &self.learner else {
            return usize::from(self.are_busy(|record| record.load > 0));
        };
        let in_use = |record: &&SlotRecord| record.is_in_spread() && record.load > 0;
        let in_use = self.shared_records().filter(in_use).count();
        self.spread_wanted(learner).saturating_sub(in_use)
    }

    /// Whether leases are spread over any connections like these, and all of them carry their target.
    fn are_busy(&self, like: impl Fn(&SlotRecord) -> bool) -> bool {
        let target_leases = self.target_leases();
        let spread = self.shared_records().filter(|record| record.is_in_spread());
        let mut spread = spread.filter(|record| like(record)).peekable();
        spread.peek().is_some() && spread.all(|record| record.active() >= target_leases)
    }

    /// Uses spare connections if leases should be spread over more.
    pub(super) fn widen(&mut self) {
        while self.need.may_have_spare && self.spread_missing() > 0 {
            match self.find_spare() {
                Some(key) => self.slots.get_mut(key).spare = false,
                None => self.need.may_have_spare = false,
            }
        }
    }

    fn find_spare(&self) -> Option<SlotKey> {
        let is_spare = |key: &SlotKey| {
            let record = self.slots.get(*key);
            record.spare && record.is_fresh()
        };
        self.shared.iter().map(|(key, _)| *key).find(is_spare)
    }

    /// A new connection that leases are not to be spread over is spare: it was opened for `min_idle` or a
    /// warm-up.
    pub(super) fn set_aside_if_surplus(&mut self, key: SlotKey) {
        if let Some(learner) = &self.learner {
            let is_surplus = self.spread() > learner.spread_max_for(self.demand()).max(1);
            self.slots.get_mut(key).spare = is_surplus;
            self.need.may_have_spare |= is_surplus;
        }
    }

    /// Learns the target, and makes spare what is too much. Returns when to look again.
    pub(super) fn update_spread(&mut self, now: Time) -> Time {
        if self.learner.is_some() {
            self.begin_generation(now);
            self.learn(now);
            self.narrow(now);
            self.widen();
        }
        self.set_surplus_aside(now)
    }

    /// Leases of the generation before the last are held from now on.
    fn begin_generation(&mut self, now: Time) {
        let Some(learner) = &mut self.learner else {
            return;
        };
        if !learner.age_leases(now) {
            return;
        }
        let mut held = 0;
        for (key, _) in &self.shared {
            let record = self.slots.get_mut(*key);
            held += record.recent[1];
            record.recent = [0, record.recent[0]];
        }
        self.need.hold(held);
        if held > self.need.active() / 8 {
            learner.hold_leases(now);
        }
    }

    fn learn(&mut self, now: Time) {
        // Leases on their way from one connection to another, or about to be.
        let is_unsettled = |record: &SlotRecord| record.active() > 0 && !record.is_in_spread();
        let is_changing =
            self.slots.on_time(State::Opening) > 0 || self.shared_records().any(is_unsettled);
        let view = PoolView {
            now,
            spread: self.spread(),
            spread_max: self.limits.max_size,
            load: self.need.active(),
            is_changing,
        };
        if let Some(learner) = &mut self.learner {
            learner.tick(&view);
        }
    }

    /// Makes connections spare beyond what an experiment asks for or has proven to help.
    fn narrow(&mut self, now: Time) {
        let Some(learner) = &self.learner else {
            return;
        };
        // One that is full of leases that are held for long serves nobody else.
        let max_leases = self.limits.sharing.max_leases;
        let is_full = |record: &&SlotRecord| record.is_in_spread() && record.load >= max_leases;
        let full = self.shared_records().filter(is_full).count();
        let most = learner.spread_max_for(self.need.active()).max(1) + full;
        for _ in most..self.spread() {
            self.set_aside(now);
        }
    }

    /// Marks as spare the connections that were not needed during the idle timeout, beginning with
    /// those that have the fewest leases.
    fn set_surplus_aside(&mut self, now: Time) -> Time {
        let Some(timeout) = self.limits.idle_timeout else {
            return Time::NEVER;
        };
        let timeout = timeout.saturating_add(TICK);
        let peak = self.need.take_peak();
        let needed = match &self.learner {
            Some(learner) => learner.spread_for(peak),
            None if peak == 0 => 0,
            None => (peak / self.target_leases()) as usize + 1,
        };
        // Those that are kept unused are beside what is needed.
        let needed = needed + self.limits.min_idle;
        let mut spread = self.spread();
        self.need.note(needed, spread, now);
        while spread > 1
            && let Some(since) = self.need.surplus_since(spread)
        {
            if since.after(timeout) > now {
                return since.after(timeout);
            }
            self.set_aside(since);
            spread -= 1;
        }
        Time::NEVER
    }

    /// Makes the connection with the fewest leases spare, as unused since then.
    fn set_aside(&mut self, since: Time) {
        let keys = self.shared.iter().map(|(key, _)| *key);
        let spread = keys.filter(|key| self.slots.get(*key).is_in_spread());
        let key = spread.min_by_key(|key| {
            let record = self.slots.get(*key);
            (record.load, Reverse(record.id))
        });
        if let Some(key) = key {
            let record = self.slots.get_mut(key);
            record.spare = true;
            record.used = record.used.min(since);
            self.need.may_have_spare = true;
        }
    }
}
