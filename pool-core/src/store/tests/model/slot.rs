//! One slot of the model, and those who wait.

use super::op::{Limits, Reason};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Opening,
    Idle,
    Leased,
    Checking,
    Returning,
    Closing,
    Stuck,
}

/// A time that is known to lie between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) earliest: u64,
    pub(super) latest: u64,
}

impl Span {
    pub(super) const fn at(now_ms: u64) -> Self {
        Self {
            earliest: now_ms,
            latest: now_ms,
        }
    }
}

/// A caller in the queue, or one who holds a lease. `None` waits for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) ticket: u64,
    pub(super) deadline_ms: Option<u64>,
    /// Its number in the queue, once it has been there.
    pub(super) number: Option<u64>,
    /// It waits again, since what it was lent proved dead.
    pub(super) had_turn: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) state: State,
    pub(super) opened_ms: u64,
    /// The end of its last use, or its opening. A reset may count as use or not.
    pub(super) used: Span,
    /// The end of its last check, or its opening.
    pub(super) proven_ms: u64,
    /// When its connect, reset or check began.
    pub(super) since_ms: u64,
    /// When it became idle for the last time.
    pub(super) parked_ms: u64,
    pub(super) uses: u64,
    pub(super) holder: Option<Caller>,
    /// Why it must be closed when it is returned; any of them is right.
    pub(super) dooms: Vec<Reason>,
    /// Why it is being closed; any of them is right.
    pub(super) reasons: Vec<Reason>,
}

/// A connect, reset or check that takes as long may count as late.
const PATIENCE_MS: u64 = 1_000;
const TICK_MS: u64 = 100;

impl Slot {
    pub(super) const fn opening(id: u64, now_ms: u64) -> Self {
        Self {
            id,
            state: State::Opening,
            opened_ms: now_ms,
            used: Span::at(now_ms),
            proven_ms: now_ms,
            since_ms: now_ms,
            parked_ms: now_ms,
            uses: 0,
            holder: None,
            dooms: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// Whether its connect, reset or check may count as late. The pool may know its begin to a tick.
    pub(super) const fn may_be_late(&self, now_ms: u64) -> bool {
        self.since_ms + PATIENCE_MS <= now_ms + 2 * TICK_MS
    }

    pub(super) const fn is_leaving(&self) -> bool {
        matches!(self.state, State::Closing | State::Stuck)
    }

    /// Opened and not on its way out.
    pub(super) const fn is_open(&self) -> bool {
        matches!(
            self.state,
            State::Idle | State::Leased | State::Checking | State::Returning
        )
    }

    /// Whether the pool is right if it calls the connection too old.
    pub(super) fn may_be_too_old(&self, limits: &Limits, now_ms: u64) -> bool {
        limits.max_lifetime_ms.is_some_and(|lifetime| {
            self.opened_ms + lifetime.saturating_sub(limits.lifetime_jitter_ms) <= now_ms
        })
    }

    /// Whether the pool is wrong if it lends the connection.
    pub(super) fn must_be_too_old(&self, limits: &Limits, now_ms: u64) -> bool {
        limits
            .max_lifetime_ms
            .is_some_and(|lifetime| self.opened_ms + lifetime + limits.tick_ms <= now_ms)
    }

    /// Whether the pool is right if it says the connection was idle for too long.
    pub(super) fn may_be_idle_too_long(&self, limits: &Limits, now_ms: u64) -> bool {
        limits
            .idle_timeout_ms
            .is_some_and(|timeout| self.used.earliest + timeout <= now_ms)
    }

    /// Whether the pool is wrong if it leaves the connection idle, which it could spare since
    /// `spare_ms` if at all. Two ticks after all of that began to hold the pool must have seen it.
    pub(super) fn is_overdue(&self, limits: &Limits, now_ms: u64, spare_ms: Option<u64>) -> bool {
        let too_old_ms = limits
            .max_lifetime_ms
            .map(|lifetime| self.opened_ms + lifetime);
        let unused_ms = limits
            .idle_timeout_ms
            .map(|timeout| self.used.latest + timeout);
        let idle_ms = unused_ms
            .zip(spare_ms)
            .map(|(unused, spare)| unused.max(spare));
        [too_old_ms, idle_ms]
            .into_iter()
            .flatten()
            .any(|due_ms| due_ms.max(self.parked_ms) + 2 * limits.tick_ms <= now_ms)
    }

    /// Whether the pool is right to check the connection in the background.
    pub(super) fn may_be_checked(&self, limits: &Limits, now_ms: u64) -> bool {
        limits.check_interval_ms.is_some_and(|interval| {
            self.used.earliest.max(self.proven_ms) + interval / 2 <= now_ms + limits.tick_ms
        })
    }

    /// Whether the pool is right if it checks the connection before it lends it.
    pub(super) fn may_be_stale(&self, limits: &Limits, now_ms: u64) -> bool {
        limits
            .stale_after_ms()
            .is_some_and(|limit| self.used.earliest.max(self.proven_ms) + limit <= now_ms)
    }

    /// Whether the pool is wrong if it lends the connection unchecked.
    pub(super) fn must_be_stale(&self, limits: &Limits, now_ms: u64) -> bool {
        limits.stale_after_ms().is_some_and(|limit| {
            self.used.latest.max(self.proven_ms) + limit + 2 * limits.tick_ms < now_ms
        })
    }
}
