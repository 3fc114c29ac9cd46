//! What each action does to a pool.

use super::op::{Action, Choice, Home, Probe, Reason};
use super::slot::{Caller, Span, State};
use super::{Answer, Mismatch, Model, Step};

/// How a caller comes to the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    New,
    /// It was served, but the connection was dead.
    Again,
}

/// How a connection becomes free.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Free {
    /// After a use or a connect: it is the most recently used from here on.
    Used,
    /// After a reset, which may count as use or not.
    Reset,
    /// After a check, which is no use.
    Checked,
}

impl Model {
    /// Follows an action, and the choices the pool made on top of it.
    ///
    /// # Errors
    ///
    /// Names the choice that was not allowed, the choice that was missing, or the id that does
    /// not exist. The model is of no use after that.
    pub(crate) fn apply(&mut self, action: Action, choices: &[Choice]) -> Result<(), Mismatch> {
        self.answered.clear();
        self.loose = None;
        self.began_ms = self.now_ms;
        self.had_waiters = !self.queue.is_empty();
        self.unchecked = self.idle.len();
        let mut choices = choices.to_vec();
        if let Action::Advance { now_ms } = action {
            self.advance(now_ms)?;
        }
        self.expire_idle(&mut choices)?;
        self.act(action, &mut choices)?;
        for choice in choices {
            self.follow(choice)?;
        }
        if matches!(action, Action::Advance { .. }) {
            self.demand_expiries()?;
        }
        if action == Action::StartConnects {
            self.demand_starts()?;
        }
        if self.idle.len() <= self.limits.min_idle {
            self.spare_since_ms = self.now_ms;
        }
        Ok(())
    }

    fn act(&mut self, action: Action, choices: &mut Vec<Choice>) -> Step {
        match action {
            Action::Acquire { ticket, timeout_ms } => self.arrive(
                ticket,
                Some(self.now_ms.saturating_add(timeout_ms)),
                choices,
            ),
            Action::TryAcquire { ticket } => self.arrive(ticket, None, choices),
            Action::Corpse { slot, .. } => self.come_home_as_corpse(slot, choices),
            Action::CancelWaiter { ticket } => {
                self.queue.retain(|waiter| waiter.ticket != ticket);
                Ok(())
            }
            Action::Return { slot, home } => self.come_home(slot, home, choices),
            Action::ConnectOk { slot } => self.connected(slot, choices),
            Action::ConnectFail { slot, .. } => {
                self.has_failed = true;
                self.remove(slot)
            }
            Action::CloseDone { slot } => self.remove(slot),
            Action::CloseLate { slot } => {
                self.slot_mut(slot)?.state = State::Stuck;
                Ok(())
            }
            Action::CheckDone {
                slot,
                probe: Probe::Passed,
            } => {
                self.slot_mut(slot)?.proven_ms = self.now_ms;
                self.free(slot, Free::Checked, choices)
            }
            Action::CheckDone {
                slot,
                probe: Probe::Failed,
            } => self.close(slot, &[Reason::CheckFailed]),
            Action::ResetDone {
                slot,
                probe: Probe::Passed,
            } => self.free(slot, Free::Reset, choices),
            Action::ResetDone {
                slot,
                probe: Probe::Failed,
            } => self.close(slot, &[Reason::ResetFailed]),
            Action::Died { slot } => {
                self.has_failed = true;
                self.doom(slot, Reason::Died)
            }
            Action::EvictAll => {
                let all = self.ids_of(|slot| !slot.is_leaving());
                all.into_iter()
                    .try_for_each(|slot| self.doom(slot, Reason::Evicted))
            }
            Action::EvictOne { slot } => self.doom(slot, Reason::Evicted),
            Action::Resize { max_size } => self.resize(max_size),
            Action::ClosePool => self.close_pool(),
            Action::Advance { .. } | Action::StartConnects => Ok(()),
        }
    }

    fn arrive(&mut self, ticket: u64, deadline_ms: Option<u64>, choices: &mut Vec<Choice>) -> Step {
        self.next_ticket += 1;
        self.acquire(
            Caller {
                ticket,
                deadline_ms,
                number: None,
                had_turn: false,
            },
            Turn::New,
            choices,
        )
    }

