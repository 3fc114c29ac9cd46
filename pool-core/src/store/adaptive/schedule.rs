//! When something is tried again: ever more rarely, unless things have changed.

use std::time::Duration;

use super::window::{LoadWindow, real};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Schedule {
    /// How long the first attempt is put off; doubled for each further one.
    first: Duration,
    attempts: u32,
    due: Time,
    /// How it was at the last attempt.
    conditions: Option<Conditions>,
}

impl Schedule {
    pub(super) const fn new(first: Duration) -> Self {
        Self {
            first,
            attempts: 0,
            due: Time::from_nanos(0),
            conditions: None,
        }
    }

    /// Nothing has failed under these conditions.
    pub(super) const fn is_fresh(&self) -> bool {
        self.conditions.is_none()
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        now >= self.due
    }

    pub(super) const fn set(&mut self, due: Time) {
        self.due = due;
    }

    pub(super) const fn reset(&mut self) {
        self.attempts = 0;
        self.conditions = None;
    }

    /// It changed nothing, as it was then: puts the next attempt off.
    pub(super) fn fail(&mut self, now: Time, conditions: Option<Conditions>) {
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let wait = self.first.saturating_mul(factor).min(WAIT_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.due = now.after(wait);
        self.conditions = conditions;
    }

    /// There is no doubt about what was found, so it is not tried again as soon as usual.
    pub(super) const fn skip_early_attempts(&mut self) {
        if self.attempts < EARLY_ATTEMPTS {
            self.attempts = EARLY_ATTEMPTS;
        }
    }

    /// It was not really tried: puts the next attempt off a little.
    pub(super) fn postpone(&mut self, now: Time) {
        self.due = self.due.max(now.after(self.first));
    }

    /// Makes it due, once, if it is not any more as it was then, and says so.
    pub(super) fn notice(&mut self, seen: &Conditions, now: Time) -> bool {
        let is_other = self
            .conditions
            .is_some_and(|conditions| seen.differs(&conditions));
        if is_other {
            self.conditions = None;
            self.due = now;
        }
        is_other
    }
}

/// How it was when something was tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conditions {
    /// Of each connection.
    load: f64,
    lease_seconds: f64,
}

impl Conditions {
    pub(super) fn of(window: &LoadWindow, spread: usize) -> Self {
        Self {
            load: window.mean_load() / real(spread.max(1)),
            lease_seconds: window.mean_seconds(),
        }
    }

    /// Whether connections carry much more than before, or serve much slower than their load explains.
    fn differs(&self, before: &Self) -> bool {
        let times = (self.load / before.load).max(1.0);
        times >= BUSIER || self.lease_seconds >= SLOWER * times * before.lease_seconds
    }
}

/// After 8 s instead of 2 s, if it is put off for 2 s at first.
const EARLY_ATTEMPTS: u32 = 2;
/// So many times the load of before is another load,
const BUSIER: f64 = 2.0;
/// and so many times the time of a lease is another peer.
const SLOWER: f64 = 1.5;
const WAIT_MAX: Duration = Duration::from_secs(600);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    /// One connection with this load, and leases that took so long.
    fn seen(load: f64, lease_seconds: f64) -> Conditions {
        Conditions {
            load,
            lease_seconds,
        }
    }

    #[test]
    fn each_failure_puts_the_next_attempt_off_twice_as_long_up_to_ten_minutes() {
        let mut schedule = Schedule::new(Duration::from_secs(2));
        assert!(schedule.is_due(at(0)));
        for wait in [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
            schedule.fail(at(1_000), None);
            assert!(!schedule.is_due(at(1_000 + wait - 1)), "{wait}");
            assert!(schedule.is_due(at(1_000 + wait)), "{wait}");
        }
        for _ in 0..100 {
            schedule.fail(at(1_000), None);
        }
        assert!(!schedule.is_due(at(1_599)));
        assert!(schedule.is_due(at(1_600)));
    }

    #[test]
    fn a_reset_forgets_the_failures_and_how_it_was() {
        let mut schedule = Schedule::new(Duration::from_secs(2));
        schedule.fail(at(0), Some(seen(8.0, 1.0)));
        schedule.fail(at(0), Some(seen(8.0, 1.0)));
        assert!(!schedule.is_fresh());
        schedule.reset();
        assert!(schedule.is_fresh());
        assert!(!schedule.notice(&seen(80.0, 1.0), at(1)));
        schedule.fail(at(10), None);
        assert!(!schedule.is_due(at(11)));
        assert!(schedule.is_due(at(12)));
    }

    #[test]
    fn an_attempt_can_be_set_and_put_off_a_little_but_not_brought_forward() {
        let mut schedule = Schedule::new(Duration::from_secs(2));
        schedule.set(at(50));
        assert!(!schedule.is_due(at(49)));
        assert!(schedule.is_due(at(50)));
        schedule.postpone(at(10));
        assert!(!schedule.is_due(at(49)));
        schedule.postpone(at(50));
        assert!(!schedule.is_due(at(51)));
        assert!(schedule.is_due(at(52)));
        schedule.fail(at(60), None);
        assert!(schedule.is_due(at(62)), "what was put off was no failure");
    }

    #[test]
    fn other_conditions_make_an_attempt_due_once() {
        let mut schedule = Schedule::new(Duration::from_secs(60));
        schedule.fail(at(0), Some(seen(8.0, 1.0)));
        assert!(!schedule.notice(&seen(8.0, 1.0), at(5)));
        assert!(!schedule.is_due(at(5)));
        assert!(schedule.notice(&seen(16.0, 1.0), at(6)));
        assert!(schedule.is_due(at(6)));
        assert!(schedule.is_fresh());
        assert!(!schedule.notice(&seen(16.0, 1.0), at(7)));
    }

    #[test]
    fn conditions_differ_when_the_load_doubles_or_leases_are_slower_than_the_load_explains() {
        let before = seen(8.0, 1.0);
        for (load, lease_seconds, differs) in [
            (15.5, 1.0, false),
            (16.0, 1.0, true),
            (8.0, 1.25, false),
            (8.0, 1.5, true),
            // A lower load explains no slower leases.
            (4.0, 1.25, false),
            (4.0, 1.5, true),
            // Half as many again explain half as long again.
            (12.0, 2.0, false),
            (12.0, 2.25, true),
            (1.0, 0.1, false),
        ] {
            let found = seen(load, lease_seconds).differs(&before);
            assert_eq!(found, differs, "{load}, {lease_seconds} s");
        }
        // The same with leases that take another time: what counts is by how many times.
        assert!(!seen(8.0, 0.5).differs(&seen(8.0, 0.4)));
        assert!(seen(8.0, 0.75).differs(&seen(8.0, 0.5)));
    }

    #[test]
    fn conditions_are_of_each_connection() {
        let window = LoadWindow::of_tick(Duration::from_secs(1), 8.0, 16);
        let conditions = Conditions::of(&window, 4);
        assert_eq!((conditions.load, conditions.lease_seconds), (2.0, 0.5));
        assert_eq!(Conditions::of(&window, 0).load, 8.0);
    }
}
