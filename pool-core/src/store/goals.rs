//! Waits that are not for a connection: a warm-up waits for a number of open ones, a close for the
//! end of all.

use std::task::Waker;

use crate::error::ConnectError;
use crate::store::{Effects, Lending, Store};
use crate::time::Time;

/// The name of a goal; valid until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoalKey(u64);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// At least so many open connections.
    Open(usize),
    /// No slot in use any more.
    Drained,
}

/// How the wait ended.
#[derive(Debug, Clone)]
pub(crate) enum GoalEnd {
    Reached,
    ConnectFailed { failure: ConnectError, open: usize },
    TimedOut,
    Closed,
}

#[derive(Debug)]
struct GoalEntry {
    key: u64,
    goal: Goal,
    deadline: Time,
    waker: Option<Waker>,
    end: Option<GoalEnd>,
}

/// All goals; few at a time, so a list does.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    entries: Vec<GoalEntry>,
    next: u64,
}

impl Goals {
    /// The largest number of open connections that anybody waits for.
    pub(crate) fn open_wanted(&self) -> usize {
        let pending = self.entries.iter().filter(|entry| entry.end.is_none());
        let targets = pending.map(|entry| match entry.goal {
            Goal::Open(target) => target,
            Goal::Drained => 0,
        });
        targets.max().unwrap_or(0)
    }

    /// Ends the goals for which `judge` has one, and returns the earliest deadline of the rest.
    fn resolve<C: Send + 'static, L: Lending>(
        &mut self,
        effects: &mut Effects<C, L>,
        judge: impl Fn(Goal, Time) -> Option<GoalEnd>,
    ) -> Time {
        let mut earliest = Time::NEVER;
        for entry in self.entries.iter_mut().filter(|entry| entry.end.is_none()) {
            entry.end = judge(entry.goal, entry.deadline);
            if entry.end.is_none() {
                earliest = earliest.min(entry.deadline);
            } else if let Some(waker) = entry.waker.take() {
                effects.wakers.push(waker);
            }
        }
        earliest
    }
}

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// Starts to wait for a goal.
    pub(crate) fn add_goal(&mut self, goal: Goal, deadline: Time) -> GoalKey {
        let key = self.goals.next;
        self.goals.next += 1;
        self.goals.entries.push(GoalEntry {
            key,
            goal,
            deadline,
            waker: None,
            end: None,
        });
        self.set_alarm(deadline);
        self.resolve_goals();
        if self.is_orphan {
            let _: Time = self.expire_goals(Time::NEVER);
        }
        self.kick();
        GoalKey(key)
    }

    /// How the wait ended, or `None` and the waker is kept.
    pub(crate) fn poll_goal(&mut self, key: GoalKey, waker: Waker) -> Option<GoalEnd> {
        let entry = self
            .goals
            .entries
            .iter_mut()
            .find(|entry| entry.key == key.0)?;
        let spare = if entry.end.is_some() {
            Some(waker)
        } else {
            entry.waker.replace(waker)
        };
        let end = entry.end.clone();
        if let Some(waker) = spare {
            self.drop_outside(waker);
        }
        end
    }

    /// Stops waiting.
    pub(crate) fn remove_goal(&mut self, key: GoalKey) {
        let place = self
            .goals
            .entries
            .iter()
            .position(|entry| entry.key == key.0);
        if let Some(at) = place {
            let entry = self.goals.entries.swap_remove(at);
            self.drop_outside(entry);
        }
    }

    /// Ends the goals that are reached, or never will be.
    pub(super) fn resolve_goals(&mut self) {
        if self.goals.entries.is_empty() {
            return;
        }
        let (open, left, is_closed) = (self.slots.open(), self.slots.len(), self.is_closed);
        self.owes = true;
        let _: Time = self.goals.resolve(&mut self.effects, |goal, _| match goal {
            Goal::Open(_) if is_closed => Some(GoalEnd::Closed),
            Goal::Open(target) => (open >= target).then_some(GoalEnd::Reached),
            Goal::Drained => (left == 0).then_some(GoalEnd::Reached),
        });
    }

    /// A failed connect ends every warm-up: whoever starts wants to know.
    pub(super) fn fail_warm_ups(&mut self, error: &ConnectError) {
        let open = self.slots.open();
        self.owes |= !self.goals.entries.is_empty();
        let _: Time = self.goals.resolve(&mut self.effects, |goal, _| match goal {
            Goal::Open(_) => Some(GoalEnd::ConnectFailed {
                failure: error.clone(),
                open,
            }),
            Goal::Drained => None,
        });
    }

    /// Ends the goals whose deadline has come, and returns the earliest of the others.
    pub(super) fn expire_goals(&mut self, now: Time) -> Time {
        self.owes |= !self.goals.entries.is_empty();
        self.goals.resolve(&mut self.effects, |_, deadline| {
            (deadline <= now).then_some(GoalEnd::TimedOut)
        })
    }

    /// The runtime that kept the deadlines has gone: every wait ends, now and in future.
    pub(crate) fn orphan(&mut self) {
        self.close();
        self.is_orphan = true;
        let _: Time = self.expire_goals(Time::NEVER);
    }
}