    /// Lends an idle connection to a caller, or sends it to its place in the queue.
    fn acquire(&mut self, caller: Caller, turn: Turn, choices: &mut Vec<Choice>) -> Step {
        if self.is_closed {
            self.answer(caller, Answer::Closed);
            return Ok(());
        }
        let waits = caller.deadline_ms.is_some_and(|at| at > self.now_ms);
        if waits && self.is_checked_for_caller(choices)? {
            self.queue_up(caller, Turn::Again);
            return Ok(());
        }
        let next = self.next_to_lend(choices)?;
        // Who does not wait takes a stale one, unless others wait for its check.
        if let Some(slot) = next.filter(|_| waits || self.queue.is_empty()) {
            let lent = self.slot(slot)?;
            if lent.must_be_too_old(&self.limits, self.now_ms)
                || waits && lent.must_be_stale(&self.limits, self.now_ms)
            {
                return Err(Mismatch::new(format!("{slot} is too old to be lent")));
            }
            return self.lease(slot, caller);
        }
        let Some(deadline_ms) = caller.deadline_ms else {
            self.answer(caller, Answer::Empty);
            return Ok(());
        };
        let refusal = Choice::Refuse {
            ticket: caller.ticket,
        };
        if let Some(at) = choices.iter().position(|choice| *choice == refusal) {
            choices.remove(at);
            return self.refuse(caller);
        }
        if deadline_ms <= self.now_ms {
            self.answer(caller, Answer::TimedOut);
        } else if turn == Turn::New && self.queue.len() >= self.limits.max_waiters {
            self.answer(caller, Answer::Overloaded);
        } else {
            self.queue_up(caller, turn);
        }
        Ok(())
    }

    /// Newcomers go to the end. Callers that had their turn are before all newcomers, in the order
    /// of their numbers.
    fn queue_up(&mut self, mut caller: Caller, turn: Turn) {
        let number = *caller.number.get_or_insert(self.next_number);
        self.next_number = self.next_number.max(number + 1);
        caller.had_turn = turn == Turn::Again;
        let is_later =
            |queued: &Caller| !queued.had_turn || queued.number.is_some_and(|other| other > number);
        let place = match turn {
            Turn::New => None,
            Turn::Again => self.queue.iter().position(is_later),
        };
        let place = place.unwrap_or(self.queue.len());
        self.queue.insert(place, caller);
    }

    fn connected(&mut self, slot: u64, choices: &mut Vec<Choice>) -> Step {
        let now_ms = self.now_ms;
        let opened = self.slot_mut(slot)?;
        opened.opened_ms = now_ms;
        opened.proven_ms = now_ms;
        self.free(slot, Free::Used, choices)
    }

    /// The holder gets another connection, or goes to the head of the queue.
    fn come_home_as_corpse(&mut self, slot: u64, choices: &mut Vec<Choice>) -> Step {
        let holder = self.slot_mut(slot)?.holder.take();
        let holder = holder.ok_or_else(|| Mismatch::new(format!("{slot} is not lent")))?;
        self.has_failed = true;
        self.close(slot, &[Reason::Died])?;
        self.acquire(holder, Turn::Again, choices)
    }

    fn come_home(&mut self, slot: u64, home: Home, choices: &mut Vec<Choice>) -> Step {
        let now_ms = self.now_ms;
        let returned = self.slot_mut(slot)?;
        returned.used = Span::at(now_ms);
        returned.holder = None;
        match home {
            Home::Clean => self.free(slot, Free::Used, choices),
            Home::NeedsReset => {
                let reasons = self.reasons_against(slot, choices)?;
                if reasons.is_empty() {
                    let returned = self.slot_mut(slot)?;
                    returned.state = State::Returning;
                    returned.since_ms = now_ms;
                    return Ok(());
                }
                self.close(slot, &reasons)
            }
            Home::Ended => self.close(slot, &[Reason::Died]),
            Home::Dirty => self.end_early(slot, Reason::Dirty),
            Home::Discard => self.end_early(slot, Reason::Discarded),
            Home::Dead => self.end_early(slot, Reason::Died),
            Home::Detach => self.remove(slot),
        }
    }

    /// Closes a connection whose end counts as a failure if it is young.
    fn end_early(&mut self, slot: u64, reason: Reason) -> Step {
        self.has_failed = true;
        self.close(slot, &[reason])
    }

