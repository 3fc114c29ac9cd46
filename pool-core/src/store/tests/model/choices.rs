//! What a pool may decide by itself, and what it must not leave undone.

use super::op::{Choice, Reason};
use super::slot::{Caller, Slot, State};
use super::{Answer, Mismatch, Model, Step};

impl Model {
    /// Follows the reports of idle connections that the pool closed for age or idleness; those of
    /// connections that are not idle stay in the list.
    pub(super) fn expire_idle(&mut self, choices: &mut Vec<Choice>) -> Step {
        let mut rest = Vec::new();
        // Those that the pool took out for a check before.
        let mut checked = Vec::new();
        for choice in choices.drain(..) {
            if let Choice::Check { slot } = choice {
                checked.push(slot);
            }
            let Choice::Expire { slot, reason } = choice else {
                rest.push(choice);
                continue;
            };
            if !self.idle.contains(&slot) {
                rest.push(choice);
                continue;
            }
            let (limits, now_ms) = (&self.limits, self.now_ms);
            let expired = self.slot(slot)?;
            let mut idle = self.idle.iter().filter(|id| !checked.contains(*id));
            let is_right = if reason == Reason::Idle {
                expired.may_be_idle_too_long(limits, now_ms)
                    && idle.clone().count() > limits.min_idle
                    && idle.next() == Some(&slot)
            } else {
                reason == Reason::Lifetime && expired.may_be_too_old(limits, now_ms)
            };
            if !is_right {
                let what = format!("{choice:?} at {now_ms} is wrong: {expired:?} of {limits:?}");
                return Err(Mismatch::new(what));
            }
            self.close(slot, &[reason])?;
        }
        *choices = rest;
        Ok(())
    }

    pub(super) fn follow(&mut self, choice: Choice) -> Step {
        match choice {
            Choice::Start { slot } => {
                if self.last_slot.is_some_and(|last| slot <= last) || !self.may_start() {
                    let what = format!("connect {slot} should not start: {:?}", self.expected());
                    return Err(Mismatch::new(what));
                }
                self.last_slot = Some(slot);
                self.slots.push(Slot::opening(slot, self.now_ms));
                Ok(())
            }
            Choice::Check { slot } => {
                let (limits, now_ms) = (&self.limits, self.now_ms);
                let has_waiters = self.had_waiters || !self.queue.is_empty();
                let checked = self.slot(slot)?;
                // The last idle one is left to callers.
                let is_due = checked.may_be_checked(limits, now_ms) && self.unchecked > 1;
                let is_awaited = has_waiters && checked.may_be_stale(limits, now_ms);
                if checked.state != State::Idle || !(is_due || is_awaited) {
                    let what = format!("{slot} should not be checked at {now_ms}: {checked:?}");
                    return Err(Mismatch::new(what));
                }
                self.begin_check(slot)
            }
            Choice::PassOver { slot } => {
                Err(Mismatch::new(format!("{slot} was passed over for nobody")))
            }
            Choice::Refuse { ticket } => {
                let place = self.queue.iter().position(|waiter| waiter.ticket == ticket);
                match place {
                    Some(place) => {
                        let waiter = self.queue.remove(place);
                        self.refuse(waiter)
                    }
                    None => Err(Mismatch::new(format!(
                        "{ticket} was refused without waiting"
                    ))),
                }
            }
            Choice::Expire { slot, .. } => Err(Mismatch::new(format!(
                "{slot} expired without being idle or returned"
            ))),
        }
    }

    /// It may have begun at any time since the last step.
    fn begin_check(&mut self, slot: u64) -> Step {
        self.idle.retain(|idle| *idle != slot);
        self.unchecked = self.unchecked.saturating_sub(1);
        let began_ms = self.began_ms;
        let checked = self.slot_mut(slot)?;
        checked.state = State::Checking;
        checked.since_ms = began_ms;
        Ok(())
    }

