//! What can be seen of a pool, and the comparison of what is seen with what the model expects.

use std::error::Error;
use std::fmt;

use super::Model;
use super::op::Reason;
use super::slot::State;

/// The answer to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// It was lent this connection.
    Leased {
        /// The connection's slot.
        slot: u64,
    },
    /// It waited for as long as it was ready to.
    TimedOut,
    /// Too many wait already.
    Overloaded,
    /// The pool is closed.
    Closed,
    /// Connections cannot be opened.
    Unavailable,
    /// Nothing is idle, and it did not want to wait.
    Empty,
}

/// What can be seen of a pool after an action. The order matters where it is named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Snapshot {
    /// The present limit.
    pub(crate) max_size: usize,
    /// Whether the pool is closed.
    pub(crate) is_closed: bool,
    /// Slots with a connect under way.
    pub(crate) opening: Vec<u64>,
    /// Idle slots, in order: the least recently used first.
    pub(crate) idle: Vec<u64>,
    /// Lent slots, each with the ticket of its holder.
    pub(crate) leased: Vec<(u64, u64)>,
    /// Slots being checked.
    pub(crate) checking: Vec<u64>,
    /// Slots being reset.
    pub(crate) returning: Vec<u64>,
    /// Slots being closed and why, those included that are late.
    pub(crate) closing: Vec<(u64, Reason)>,
    /// Slots whose close is late.
    pub(crate) stuck: Vec<u64>,
    /// Tickets of those who wait, in order: the first to be served first.
    pub(crate) waiting: Vec<u64>,
    /// The callers that the last action answered, and how.
    pub(crate) answered: Vec<(u64, Answer)>,
}

/// A difference between the pool and the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    what: String,
}

impl Mismatch {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool and model disagree: {}", self.what)
    }
}

impl Error for Mismatch {}

impl Model {
    /// What a pool should show now. Where several reasons for a close are right, the first is
    /// shown.
    #[must_use]
    pub(crate) fn expected(&self) -> Snapshot {
        let holder = |slot: &super::slot::Slot| slot.holder.map_or(u64::MAX, |held| held.ticket);
        let leased = self.slots.iter().filter(|slot| slot.state == State::Leased);
        let closing = self.slots.iter().filter(|slot| slot.is_leaving());
        Snapshot {
            max_size: self.limits.max_size,
            is_closed: self.is_closed,
            opening: self.ids(State::Opening),
            idle: self.idle.clone(),
            leased: leased.map(|slot| (slot.id, holder(slot))).collect(),
            checking: self.ids(State::Checking),
            returning: self.ids(State::Returning),
            closing: closing.map(|slot| (slot.id, slot.reasons[0])).collect(),
            stuck: self.ids(State::Stuck),
            waiting: self.queue.iter().map(|waiter| waiter.ticket).collect(),
            answered: self.answered.clone(),
        }
    }

    /// Compares what the pool shows after an action with what it should show.
    ///
    /// # Errors
    ///
    /// Names the first part that differs.
    pub(crate) fn check(&mut self, seen: &Snapshot) -> Result<(), Mismatch> {
        self.demand_checks()?;
        let expected = self.expected();
        same("max_size", &seen.max_size, &expected.max_size)?;
        same("is_closed", &seen.is_closed, &expected.is_closed)?;
        same_set("answered", &seen.answered, &expected.answered)?;
        same("waiting", &seen.waiting, &expected.waiting)?;
        same_set("leased", &seen.leased, &expected.leased)?;
        same_set("opening", &seen.opening, &expected.opening)?;
        same_set("checking", &seen.checking, &expected.checking)?;
        same_set("returning", &seen.returning, &expected.returning)?;
        same_set("stuck", &seen.stuck, &expected.stuck)?;
        self.check_closing(seen, &expected)?;
        self.check_idle(&seen.idle)
    }

    fn check_closing(&self, seen: &Snapshot, expected: &Snapshot) -> Result<(), Mismatch> {
        let ids = |closing: &[(u64, Reason)]| closing.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        same_set("closing", &ids(&seen.closing), &ids(&expected.closing))?;
        for (id, reason) in &seen.closing {
            let right = &self.slot(*id)?.reasons;
            if !right.contains(reason) {
                let what = format!("{id} is closed for {reason:?}, should be for {right:?}");
                return Err(Mismatch::new(what));
            }
        }
        Ok(())
    }

    /// Checks the order of the idle ones. One that came back from a check or reset may stand
    /// wherever the times of use allow, which the pool knows to a tick only; where it stands is
    /// taken over from the pool.
    fn check_idle(&mut self, seen: &[u64]) -> Result<(), Mismatch> {
        same_set("idle", seen, &self.idle)?;
        let Some(loose) = self.loose.take() else {
            return same("idle", &seen.to_vec(), &self.idle);
        };
        let without = |ids: &[u64]| {
            ids.iter()
                .copied()
                .filter(|id| *id != loose)
                .collect::<Vec<_>>()
        };
        same("idle", &without(seen), &without(&self.idle))?;
        let (used, tick) = (self.slot(loose)?.used, self.limits.tick_ms);
        let place = seen.iter().position(|id| *id == loose);
        for (at, id) in seen.iter().enumerate() {
            let other = self.slot(*id)?.used;
            let is_right = match Some(at).cmp(&place) {
                std::cmp::Ordering::Less => other.earliest <= used.latest + tick,
                std::cmp::Ordering::Equal => true,
                std::cmp::Ordering::Greater => other.latest + tick >= used.earliest,
            };
            if !is_right {
                let what = format!("{loose}, used {used:?}, is out of its place in {seen:?}");
                return Err(Mismatch::new(what));
            }
        }
        self.idle = seen.to_vec();
        Ok(())
    }
}

fn same<T: PartialEq + fmt::Debug>(what: &str, seen: &T, expected: &T) -> Result<(), Mismatch> {
    if seen == expected {
        return Ok(());
    }
    Err(Mismatch::new(format!(
        "{what} is {seen:?}, should be {expected:?}"
    )))
}

fn same_set<T: Ord + Clone + fmt::Debug>(
    what: &str,
    seen: &[T],
    expected: &[T],
) -> Result<(), Mismatch> {
    let sorted = |items: &[T]| {
        let mut items = items.to_vec();
        items.sort();
        items
    };
    same(what, &sorted(seen), &sorted(expected))
}
