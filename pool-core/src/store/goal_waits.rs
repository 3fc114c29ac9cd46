//! How the store serves the waits that are not for a connection.

use std::task::Waker;

use crate::error::ConnectError;
use crate::store::{Goal, GoalEnd, GoalKey, Lending, Store};
use crate::time::Time;

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// Starts to wait for a goal.
    pub(crate) fn add_goal(&mut self, goal: Goal, deadline: Time) -> GoalKey {
        let key = self.goals.add(goal, deadline);
        self.set_alarm(deadline);
        self.resolve_goals();
        if self.is_orphan {
            let _: Time = self.expire_goals(Time::NEVER);
        }
        self.kick();
        key
    }

    /// How the wait ended. If it has not, the waker is kept.
    pub(crate) fn poll_goal(&mut self, key: GoalKey, waker: Waker) -> Option<GoalEnd> {
        let (end, spent) = self.goals.poll(key, waker);
        if let Some(spent) = spent {
            self.drop_outside(spent);
        }
        end
    }

    /// Stops waiting.
    pub(crate) fn remove_goal(&mut self, key: GoalKey) {
        self.abandon_renewal(key);
        if let Some(spent) = self.goals.remove(key) {
            self.drop_outside(spent);
        }
    }

    /// Ends the goals that are reached, and those that can no longer be reached.
    pub(super) fn resolve_goals(&mut self) {
        let (open, left, is_closed) = (self.slots.open(), self.slots.len(), self.is_closed);
        let max_size = self.limits.max_size;
        let _: Time = self.end_goals(|goal, _| match goal {
            Goal::Open(_) if is_closed => Some(GoalEnd::Closed),
            Goal::Open(target) if target > max_size => Some(GoalEnd::TooMany { max_size }),
            Goal::Open(target) => (open >= target).then_some(GoalEnd::Reached),
            Goal::Drained => (left == 0).then_some(GoalEnd::Reached),
            Goal::Renewed => None,
        });
    }

    /// A failed connect ends every warm-up: a program that starts wants to know.
    pub(super) fn fail_warm_ups(&mut self, error: &ConnectError) {
        let open = self.slots.open();
        let _: Time = self.end_goals(|goal, _| match goal {
            Goal::Open(_) => Some(GoalEnd::ConnectFailed {
                failure: error.clone(),
                open,
            }),
            Goal::Drained | Goal::Renewed => None,
        });
    }

    /// Ends the goals whose deadline has come, and returns the earliest of the others.
    pub(super) fn expire_goals(&mut self, now: Time) -> Time {
        self.end_goals(|_, deadline| (deadline <= now).then_some(GoalEnd::TimedOut))
    }

    pub(super) fn end_goals(&mut self, judge: impl Fn(Goal, Time) -> Option<GoalEnd>) -> Time {
        if self.goals.is_empty() {
            return Time::NEVER;
        }
        self.owes = true;
        self.goals.resolve(&mut self.effects.wakers, judge)
    }

    /// The runtime that kept the deadlines has shut down: every wait ends, now and in future.
    pub(crate) fn orphan(&mut self) {
        self.close();
        self.is_orphan = true;
        let _: Time = self.expire_goals(Time::NEVER);
    }
}
