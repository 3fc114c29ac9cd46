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

/// So many times the load of before is another load,
const BUSIER: f64 = 2.0;
/// and so many times the time of a lease is another peer.
const SLOWER: f64 = 1.5;
const WAIT_MAX: Duration = Duration::from_secs(600);
