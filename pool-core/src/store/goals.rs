//! Waits that are not for a connection: a warm-up waits until a number of connections are open, a close
//! until none is left.

use std::task::Waker;

use crate::error::ConnectError;
use crate::status::EvictionReport;
use crate::time::Time;

/// Identifies a goal; valid until the goal is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoalKey(u64);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// At least so many open connections.
    Open(usize),
    /// No slot in use any more.
    Drained,
    /// All connections replaced.
    Renewed,
}

/// How the wait ended.
#[derive(Debug, Clone)]
pub(crate) enum GoalEnd {
    Reached,
    ConnectFailed {
        failure: ConnectError,
        open: usize,
    },
    TimedOut,
    /// The pool became smaller than the goal.
    TooMany {
        max_size: usize,
    },
    Closed,
    /// The replacement of all connections came to an end, complete or not.
    Renewed(EvictionReport),
}

#[derive(Debug)]
struct GoalEntry {
    key: GoalKey,
    goal: Goal,
    deadline: Time,
    waker: Option<Waker>,
    end: Option<GoalEnd>,
}

/// All goals. There are few at a time, so they are a list.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    entries: Vec<GoalEntry>,
    next: u64,
}

impl Goals {
    /// The largest number of open connections that a warm-up waits for.
    pub(crate) fn open_wanted(&self) -> usize {
        let pending = self.entries.iter().filter(|entry| entry.end.is_none());
        let targets = pending.map(|entry| match entry.goal {
            Goal::Open(target) => target,
            Goal::Drained | Goal::Renewed => 0,
        });
        targets.max().unwrap_or(0)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn add(&mut self, goal: Goal, deadline: Time) -> GoalKey {
        let key = GoalKey(self.next);
        self.next += 1;
        self.entries.push(GoalEntry {
            key,
            goal,
            deadline,
            waker: None,
            end: None,
        });
        key
    }

    /// How the wait ended. If it has not, the waker is kept. Returns also the waker that is not
    /// needed any more, to be dropped after unlocking.
    pub(crate) fn poll(&mut self, key: GoalKey, waker: Waker) -> (Option<GoalEnd>, Option<Waker>) {
        let entry = self.entries.iter_mut().find(|entry| entry.key == key);
        match entry {
            Some(GoalEntry { end: Some(end), .. }) => (Some(end.clone()), Some(waker)),
            Some(entry) => (None, entry.waker.replace(waker)),
            None => (None, Some(waker)),
        }
    }

    /// Stops waiting. Returns what is to be dropped after unlocking.
    pub(crate) fn remove(&mut self, key: GoalKey) -> Option<impl Send + 'static + use<>> {
        let place = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(place))
    }

    /// Ends the goals for which `judge` returns an end, and returns the earliest deadline of the
    /// rest. The wakers must be woken after unlocking.
    pub(crate) fn resolve(
        &mut self,
        wakers: &mut Vec<Waker>,
        judge: impl Fn(Goal, Time) -> Option<GoalEnd>,
    ) -> Time {
        let mut earliest = Time::NEVER;
        for entry in self.entries.iter_mut().filter(|entry| entry.end.is_none()) {
            entry.end = judge(entry.goal, entry.deadline);
            if entry.end.is_none() {
                earliest = earliest.min(entry.deadline);
            } else {
                wakers.extend(entry.waker.take());
            }
        }
        earliest
    }
}
