//! What a pool may decide by itself, and what it must not leave undone.

use super::op::{Choice, Reason};
use super::slot::{Caller, Slot, State};
use super::{Answer, Mismatch, Model, Step};

impl Model {
    /// Follows the reports of idle connections that the pool closed for age or idleness; those of
    /// connections that are not idle stay in the list.
    pub(super) fn expire_idle(&mut self, choices: &mut Vec<Choice>) -> Step {
        let mut rest = Vec::new();
        for choice in choices.drain(..) {
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
            let is_right = if reason == Reason::Idle {
                expired.may_be_idle_too_long(limits, now_ms)
                    && self.idle.first() == Some(&slot)
                    && self.idle.len() > limits.min_idle
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
                let (now_ms, has_waiters) = (self.now_ms, !self.queue.is_empty());
                let checked = self.slot(slot)?;
                let is_due = checked.may_be_checked(&self.limits, now_ms);
                if checked.state != State::Idle || has_waiters || !is_due {
                    let what = format!("{slot} should not be checked at {now_ms}: {checked:?}");
                    return Err(Mismatch::new(what));
                }
                // It may have begun as soon as it was due, before the end of this step.
                let proven_ms = checked.used.earliest.max(checked.proven_ms);
                let due_ms = proven_ms + self.limits.check_interval_ms.unwrap_or(0);
                self.idle.retain(|idle| *idle != slot);
                let checked = self.slot_mut(slot)?;
                checked.state = State::Checking;
                checked.since_ms = due_ms.min(now_ms);
                Ok(())
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

    pub(super) fn refuse(&mut self, caller: Caller) -> Step {
        if self.serving() > 0 || !self.has_failed {
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
