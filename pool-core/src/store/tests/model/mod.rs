//! A second opinion on every decision of a pool: a reference model that is simple instead of fast.
//!
//! It is written in plain numbers and lists and knows nothing of the pool's own types, so that the
//! pool's decision logic can be tested against it by itself, without a runtime, and the whole pool
//! as well.
//!
//! # Driving a pool against it
//!
//! For each generated [`Op`]:
//!
//! 1. [`Model::resolve`] turns it into an [`Action`] on what there is, or into nothing.
//! 2. Do the action to the pool. Note what the pool chose to do on top of it, as [`Choice`]s: which
//!    connects and checks it started, whom it refused because connects fail, and every close for
//!    age or idleness.
//! 3. [`Model::apply`] follows the action, and checks that the choices were allowed.
//! 4. [`Model::check`] compares a [`Snapshot`] of the pool with the state of the model.
//!
//! Callers are known by the tickets in the actions, slots by the ids the pool gives them when it
//! starts a connect; both must be unique, and the ids grow.
//!
//! # What is decided, and what is left open
//!
//! Everything is decided except: *when* a connect starts (but never more than
//! are wanted, and as long as nothing has failed, [`Op::StartConnects`] leaves no waiter without a
//! connect that could have one), whom to refuse when connects fail and nothing is left that could
//! serve, when within two ticks of the pool's clock a connection counts as too old or idle for too
//! long, when a due check starts, and which of several reasons for a close is given.

mod apply;
mod choices;
mod op;
mod slot;
mod snapshot;
mod strategy;
#[cfg(test)]
mod tests;

pub(crate) use op::{Action, Choice, Failure, Home, Limits, Op, Probe, Reason};
pub(crate) use snapshot::{Answer, Mismatch, Snapshot};
pub(crate) use strategy::{limits, op_with_corpses, ops};

use slot::{Caller, Slot, State};

type Step = Result<(), Mismatch>;

/// The state of a pool, as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    limits: Limits,
    now_ms: u64,
    /// The time before this action, and whether anybody waited then.
    began_ms: u64,
    had_waiters: bool,
    /// How many were idle then, less those taken out for a check since.
    unchecked: usize,
    /// In the order of their ids.
    slots: Vec<Slot>,
    /// The idle ones, the least recently used first.
    idle: Vec<u64>,
    /// An idle one whose place the pool decides, within limits, until the next check.
    loose: Option<u64>,
    /// The last time at which no idle connection was beyond `min_idle`.
    spare_since_ms: u64,
    /// The first to be served first.
    queue: Vec<Caller>,
    is_closed: bool,
    has_failed: bool,
    warm_up_target: usize,
    next_ticket: u64,
    /// Numbers in the queue.
    next_number: u64,
    last_slot: Option<u64>,
    /// Answers to callers by the last action.
    answered: Vec<(u64, Answer)>,
}

