//! What happens because time passes.
//!
//! The hot path has no clock. While the pool is in use, the maintenance task sweeps once a tick and
//! stores the time. After a whole tick in which nothing moved, the ticks stop and the store is
//! *quiet*; the next caller reads the clock and starts the ticks again. So a pool in use costs ten
//! wake-ups a second, and one at rest wakes up only for what is due.
//!
//! # Invariants
//!
//! The sweep of each tick finds everything that is due later than that tick. Only deadlines of waiters
//! and goals, the pacer, connects and checks that begin, checks that end, and connections that give way set the
//! alarm themselves.

use std::time::Duration;

use crate::event::EventKind;
use crate::id::{CloseReason, WaiterId};
use crate::store::slots::SlotRecord;
use crate::store::{Lending, Refusal, State, Store, WaitEnd};
use crate::time::Time;

/// How far the time that the hot path knows may lag behind.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// How long a waiter counts on the connection that a reset or check will free, or that the budget may grant.
pub(super) const UPKEEP_PATIENCE: Duration = Duration::from_secs(1);

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// When the next sweep is due.
    pub(crate) const fn alarm(&self) -> Time {
        self.alarm
    }

    /// The current time as far as it is known without a clock: not too early as long as ticks are on
    /// time.
    pub(crate) fn coarse_now(&self) -> Time {
        self.tick.after(TICK)
    }

    /// Stores the time that a caller has read off the clock.
    pub(crate) fn note_time(&mut self, now: Time) {
        self.set_tick(now);
    }

    /// Something moved after a quiet time: the ticks begin again.
    #[cold]
    pub(crate) fn start_ticks(&mut self, now: Time) {
        self.is_quiet = false;
        self.set_tick(now);
        self.next_tick = now.after(TICK);
        self.set_alarm(self.next_tick);
        L::ticks_started(self, now);
    }

    /// Does everything that is due; `false` if nothing was.
    pub(crate) fn sweep(&mut self, now: Time) -> bool {
        if now < self.alarm {
            return false;
        }
        self.set_tick(now);
        let next = [
            self.schedule_tick(now),
            self.expire_waiters(now),
            self.expire_goals(now),
            L::expire(self, now),
            // Order: a check that became late makes room for another one.
            self.find_late(now),
            L::start_checks(self, now),
            self.report_overdue(now),
            self.record_uptime(now),
            self.start_weighing(now),
            self.renew(now),
            self.next_claim_ages_at(now),
        ];
        // Order: after the parts above, since retiring a connection may set the alarm as well.
        self.alarm = next.into_iter().min().unwrap_or(Time::NEVER);
        true
    }

    /// Schedules the next tick, or makes the store quiet after a tick in which nothing moved.
    fn schedule_tick(&mut self, now: Time) -> Time {
        if now < self.next_tick {
            return self.next_tick;
        }
        self.queue.shrink();
        if !std::mem::take(&mut self.is_moving) {
            self.is_quiet = true;
            self.next_tick = Time::NEVER;
        } else {
            self.next_tick = now.after(TICK);
        }
        self.next_tick
    }

    /// Ends the waits whose deadline has come.
    fn expire_waiters(&mut self, now: Time) -> Time {
        let expired = self.queue.sweep(now, WaiterId(self.next_waiter));
        if !expired.is_empty() {
            let context = self.context(now);
            for place in expired {
                let mut late = None;
                let waker = self.queue.end(place, |waiter| {
                    late = Some(waiter);
                    WaitEnd::Refused(Refusal::TimedOut, context.clone())
                });
                self.wake(waker);
                if let Some(waiter) = late {
                    self.log_hot(|| EventKind::TimedOut { waiter });
                }
            }
        }
        self.queue.next_sweep()
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
        if !self.pacer.is_failing() {
            return Time::NEVER;
        }
        let mut next = Time::NEVER;
        let lives = |record: &&SlotRecord| {
            record.is_open() && record.close_reason != Some(CloseReason::Died)
        };
        for record in self.slots.iter().filter(lives) {
            let proof = record.born.after(self.limits.min_uptime);
            if proof > now {
                next = next.min(proof);
            } else if self.pacer.proved(record.born) {
                return Time::NEVER;
            }
        }
        next
    }

    /// Finds connects, resets and checks that take longer than usual: they are not counted on any
    /// more, so another connect may begin.
    fn find_late(&mut self, now: Time) -> Time {
        let mut busy: Vec<_> = self.slots.busy_on_time();
        busy.sort_by_key(|key| self.slots.get(*key).since);
        let mut next = Time::NEVER;
        for key in busy {
            let record = self.slots.get(key);
            let patience = match record.state() {
                State::Opening => self.connect_patience(),
                State::Idle
                | State::Leased
                | State::Checking
                | State::Returning
                | State::Closing
                | State::Stuck => UPKEEP_PATIENCE,
            };
            let late_at = record.since.after(patience);
            if late_at <= now {
                self.slots.set_late(key);
            } else {
                next = next.min(late_at);
            }
        }
        next
    }
}
