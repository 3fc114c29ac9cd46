//! The store against the reference model: random operations, times and failures, compared after
//! every step. No runtime, no clock, no sleep.

use std::collections::BTreeMap;
use std::panic::Location;
use std::task::Waker;
use std::time::Duration;

use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::error::{CheckError, ConnectError};
use crate::id::{CloseReason, ConnectionId};
use crate::store::sweep::TICK;
use crate::store::tests::model::{
    self, Action, Answer, Choice, Failure, Home, Mismatch, Model, Op, Probe, Reason, Snapshot,
};
use crate::store::{
    Condition, Deadline, Errand, Exclusive, Found, IdleOrder, Lending, Limits, PacerLimits,
    Refusal, Resized, Sharing, SlotKey, State, Store, Turn, Upkeep, WaitEnd, WaitRequest,
    WaiterKey,
};
use crate::time::Time;

/// How many operations a run must have compared, so that it cannot shrink to nothing unseen.
const OPERATIONS_MIN: usize = 100_000;
const CASES: u32 = 1_000;
const OPERATIONS_PER_CASE: usize = 150;

#[test]
fn store_agrees_with_the_model_on_every_operation() {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let compared = std::cell::Cell::new(0);
    let strategy = (
        model::limits(),
        proptest::collection::vec(model::op_with_corpses(), 0..OPERATIONS_PER_CASE * 2),
    );
    let result = TestRunner::new(config).run(&strategy, |(limits, ops)| {
        let mut rig = Rig::new(limits);
        for op in &ops {
            rig.run(op)
                .map_err(|mismatch| TestCaseError::fail(format!("{op:?}: {mismatch}")))?;
            compared.set(compared.get() + 1);
        }
        rig.run(&Op::ClosePool)
            .map_err(|mismatch| TestCaseError::fail(mismatch.to_string()))?;
        rig.drain()
            .map_err(|mismatch| TestCaseError::fail(mismatch.to_string()))
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(
        compared.get() >= OPERATIONS_MIN,
        "only {} operations compared",
        compared.get()
    );
}

/// Both are idle for as long, but one of them is being checked when the other is idle for too long.
#[test]
fn connection_expires_beside_one_that_is_being_checked() {
    let limits = model::Limits {
        max_waiters: 3,
        max_connecting: 2,
        idle_timeout_ms: Some(610),
        check_interval_ms: Some(100),
        ..model::Limits::default()
    };
    let acquire = Op::Acquire { timeout_ms: 138 };
    let history = [
        acquire,
        acquire,
        Op::StartConnects,
        Op::ConnectOk(0),
        acquire,
        Op::Corpse(0),
        Op::Advance { ms: 2 },
        Op::CloseDone(0),
        Op::StartConnects,
        Op::Resize(3),
        Op::ConnectOk(0),
        Op::StartConnects,
        Op::Advance { ms: 136 },
        Op::ConnectOk(0),
        Op::ConnectOk(0),
        Op::Advance { ms: 710 },
    ];
    let mut rig = Rig::new(limits);
    for op in history {
        if let Err(mismatch) = rig.run(&op) {
            panic!("{op:?}: {mismatch}");
        }
    }
}

/// A store and its model, side by side. A connection is its id.
struct Rig {
    store: Store<u64, Exclusive>,
    model: Model,
    now: Time,
    free_permits: usize,
    keys: BTreeMap<u64, SlotKey>,
    holders: BTreeMap<u64, u64>,
    /// Until when each caller waits; nothing for one that does not.
    deadlines: BTreeMap<u64, Option<Time>>,
    waiting: BTreeMap<u64, WaiterKey>,
    /// The number of each caller that has ever waited.
    numbers: BTreeMap<u64, crate::WaiterId>,
    answered: Vec<(u64, Answer)>,
    choices: Vec<Choice>,
}

fn waits_until(deadline: Time) -> WaitRequest {
    WaitRequest {
        deadline: Deadline::At(deadline),
        site: Location::caller(),
    }
}

fn millis(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

fn store_limits(limits: &model::Limits) -> Limits {
    Limits {
        name: "test".into(),
        is_key: false,
        max_size: limits.max_size,
        min_idle: limits.min_idle,
        max_waiters: limits.max_waiters,
        max_connecting: limits.max_connecting,
        idle_order: match limits.takes_oldest {
            true => IdleOrder::Fifo,
            false => IdleOrder::Lifo,
        },
        idle_timeout: limits.idle_timeout_ms.map(Duration::from_millis),
        max_lifetime: limits.max_lifetime_ms.map(Duration::from_millis),
        max_uses: limits.max_uses,
        check_interval: limits.check_interval_ms.map(Duration::from_millis),
        check_after_idle: limits.check_after_idle_ms.map(Duration::from_millis),
        min_uptime: Duration::from_millis(50),
        lease_warn_after: None,
        max_weight: None,
        kill_weight: None,
        weigh_interval: Duration::from_secs(1),
        pacer: PacerLimits {
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(1),
            fail_fast_after: 2,
        },
        seed: 7,
        sharing: Sharing::NONE,
    }
}

impl Rig {
    fn new(mut limits: model::Limits) -> Self {
        limits.tick_ms = TICK.as_millis().try_into().expect("a tick is short");
        limits.lifetime_jitter_ms = limits.max_lifetime_ms.unwrap_or(0).div_ceil(10);
        Self {
            store: Store::new(store_limits(&limits)),
            free_permits: limits.max_size,
            model: Model::new(limits),
            now: Time::default(),
            keys: BTreeMap::new(),
            holders: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            waiting: BTreeMap::new(),
            numbers: BTreeMap::new(),
            answered: Vec::new(),
            choices: Vec::new(),
        }
    }

    fn run(&mut self, op: &Op) -> Result<(), Mismatch> {
        let Some(action) = self.model.resolve(op) else {
            return Ok(());
        };
        // What `Engine::enter` does.
        self.store.is_moving = true;
        if self.store.is_quiet {
            self.store.start_ticks(self.now);
        }
        self.act(action);
        self.carry_out();
        self.model
            .apply(action, &std::mem::take(&mut self.choices))?;
        let seen = self.snapshot();
        self.model.check(&seen)
    }

    /// Ends everything that is under way: nothing may be left.
    fn drain(&mut self) -> Result<(), Mismatch> {
        while !self.keys.is_empty() {
            let before = self.keys.len();
            for op in [
                Op::Return(0, Home::Clean),
                Op::ConnectOk(0),
                Op::CheckDone(0, Probe::Passed),
                Op::ResetDone(0, Probe::Passed),
                Op::CloseDone(0),
            ] {
                self.run(&op)?;
            }
            assert!(self.keys.len() <= before, "a closed pool opens nothing");
        }
        assert!(self.store.is_finished(), "a drained pool is finished");
        assert_eq!(
            self.free_permits,
            self.store.status().max_size,
            "every permit is back"
        );
        Ok(())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Acquire { ticket, timeout_ms } => {
                let deadline = self.now.after(Duration::from_millis(timeout_ms));
                self.deadlines.insert(ticket, Some(deadline));
                self.acquire(ticket, Turn::New);
            }
            Action::TryAcquire { ticket } => {
                self.deadlines.insert(ticket, None);
                self.acquire(ticket, Turn::New);
            }
            Action::Corpse { slot, ticket } => {
                self.store.discard_dead(self.keys[&slot], slot);
                let turn = self
                    .numbers
                    .get(&ticket)
                    .map_or(Turn::Deferred, |id| Turn::Resumed(*id));
                self.acquire(ticket, turn);
            }
            Action::CancelWaiter { ticket } => {
                let key = self.waiting.remove(&ticket).expect("it waits");
                assert!(self.store.cancel(key).is_none(), "it was not served yet");
            }
            Action::Return { slot, home } => self.come_home(slot, home),
            Action::ConnectOk { slot } => self.store.opened(self.keys[&slot], slot, self.now),
            Action::ConnectFail { slot, failure } => self.connect_fails(slot, failure),
            Action::CloseDone { slot } => self.release(slot),
            Action::CloseLate { slot } => {
                self.store
                    .stuck(self.keys[&slot], CloseReason::Dirty, Duration::ZERO);
            }
            Action::CheckDone {
                slot,
                probe: Probe::Passed,
            } => {
                self.store.checked(self.keys[&slot], slot, self.now);
            }
            Action::ResetDone {
                slot,
                probe: Probe::Passed,
            } => {
                self.store
                    .give_back(self.keys[&slot], slot, Condition::Clean);
            }
            Action::CheckDone {
                slot,
                probe: Probe::Failed,
            }
            | Action::ResetDone {
                slot,
                probe: Probe::Failed,
            } => {
                self.store
                    .rejected(self.keys[&slot], slot, CheckError::new("failed"));
            }
            Action::Died { slot } => {
                self.store
                    .died(self.keys[&slot], ConnectionId::from_u64(slot), None);
            }
            Action::Advance { now_ms } => self.advance(millis(now_ms)),
            Action::Resize { max_size } => match self.store.resize(max_size) {
                Some(Resized::Add(count)) => self.free_permits += count,
                Some(Resized::Remove(count)) => self.free_permits -= count,
                None => unreachable!("the model resizes no closed pool"),
            },
            Action::EvictAll => drop(self.store.evict(|_| true)),
            Action::EvictOne { slot } => drop(self.store.evict(|id| id.as_u64() == slot)),
            Action::ClosePool => self.store.close(),
            Action::StartConnects => self.start_connects(),
        }
    }

    /// What a caller's future does.
    fn acquire(&mut self, ticket: u64, mut turn: Turn) {
        let idle: Vec<_> = self.store.idle.iter().map(|(_, slot)| *slot).collect();
        if let Some(slot) = self.store.take_idle(Location::caller()) {
            let mut idle = idle;
            if !self.store.takes_oldest {
                idle.reverse();
            }
            let passed = idle.into_iter().take_while(|other| *other != slot);
            let is_idle = |other: &u64| self.store.idle.iter().any(|(_, slot)| slot == other);
            let passed: Vec<_> = passed.filter(is_idle).collect();
            let passed = passed.into_iter().map(|slot| Choice::PassOver { slot });
            self.choices.extend(passed);
            return self.lent(ticket, slot);
        }
        let deadline = self.deadlines[&ticket].unwrap_or(self.now);
        if deadline <= self.now {
            if let Some(slot) = self.store.take_stale(Location::caller()) {
                return self.lent(ticket, slot);
            }
        } else if turn != Turn::New || Exclusive::has_stale(&self.store) {
            turn = if turn == Turn::New {
                Turn::Deferred
            } else {
                turn
            };
            Exclusive::check_for_caller(&mut self.store);
        }
        match self.store.admit(self.now, Deadline::At(deadline), turn) {
            Ok(()) => {
                let key = self
                    .store
                    .enqueue(Waker::noop().clone(), waits_until(deadline), turn);
                self.numbers.insert(ticket, key.id());
                self.waiting.insert(ticket, key);
            }
            Err(Refusal::TimedOut) if self.deadlines[&ticket].is_none() => {
                self.answered.push((ticket, Answer::Empty));
            }
            Err(refusal) => self.refused(ticket, refusal),
        }
    }

    fn lent(&mut self, ticket: u64, slot: u64) {
        self.holders.insert(slot, ticket);
        self.answered.push((ticket, Answer::Leased { slot }));
    }

    fn refused(&mut self, ticket: u64, refusal: Refusal) {
        let answer = match refusal {
            Refusal::TimedOut => Answer::TimedOut,
            Refusal::Overloaded { .. } => Answer::Overloaded,
            Refusal::Closed => Answer::Closed,
            Refusal::Unavailable { .. } => {
                self.choices.push(Choice::Refuse { ticket });
                Answer::Unavailable
            }
        };
        self.answered.push((ticket, answer));
    }

    fn come_home(&mut self, slot: u64, home: Home) {
        match home {
            Home::Clean => self.give_back(slot, Condition::Clean),
            Home::NeedsReset => self.give_back(slot, Condition::NeedsReset),
            Home::Dirty => self.give_back(slot, Condition::Unfit(CloseReason::Dirty)),
            Home::Dead => self.give_back(slot, Condition::Unfit(CloseReason::Died)),
            Home::Ended => self.give_back(slot, Condition::Ended),
            Home::Discard => self.give_back(slot, Condition::Unfit(CloseReason::Discarded)),
            Home::Detach => {
                self.store.detach(self.keys[&slot]);
                self.release(slot);
            }
        }
    }

    fn give_back(&mut self, slot: u64, condition: Condition) {
        self.store.give_back(self.keys[&slot], slot, condition);
    }

    fn connect_fails(&mut self, slot: u64, failure: Failure) {
        let error = match failure {
            Failure::Transient => ConnectError::transient("failed"),
            Failure::Permanent => ConnectError::permanent("failed"),
        };
        self.store.connect_failed(self.keys[&slot], error, self.now);
        self.release(slot);
    }

    /// What `Engine::release` does.
    fn release(&mut self, slot: u64) {
        let key = self.keys.remove(&slot).expect("it has a slot");
        self.free_permits += usize::from(self.store.release(key));
    }

    /// What the maintenance task does when it is woken at each alarm.
    fn advance(&mut self, until: Time) {
        while self.store.alarm() <= until {
            self.now = self.now.max(self.store.alarm());
            assert!(self.store.sweep(self.now), "the alarm was due");
            self.collect();
            assert!(
                self.store.alarm() > self.now,
                "a sweep does everything that is due"
            );
        }
        self.now = until;
        self.store.refuse_if_unavailable(self.now);
    }

    /// What the maintenance task does when it is kicked.
    fn start_connects(&mut self) {
        self.store.refuse_if_unavailable(self.now);
        while self.free_permits > 0 {
            let Some(opening) = self.store.open(self.now) else {
                return;
            };
            self.free_permits -= 1;
            let slot = opening.id.as_u64();
            self.keys.insert(slot, opening.key);
            self.choices.push(Choice::Start { slot });
        }
    }

    /// Carries out what the store owes, and lets every waiter look at its place.
    fn carry_out(&mut self) {
        self.collect();
        let places: Vec<_> = self
            .waiting
            .iter()
            .map(|(ticket, key)| (*ticket, *key))
            .collect();
        for (ticket, key) in places {
            match self.store.poll_waiter(key, Waker::noop()) {
                // A clone of the waker that does nothing need not admit to be one.
                Found::Waiting | Found::Moved => continue,
                Found::Done(WaitEnd::Served(slot), _) => {
                    self.store.accept(self.keys[&slot]).ok();
                    self.lent(ticket, slot);
                }
                Found::Done(WaitEnd::Refused(refusal, _), _) => self.refused(ticket, refusal),
            }
            self.waiting.remove(&ticket);
        }
    }

    fn collect(&mut self) {
        drop(self.store.take_served());
        let Some(effects) = self.store.take_effects() else {
            return;
        };
        for errand in effects.errands {
            match errand {
                Errand::Upkeep(Upkeep::Check(slot)) => self.choices.push(Choice::Check { slot }),
                Errand::Close(slot, reason @ (CloseReason::Idle | CloseReason::Lifetime)) => {
                    self.choices.push(Choice::Expire {
                        slot,
                        reason: reason_of(reason),
                    });
                }
                Errand::Close(..) | Errand::Upkeep(Upkeep::Reset(_)) | Errand::Weigh(_) => {}
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let status = self.store.status();
        assert_eq!(
            status.size(),
            self.keys.len(),
            "the states add up to the slots"
        );
        assert_eq!(
            self.free_permits + self.keys.len(),
            status.max_size.max(self.keys.len()),
            "every permit is in a slot or free"
        );
        let ids = |state: State| {
            let records = self
                .store
                .slots
                .iter()
                .filter(|record| record.state() == state);
            records.map(|record| record.id.as_u64()).collect::<Vec<_>>()
        };
        let closing = self.store.slots.iter().filter(|record| record.is_closing());
        let closing = closing
            .filter_map(|record| Some((record.id.as_u64(), reason_of(record.close_reason?))));
        let waiting = self.store.queue.order().into_iter().map(|id| {
            let mut known = self.waiting.iter();
            *known
                .find(|(_, key)| key.id() == id)
                .expect("every waiter is known")
                .0
        });
        Snapshot {
            max_size: status.max_size,
            is_closed: status.is_closed,
            opening: ids(State::Opening),
            idle: self.store.idle.iter().map(|(_, slot)| *slot).collect(),
            leased: ids(State::Leased)
                .into_iter()
                .map(|slot| (slot, self.holders[&slot]))
                .collect(),
            checking: ids(State::Checking),
            returning: ids(State::Returning),
            closing: closing.collect(),
            stuck: ids(State::Stuck),
            waiting: waiting.collect(),
            answered: std::mem::take(&mut self.answered),
        }
    }
}

fn reason_of(reason: CloseReason) -> Reason {
    match reason {
        CloseReason::Idle => Reason::Idle,
        CloseReason::Lifetime => Reason::Lifetime,
        CloseReason::MaxUses => Reason::MaxUses,
        CloseReason::Shrunk => Reason::Shrunk,
        CloseReason::Evicted => Reason::Evicted,
        CloseReason::PoolClosed => Reason::PoolClosed,
        CloseReason::Died => Reason::Died,
        CloseReason::Dirty => Reason::Dirty,
        CloseReason::Discarded => Reason::Discarded,
        CloseReason::CheckFailed => Reason::CheckFailed,
        CloseReason::ResetFailed => Reason::ResetFailed,
        CloseReason::Reclaimed | CloseReason::Overweight | CloseReason::Killed => {
            unreachable!("the pool of the model has no budget and no weights")
        }
    }
}