impl Model {
    /// An empty pool at time 0.
    #[must_use]
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            now_ms: 0,
            began_ms: 0,
            had_waiters: false,
            unchecked: 0,
            slots: Vec::new(),
            idle: Vec::new(),
            loose: None,
            spare_since_ms: 0,
            queue: Vec::new(),
            is_closed: false,
            has_failed: false,
            warm_up_target: 0,
            next_ticket: 0,
            next_number: 0,
            last_slot: None,
            answered: Vec::new(),
        }
    }

    /// Connections that are open and not on their way out.
    #[must_use]
    pub(crate) fn open(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_open()).count()
    }

    /// Lets the pool start connects until so many connections are open; 0 ends that.
    pub(crate) const fn warm_up(&mut self, target: usize) {
        self.warm_up_target = target;
    }

    /// Whether the pool would be right to start a connect now.
    #[must_use]
    pub(crate) fn may_start(&self) -> bool {
        let opening = self.connects_on_time();
        let open = self.slots.iter().filter(|slot| slot.is_open()).count();
        let ready = |slot: &&Slot| match slot.state {
            State::Idle => true,
            State::Checking | State::Returning => !slot.may_be_late(self.now_ms),
            State::Opening | State::Leased | State::Closing | State::Stuck => false,
        };
        let at_rest = self.slots.iter().filter(ready).count();
        let min_idle = self.limits.min_idle.min(self.limits.max_size);
        let demand = self.queue.len() + min_idle.saturating_sub(at_rest);
        let wanted = demand.max(self.warm_up_target.saturating_sub(open));
        opening < wanted && self.has_room_to_start(opening)
    }

    fn has_room_to_start(&self, connects: usize) -> bool {
        !self.is_closed
            && self.slots.len() < self.limits.max_size
            && connects < self.limits.max_connecting
    }

    /// Connects under way that are not late for certain or perhaps.
    fn connects_on_time(&self) -> usize {
        let opening = self
            .slots
            .iter()
            .filter(|slot| slot.state == State::Opening);
        opening
            .filter(|slot| !slot.may_be_late(self.now_ms))
            .count()
    }

    /// The action that an operation stands for now, if there is anything to act on.
    #[must_use]
    pub(crate) fn resolve(&self, op: &Op) -> Option<Action> {
        let ticket = self.next_ticket;
        let open = || self.ids_of(Slot::is_open);
        Some(match *op {
            Op::Acquire { timeout_ms } => Action::Acquire { ticket, timeout_ms },
            Op::TryAcquire => Action::TryAcquire { ticket },
            Op::CancelWaiter(n) => {
                let tickets: Vec<_> = self.queue.iter().map(|waiter| waiter.ticket).collect();
                Action::CancelWaiter {
                    ticket: nth(&tickets, n)?,
                }
            }
            Op::Return(n, home) => Action::Return {
                slot: nth(&self.ids(State::Leased), n)?,
                home,
            },
            Op::ConnectOk(n) => Action::ConnectOk {
                slot: nth(&self.ids(State::Opening), n)?,
            },
            Op::ConnectFail(n, failure) => Action::ConnectFail {
                slot: nth(&self.ids(State::Opening), n)?,
                failure,
            },
            Op::CloseDone(n) => Action::CloseDone {
                slot: nth(&self.ids_of(Slot::is_leaving), n)?,
            },
            Op::CloseLate(n) => Action::CloseLate {
                slot: nth(&self.ids(State::Closing), n)?,
            },
            Op::CheckDone(n, probe) => Action::CheckDone {
                slot: nth(&self.ids(State::Checking), n)?,
                probe,
            },
            Op::ResetDone(n, probe) => Action::ResetDone {
                slot: nth(&self.ids(State::Returning), n)?,
                probe,
            },
            Op::Died(n) => Action::Died {
                slot: nth(&open(), n)?,
            },
            Op::Corpse(n) => {
                let slot = nth(&self.ids(State::Leased), n)?;
                let holder = self.slots.iter().find(|held| held.id == slot)?.holder?;
                Action::Corpse {
                    slot,
                    ticket: holder.ticket,
                }
            }
            Op::Advance { ms } => Action::Advance {
                now_ms: self.now_ms + ms,
            },
            Op::Resize(_) if self.is_closed => return None,
            Op::Resize(max_size) => Action::Resize { max_size },
            Op::EvictAll => Action::EvictAll,
            Op::EvictOne(n) => Action::EvictOne {
                slot: nth(&open(), n)?,
            },
            Op::ClosePool => Action::ClosePool,
            Op::StartConnects => Action::StartConnects,
        })
    }

    fn count(&self, state: State) -> usize {
        self.slots.iter().filter(|slot| slot.state == state).count()
    }

    fn ids(&self, state: State) -> Vec<u64> {
        self.ids_of(|slot| slot.state == state)
    }

    fn ids_of(&self, is_meant: impl Fn(&Slot) -> bool) -> Vec<u64> {
        self.slots
            .iter()
            .filter(|slot| is_meant(slot))
            .map(|slot| slot.id)
            .collect()
    }

    fn slot(&self, id: u64) -> Result<&Slot, Mismatch> {
        let slot = self.slots.iter().find(|slot| slot.id == id);
        slot.ok_or_else(|| Mismatch::new(format!("there is no slot {id}")))
    }

    fn slot_mut(&mut self, id: u64) -> Result<&mut Slot, Mismatch> {
        let slot = self.slots.iter_mut().find(|slot| slot.id == id);
        slot.ok_or_else(|| Mismatch::new(format!("there is no slot {id}")))
    }
}

fn nth(of: &[u64], n: usize) -> Option<u64> {
    of.get(n.checked_rem(of.len())?).copied()
}