    /// Closes a connection that became free, or lends it to the first in the queue, or parks it.
    fn free(&mut self, slot: u64, how: Free, choices: &mut Vec<Choice>) -> Step {
        let reasons = self.reasons_against(slot, choices)?;
        if !reasons.is_empty() {
            return self.close(slot, &reasons);
        }
        if !self.queue.is_empty() {
            let first = self.queue.remove(0);
            return self.lease(slot, first);
        }
        let now_ms = self.now_ms;
        let parked = self.slot_mut(slot)?;
        parked.state = State::Idle;
        parked.parked_ms = now_ms;
        match how {
            Free::Used => parked.used = Span::at(now_ms),
            Free::Reset => parked.used.latest = now_ms,
            Free::Checked => {}
        }
        let latest = parked.used.latest;
        let mut place = self.idle.len();
        if how != Free::Used {
            self.loose = Some(slot);
            while place > 0 && self.slot(self.idle[place - 1])?.used.earliest > latest {
                place -= 1;
            }
        }
        self.idle.insert(place, slot);
        Ok(())
    }

    /// Why a connection that became free may not be lent again. The order of the tests matters.
    fn reasons_against(
        &self,
        slot: u64,
        choices: &mut Vec<Choice>,
    ) -> Result<Vec<Reason>, Mismatch> {
        let freed = self.slot(slot)?;
        if self.is_closed {
            return Ok(vec![Reason::PoolClosed]);
        }
        if !freed.dooms.is_empty() {
            return Ok(freed.dooms.clone());
        }
        let is_new = freed.state == State::Opening;
        if self.open() + usize::from(is_new) > self.limits.max_size {
            return Ok(vec![Reason::Shrunk]);
        }
        let expiry = Choice::Expire {
            slot,
            reason: Reason::Lifetime,
        };
        let told = choices.iter().position(|choice| *choice == expiry);
        if let Some(at) = told {
            choices.remove(at);
            if !freed.may_be_too_old(&self.limits, self.now_ms) {
                return Err(Mismatch::new(format!("{slot} is not too old yet")));
            }
        }
        if told.is_some() || freed.must_be_too_old(&self.limits, self.now_ms) {
            return Ok(vec![Reason::Lifetime]);
        }
        if self
            .limits
            .max_uses
            .is_some_and(|max_uses| freed.uses >= max_uses)
        {
            return Ok(vec![Reason::MaxUses]);
        }
        Ok(Vec::new())
    }

    fn lease(&mut self, slot: u64, caller: Caller) -> Step {
        self.idle.retain(|idle| *idle != slot);
        let lent = self.slot_mut(slot)?;
        lent.state = State::Leased;
        lent.uses += 1;
        lent.holder = Some(caller);
        self.answer(caller, Answer::Leased { slot });
        Ok(())
    }

    pub(super) fn close(&mut self, slot: u64, reasons: &[Reason]) -> Step {
        self.idle.retain(|idle| *idle != slot);
        let closing = self.slot_mut(slot)?;
        closing.state = State::Closing;
        closing.holder = None;
        closing.reasons = reasons.to_vec();
        Ok(())
    }

    fn remove(&mut self, slot: u64) -> Step {
        self.slot(slot)?;
        self.slots.retain(|other| other.id != slot);
        Ok(())
    }

    /// Closes an idle connection now, and any other when it is returned.
    fn doom(&mut self, slot: u64, reason: Reason) -> Step {
        let doomed = self.slot_mut(slot)?;
        if doomed.state == State::Idle {
            return self.close(slot, &[reason]);
        }
        doomed.dooms.push(reason);
        Ok(())
    }

    fn resize(&mut self, max_size: usize) -> Step {
        self.limits.max_size = max_size;
        while self.open() > max_size {
            let Some(oldest) = self.idle.first().copied() else {
                break;
            };
            self.close(oldest, &[Reason::Shrunk])?;
        }
        Ok(())
    }

    fn close_pool(&mut self) -> Step {
        self.is_closed = true;
        for waiter in std::mem::take(&mut self.queue) {
            self.answer(waiter, Answer::Closed);
        }
        let idle = self.idle.clone();
        idle.into_iter()
            .try_for_each(|slot| self.close(slot, &[Reason::PoolClosed]))
    }

    fn advance(&mut self, now_ms: u64) -> Step {
        if now_ms < self.now_ms {
            return Err(Mismatch::new(format!(
                "time went back from {} to {now_ms}",
                self.now_ms
            )));
        }
        self.now_ms = now_ms;
        let is_late = |waiter: &mut Caller| waiter.deadline_ms.is_some_and(|at| at <= now_ms);
        let late: Vec<_> = self.queue.extract_if(.., is_late).collect();
        for waiter in late {
            self.answer(waiter, Answer::TimedOut);
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, caller: Caller, answer: Answer) {
        self.answered.push((caller.ticket, answer));
    }
}
