//! What happens because time passes.
//!
//! The hot path has no clock. While the pool is in use the maintenance task sweeps once a tick and
//! leaves the time behind; when nothing moved for a whole tick it stops doing so and the store is
//! *quiet*: whoever comes next reads the clock and starts the ticks again. So a pool in use costs
//! ten wake-ups a second and one at rest none but for what is really due.
//!
//! # Invariants
//!
//! Everything that is due later than the next tick is found by the sweep of that tick; only
//! deadlines of waiters and goals, and the pacer, set the alarm themselves.

use std::time::Duration;

use crate::event::EventKind;
use crate::id::CloseReason;
use crate::store::slots::SlotRecord;
use crate::store::{Errand, Refusal, State, Store, WaitEnd};
use crate::time::Time;

/// How far the time that the hot path knows may lag behind.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// How many connections may be under a check at the same time.
pub(super) const CHECKS_MAX: usize = 4;

impl<C> Store<C> {
    /// When the next sweep is due.
    pub(crate) const fn alarm(&self) -> Time {
        self.alarm
    }

    /// The present time as far as it is known without a clock: not too early as long as ticks come
    /// in time. For when they do not, see `expire_waiters`.
    pub(crate) fn coarse_now(&self) -> Time {
        self.tick.after(TICK)
    }

    /// Somebody has read the clock.
    pub(crate) fn note_time(&mut self, now: Time) {
        self.tick = self.tick.max(now);
    }

    /// The first movement after a quiet time: the ticks begin again.
    #[cold]
    pub(crate) fn start_ticks(&mut self, now: Time) {
        self.is_quiet = false;
        self.tick = self.tick.max(now);
        self.next_tick = now.after(TICK);
        self.set_alarm(self.next_tick);
    }

    /// Does everything that is due; `false` if nothing was.
    pub(crate) fn sweep(&mut self, now: Time) -> bool {
        if now < self.alarm {
            return false;
        }
        self.tick = self.tick.max(now);
        let lag = if self.is_quiet {
            Duration::ZERO
        } else {
            now.since(self.next_tick)
        };
        let next = [
            self.schedule_tick(now),
            self.expire_waiters(now, lag),
            self.expire_goals(now),
            self.expire_idle(now),
            self.expire_shares(now),
            self.start_checks(now),
            self.start_probes(now),
            self.report_overdue(now),
            self.record_uptime(now),
        ];
        // Order: after the parts above, since retiring a connection may set the alarm as well.
        self.alarm = next.into_iter().min().unwrap_or(Time::NEVER);
        true
    }

    /// Goes quiet after a tick without movement.
    fn schedule_tick(&mut self, now: Time) -> Time {
        if now < self.next_tick {
            return self.next_tick;
        }
        if !std::mem::take(&mut self.is_moving) {
            self.is_quiet = true;
            self.next_tick = Time::NEVER;
        } else {
            self.next_tick = now.after(TICK);
        }
        self.next_tick
    }

    /// Ends the wait of those whose deadline has come. By as much as this tick is late, deadlines by
    /// the coarse clock may have been set too early, so they are put off by that.
    fn expire_waiters(&mut self, now: Time, lag: Duration) -> Time {
        if self.queue.is_empty() {
            return Time::NEVER;
        }
        let context = self.context(now);
        let mut late = Vec::new();
        let mut wakers = Vec::new();
        let earliest = self.queue.expire(
            now,
            lag,
            |waiter| {
                late.push(waiter);
                WaitEnd::Refused(Refusal::TimedOut, context.clone())
            },
            |waker| wakers.push(waker),
        );
        for waker in wakers {
            self.wake(waker);
        }
        for waiter in late {
            self.log_hot(|| EventKind::TimedOut { waiter });
        }
        earliest
    }

    /// Closes idle connections that reached their lifetime, and those that were idle for too long
    /// as far as `min_idle` allows, the longest unused first.
    fn expire_idle(&mut self, now: Time) -> Time {
        let slots = &self.slots;
        let old = |key| slots.get(key).expires <= now;
        let expired: Vec<_> = self.idle.extract_if(.., |(key, _)| old(*key)).collect();
        for (key, connection) in expired {
            self.retire(key, connection, CloseReason::Lifetime);
        }
        let next = self
            .idle
            .iter()
            .map(|(key, _)| self.slots.get(*key).expires)
            .min();
        let next = next.unwrap_or(Time::NEVER);

        // The last use was measured by the coarse clock, so it may have been a tick later.
        let Some(timeout) = self.limits.idle_timeout else {
            return next;
        };
        let timeout = timeout.saturating_add(TICK);
        let spare = self.idle.len().saturating_sub(self.limits.min_idle);
        let due = |(key, _): &&(_, C)| self.slots.get(*key).used.after(timeout) <= now;
        let unused = self.idle.iter().take(spare).take_while(due).count();
        for (key, connection) in self.idle.drain(..unused).collect::<Vec<_>>() {
            self.retire(key, connection, CloseReason::Idle);
        }
        match self.idle.first() {
            Some((key, _)) if unused < spare => next.min(self.slots.get(*key).used.after(timeout)),
            _ => next,
        }
    }

    /// Takes idle connections out for their check, the longest unproven first.
    fn start_checks(&mut self, now: Time) -> Time {
        let Some(interval) = self.limits.check_interval else {
            return Time::NEVER;
        };
        let proven_at = |store: &Self, key| {
            let record = store.slots.get(key);
            record.proven.max(record.used)
        };
        loop {
            let candidates = self.idle.iter().enumerate();
            let oldest = candidates
                .map(|(place, (key, _))| (proven_at(self, *key), place))
                .min();
            let Some((proven, place)) = oldest else {
                return Time::NEVER;
            };
            if proven.after(interval) > now {
                return proven.after(interval);
            }
            if self.slots.count(State::Checking) >= CHECKS_MAX {
                return now.after(TICK);
            }
            let (key, connection) = self.idle.remove(place);
            let id = self.slots.set_state(key, State::Checking).id;
            self.log(EventKind::Checking { id });
            self.owe(Errand::Check(connection));
        }
    }

    fn report_overdue(&mut self, now: Time) -> Time {
        let Some(patience) = self.limits.lease_warn_after else {
            return Time::NEVER;
        };
        let mut next = Time::NEVER;
        let mut overdue = Vec::new();
        for record in self.slots.iter_mut() {
            if record.state() != State::Leased || record.overdue {
                continue;
            }
            if record.leased.after(patience) > now {
                next = next.min(record.leased.after(patience));
            } else if let Some(site) = record.site {
                record.overdue = true;
                overdue.push((record.id, site, now.since(record.leased)));
            }
        }
        for (id, site, held) in overdue {
            self.log(EventKind::LeaseOverdue { id, site, held });
        }
        next
    }

    /// Tells the pacer when a connection that was opened after the last failure has lived long
    /// enough.
    fn record_uptime(&mut self, now: Time) -> Time {
        if self.pacer.round() == 0 {
            return Time::NEVER;
        }
        let mut next = Time::NEVER;
        let lives = |record: &&SlotRecord| {
            record.is_open() && record.close_reason != Some(CloseReason::Died)
        };
        for record in self.slots.iter().filter(lives) {
            if self.pacer.alive(record.born, now, self.limits.min_uptime) {
                return Time::NEVER;
            }
            let proof = record.born.after(self.limits.min_uptime);
            if proof > now {
                next = next.min(proof);
            }
        }
        next
    }
}