    /// Whether the pool has the next idle connection checked for a caller that came just now. That is
    /// right if all idle ones are stale.
    pub(super) fn is_checked_for_caller(
        &mut self,
        choices: &mut Vec<Choice>,
    ) -> Result<bool, Mismatch> {
        let is_check = |choice: &Choice| matches!(choice, Choice::Check { .. });
        let Some(at) = choices.iter().position(is_check) else {
            return Ok(false);
        };
        let next = self.next_of(&self.idle);
        let slot = next.filter(|slot| choices[at] == Choice::Check { slot: *slot });
        for id in &self.idle {
            if slot.is_none() || !self.slot(*id)?.may_be_stale(&self.limits, self.now_ms) {
                let what = format!("{:?} is wrong: {:?}", choices[at], self.expected());
                return Err(Mismatch::new(what));
            }
        }
        choices.remove(at);
        slot.map_or(Ok(false), |slot| self.begin_check(slot).map(|()| true))
    }

    /// The idle connection that is lent next, without those that the pool found stale.
    pub(super) fn next_to_lend(&self, choices: &mut Vec<Choice>) -> Result<Option<u64>, Mismatch> {
        let mut idle = self.idle.clone();
        for choice in std::mem::take(choices) {
            let Choice::PassOver { slot } = choice else {
                choices.push(choice);
                continue;
            };
            if !self.slot(slot)?.may_be_stale(&self.limits, self.now_ms) {
                return Err(Mismatch::new(format!("{slot} is not stale")));
            }
            idle.retain(|id| *id != slot);
        }
        Ok(self.next_of(&idle))
    }

    /// Which of these is lent first.
    pub(super) fn next_of(&self, idle: &[u64]) -> Option<u64> {
        match self.limits.takes_oldest {
            true => idle.first().copied(),
            false => idle.last().copied(),
        }
    }

    /// While callers wait, only stale connections are idle, and as many are checked as callers wait.
    pub(super) fn demand_checks(&self) -> Step {
        if self.queue.is_empty() || self.idle.is_empty() {
            return Ok(());
        }
        for id in &self.idle {
            if !self.slot(*id)?.may_be_stale(&self.limits, self.now_ms) {
                return Err(Mismatch::new(format!("{id} idles while callers wait")));
            }
        }
        if self.count(State::Checking) < self.queue.len() {
            let what = format!("another check should begin: {:?}", self.expected());
            return Err(Mismatch::new(what));
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, caller: Caller) -> Step {
        let can_serve = |slot: &Slot| {
            slot.state == State::Opening || !slot.is_leaving() && slot.dooms.is_empty()
        };
        if self.slots.iter().any(can_serve) || !self.has_failed {
            let what = format!("{} was refused: {:?}", caller.ticket, self.expected());
            return Err(Mismatch::new(what));
        }
        self.answer(caller, Answer::Unavailable);
        Ok(())
    }

    /// No idle connection is left that should have been closed long ago.
    pub(super) fn demand_expiries(&self) -> Step {
        let (limits, now_ms) = (&self.limits, self.now_ms);
        for (place, id) in self.idle.iter().enumerate() {
            let slot = self.slot(*id)?;
            let is_spare = place == 0 && self.idle.len() > limits.min_idle;
            let is_overdue =
                slot.is_overdue(limits, now_ms, is_spare.then_some(self.spare_since_ms));
            if is_overdue {
                let what = format!("{id} should be closed at {now_ms}: {slot:?} of {limits:?}");
                return Err(Mismatch::new(what));
            }
        }
        Ok(())
    }

    /// No waiter is left without a connect that could have one, unless failures slow them down.
    pub(super) fn demand_starts(&self) -> Step {
        let soon = [State::Opening, State::Returning, State::Checking];
        let is_short =
            soon.iter().map(|state| self.count(*state)).sum::<usize>() < self.queue.len();
        // None of the connects has to be late.
        let connects = self.count(State::Opening);
        if is_short && self.has_room_to_start(connects) && !self.has_failed {
            return Err(Mismatch::new(format!(
                "a connect should start: {:?}",
                self.expected()
            )));
        }
        Ok(())
    }
}
