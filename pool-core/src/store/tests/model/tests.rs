use proptest::prelude::*;

use super::slot::State;
use super::{
    Action, Answer, Choice, Home, Limits, Mismatch, Model, Op, Probe, Reason, Snapshot, limits,
    op_with_corpses, ops,
};

/// A model and the ids it uses up.
struct Run {
    model: Model,
    next_slot: u64,
}

impl Run {
    fn new(limits: Limits) -> Self {
        Self {
            model: Model::new(limits),
            next_slot: 0,
        }
    }

    fn try_with(&mut self, op: Op, choices: &[Choice]) -> Result<Snapshot, Mismatch> {
        if let Some(action) = self.model.resolve(&op) {
            self.model.apply(action, choices)?;
        }
        let seen = self.model.expected();
        self.model.check(&seen)?;
        Ok(seen)
    }

    #[track_caller]
    fn with(&mut self, op: Op, choices: &[Choice]) -> Snapshot {
        self.try_with(op, choices).unwrap()
    }

    #[track_caller]
    fn run(&mut self, op: Op) -> Snapshot {
        self.with(op, &[])
    }

    #[track_caller]
    fn wrong(&self, op: Op, choices: &[Choice]) {
        let mut copy = Self {
            model: self.model.clone(),
            ..*self
        };
        copy.try_with(op, choices).expect_err("that is not allowed");
    }

    /// Opens connections until so many have been opened in all.
    fn open(&mut self, count: u64) {
        self.model.warm_up(usize::MAX);
        while self.next_slot < count {
            self.with(
                Op::StartConnects,
                &[Choice::Start {
                    slot: self.next_slot,
                }],
            );
            self.run(Op::ConnectOk(0));
            self.next_slot += 1;
        }
        self.model.warm_up(0);
    }
}

fn sized(max_size: usize) -> Limits {
    Limits {
        max_size,
        ..Limits::default()
    }
}

const ACQUIRE: Op = Op::Acquire { timeout_ms: 100 };

#[test]
fn waiters_are_served_in_their_order_and_the_last_used_is_lent_first() {
    let mut run = Run::new(sized(2));
    run.open(2);
    assert_eq!(run.run(ACQUIRE).leased, [(1, 0)]);
    assert_eq!(run.run(ACQUIRE).leased, [(0, 1), (1, 0)]);
    run.run(ACQUIRE);
    assert_eq!(run.run(ACQUIRE).waiting, [2, 3]);
    let seen = run.run(Op::Return(1, Home::Clean));
    assert_eq!(
        (seen.answered, seen.waiting),
        (vec![(2, Answer::Leased { slot: 1 })], vec![3])
    );
}

#[test]
fn acquires_are_refused_for_the_right_reason() {
    let mut run = Run::new(Limits {
        max_waiters: 1,
        ..sized(1)
    });
    assert_eq!(run.run(Op::TryAcquire).answered, [(0, Answer::Empty)]);
    assert_eq!(
        run.run(Op::Acquire { timeout_ms: 0 }).answered,
        [(1, Answer::TimedOut)]
    );
    run.run(ACQUIRE);
    assert_eq!(run.run(ACQUIRE).answered, [(3, Answer::Overloaded)]);
    assert_eq!(run.run(Op::Advance { ms: 99 }).answered, []);
    assert_eq!(
        run.run(Op::Advance { ms: 1 }).answered,
        [(2, Answer::TimedOut)]
    );
    run.run(ACQUIRE);
    assert_eq!(run.run(Op::ClosePool).answered, [(4, Answer::Closed)]);
    assert_eq!(run.run(Op::TryAcquire).answered, [(5, Answer::Closed)]);
}

#[test]
fn connects_start_only_when_wanted_and_allowed() {
    let start = |slot| [Choice::Start { slot }];
    let mut run = Run::new(sized(2));
    run.wrong(Op::StartConnects, &start(0));
    run.run(ACQUIRE);
    run.run(ACQUIRE);
    run.run(ACQUIRE);
    run.wrong(Op::StartConnects, &[]);
    run.with(
        Op::StartConnects,
        &[Choice::Start { slot: 0 }, Choice::Start { slot: 1 }],
    );
    run.wrong(Op::StartConnects, &start(2));
    run.run(Op::ClosePool);
    run.wrong(Op::StartConnects, &start(2));
}

#[test]
fn a_refusal_needs_a_failure_and_nothing_left_to_serve() {
    let refuse = |ticket| [Choice::Refuse { ticket }];
    let run = Run::new(sized(1));
    run.wrong(ACQUIRE, &refuse(0));
    let mut run = Run::new(sized(1));
    run.with(ACQUIRE, &[Choice::Start { slot: 0 }]);
    let seen = run.with(Op::ConnectFail(0, super::Failure::Permanent), &refuse(0));
    assert_eq!(seen.answered, [(0, Answer::Unavailable)]);
    assert_eq!(
        run.with(ACQUIRE, &refuse(1)).answered,
        [(1, Answer::Unavailable)]
    );
    run.with(ACQUIRE, &[Choice::Start { slot: 1 }]);
    run.wrong(Op::StartConnects, &refuse(2));
}

#[test]
fn the_first_reason_on_the_list_closes_a_returned_connection() {
    let limits = Limits {
        max_uses: Some(1),
        max_lifetime_ms: Some(10),
        ..sized(2)
    };
    let reason = |ops: &[Op]| {
        let mut run = Run::new(limits.clone());
        run.open(2);
        run.run(ACQUIRE);
        run.run(ACQUIRE);
        for op in ops {
            run.run(*op);
        }
        run.run(Op::Return(0, Home::NeedsReset)).closing[0].1
    };
    let (old, shrink) = (Op::Advance { ms: 10 }, Op::Resize(1));
    assert_eq!(reason(&[]), Reason::MaxUses);
    assert_eq!(reason(&[old]), Reason::Lifetime);
    assert_eq!(reason(&[old, shrink]), Reason::Shrunk);
    assert_eq!(reason(&[old, shrink, Op::EvictAll]), Reason::Evicted);
    assert_eq!(
        reason(&[old, shrink, Op::EvictAll, Op::ClosePool]),
        Reason::PoolClosed
    );
}

#[test]
fn idle_expiry_takes_the_least_recently_used_and_spares_min_idle() {
    let limits = || Limits {
        idle_timeout_ms: Some(100),
        min_idle: 1,
        tick_ms: 10,
        ..sized(2)
    };
    let expire = |slot| {
        [Choice::Expire {
            slot,
            reason: Reason::Idle,
        }]
    };
    let advance = |ms| Op::Advance { ms };
    let opened = || {
        let mut run = Run::new(limits());
        run.open(2);
        run
    };
    opened().wrong(advance(99), &expire(0));
    opened().wrong(advance(100), &expire(1));
    opened().run(advance(119));
    opened().wrong(advance(120), &[]);
    let mut run = opened();
    let seen = run.with(advance(100), &expire(0));
    assert_eq!(
        (seen.idle, seen.closing),
        (vec![1], vec![(0, Reason::Idle)])
    );
    run.wrong(advance(100), &expire(1));
}

#[test]
fn a_connection_too_old_is_not_lent() {
    let mut run = Run::new(Limits {
        max_lifetime_ms: Some(100),
        tick_ms: 10,
        ..sized(1)
    });
    run.open(1);
    run.run(Op::Advance { ms: 110 });
    let expire = [Choice::Expire {
        slot: 0,
        reason: Reason::Lifetime,
    }];
    assert_eq!(run.with(ACQUIRE, &expire).closing, [(0, Reason::Lifetime)]);
    let mut run = Run::new(Limits {
        max_lifetime_ms: Some(100),
        tick_ms: 10,
        ..sized(1)
    });
    run.open(1);
    run.run(Op::Advance { ms: 110 });
    run.wrong(ACQUIRE, &[]);
}

#[test]
fn a_checked_connection_goes_back_to_its_place() {
    let limits = Limits {
        check_interval_ms: Some(50),
        ..sized(2)
    };
    let mut run = Run::new(limits);
    run.open(1);
    run.run(Op::Advance { ms: 40 });
    run.open(2);
    run.wrong(Op::Advance { ms: 9 }, &[Choice::Check { slot: 1 }]);
    let seen = run.with(Op::Advance { ms: 9 }, &[Choice::Check { slot: 0 }]);
    assert_eq!((seen.checking, seen.idle.len()), (vec![0], 1));
    // The last idle one is not checked.
    run.wrong(Op::Advance { ms: 90 }, &[Choice::Check { slot: 1 }]);
    let action = run.model.resolve(&Op::CheckDone(0, Probe::Passed)).unwrap();
    assert_eq!(
        action,
        Action::CheckDone {
            slot: 0,
            probe: Probe::Passed
        }
    );
    run.model.apply(action, &[]).unwrap();
    let right = run.model.expected();
    assert_eq!(right.idle[0], 0);
    let wrong = Snapshot {
        idle: right.idle.iter().rev().copied().collect(),
        ..right.clone()
    };
    run.model.clone().check(&wrong).unwrap_err();
    run.model.check(&right).unwrap();
}

#[test]
fn a_corpse_sends_its_caller_to_the_head_of_the_queue() {
    let mut run = Run::new(sized(1));
    run.open(1);
    run.run(ACQUIRE);
    run.run(ACQUIRE);
    let seen = run.run(Op::Corpse(0));
    assert_eq!(
        (seen.waiting, seen.closing),
        (vec![0, 1], vec![(0, Reason::Died)])
    );
}

#[test]
fn any_reason_that_holds_may_be_given_for_a_close() {
    let mut run = Run::new(sized(1));
    run.open(1);
    run.run(ACQUIRE);
    run.run(Op::EvictAll);
    run.run(Op::Died(0));
    let seen = run.run(Op::Return(0, Home::Clean));
    let with = |reason| Snapshot {
        closing: vec![(0, reason)],
        ..seen.clone()
    };
    run.model.check(&with(Reason::Evicted)).unwrap();
    run.model.check(&with(Reason::Died)).unwrap();
    run.model.check(&with(Reason::Idle)).unwrap_err();
}

#[test]
fn each_part_of_a_snapshot_is_compared() {
    let mut run = Run::new(sized(2));
    run.open(2);
    let seen = run.run(ACQUIRE);
    let mut check = |seen: Snapshot| {
        run.model
            .check(&seen)
            .map_err(|mismatch| mismatch.to_string())
    };
    assert_eq!(check(seen.clone()), Ok(()));
    let differs = "pool and model disagree: leased is [], should be [(1, 0)]".to_owned();
    assert_eq!(
        check(Snapshot {
            leased: vec![],
            ..seen.clone()
        }),
        Err(differs)
    );
    check(Snapshot {
        idle: vec![],
        ..seen.clone()
    })
    .unwrap_err();
    check(Snapshot {
        waiting: vec![7],
        ..seen.clone()
    })
    .unwrap_err();
    check(Snapshot {
        answered: vec![],
        ..seen.clone()
    })
    .unwrap_err();
    check(Snapshot {
        is_closed: true,
        ..seen.clone()
    })
    .unwrap_err();
    check(Snapshot {
        max_size: 3,
        ..seen
    })
    .unwrap_err();
}

/// The choices of a pool that does everything as soon as it may.
fn eager_choices(model: &Model, action: Action) -> Vec<Choice> {
    let mut after = model.clone();
    let mut choices = Vec::new();
    let next_slot = after.last_slot.map_or(0, |last| last + 1);
    if let Action::Advance { now_ms } = action {
        after.now_ms = now_ms;
    }
    let (limits, now_ms) = (&after.limits, after.now_ms);
    let is_old = |id: &&u64| after.slot(**id).unwrap().may_be_too_old(limits, now_ms);
    let reason = Reason::Lifetime;
    choices.extend(
        after
            .idle
            .iter()
            .filter(is_old)
            .map(|id| Choice::Expire { slot: *id, reason }),
    );
    let young: Vec<_> = after
        .idle
        .iter()
        .filter(|id| !is_old(id))
        .copied()
        .collect();
    let spare = young.len().saturating_sub(limits.min_idle);
    let is_unused = |id: &&u64| {
        after
            .slot(**id)
            .unwrap()
            .may_be_idle_too_long(limits, now_ms)
    };
    let reason = Reason::Idle;
    let unused = young.iter().take(spare).take_while(is_unused);
    choices.extend(unused.map(|id| Choice::Expire { slot: *id, reason }));
    choices.extend(choices_for_caller(model, action, &choices));
    after = model.clone();
    if after.apply(action, &choices).is_ok() {
        for slot in after.idle.clone() {
            let check = Choice::Check { slot };
            let mut next = after.clone();
            // Checks in the background begin as time passes.
            let is_sweep = matches!(action, Action::Advance { .. });
            if is_sweep && after.queue.is_empty() && next.follow(check).is_ok() {
                after = next;
                choices.push(check);
            }
        }
        while after.demand_checks().is_err() {
            let slot = after.next_of(&after.idle).unwrap();
            after.follow(Choice::Check { slot }).unwrap();
            choices.push(Choice::Check { slot });
        }
        let mut slot = next_slot;
        while after.may_start() {
            let start = Choice::Start { slot };
            after.follow(start).unwrap();
            choices.push(start);
            slot += 1;
        }
    }
    choices
}

/// What a caller who comes now makes the pool do: it has the next idle connection checked if all are
/// stale, and passes over the stale ones before the first that is not.
fn choices_for_caller(model: &Model, action: Action, expiries: &[Choice]) -> Vec<Choice> {
    let waits = if let Action::Corpse { slot, .. } = action {
        let holder = model.slot(slot).unwrap().holder;
        let deadline_ms = holder.and_then(|holder| holder.deadline_ms);
        deadline_ms.is_some_and(|at| at > model.now_ms)
    } else {
        matches!(action, Action::Acquire { timeout_ms, .. } if timeout_ms > 0)
    };
    if !waits || model.is_closed {
        return Vec::new();
    }
    let is_expired = |slot: u64| {
        let is_it = |choice: &Choice| matches!(choice, Choice::Expire { slot: other, .. } if *other == slot);
        expiries.iter().any(is_it)
    };
    let mut idle = model.idle.clone();
    idle.retain(|slot| !is_expired(*slot));
    let next = model.next_of(&idle);
    if !model.limits.takes_oldest {
        idle.reverse();
    }
    let is_stale = |slot: &u64| {
        let slot = model.slot(*slot).unwrap();
        slot.may_be_stale(&model.limits, model.now_ms)
    };
    if idle.iter().all(is_stale) {
        return next
            .map(|slot| Choice::Check { slot })
            .into_iter()
            .collect();
    }
    let passed = idle.into_iter().take_while(is_stale);
    passed.map(|slot| Choice::PassOver { slot }).collect()
}

fn assert_sound(model: &Model) {
    model.demand_checks().unwrap();
    assert!(
        !model.is_closed || model.idle.is_empty() && model.queue.is_empty(),
        "{model:?}"
    );
    let mut idle = model.idle.clone();
    idle.sort_unstable();
    assert_eq!(idle, model.ids(State::Idle));
    let held = model
        .slots
        .iter()
        .filter(|slot| slot.holder.is_some())
        .count();
    assert_eq!(held, model.count(State::Leased));
}

proptest! {
    #[test]
    fn a_pool_that_does_everything_as_soon_as_it_may_is_accepted(
        limits in limits(),
        ops in ops(60),
        corpses in proptest::collection::vec(op_with_corpses(), 20),
    ) {
        let mut model = Model::new(limits);
        for op in ops.into_iter().chain(corpses) {
            let Some(action) = model.resolve(&op) else { continue };
            let choices = eager_choices(&model, action);
            if let Err(mismatch) = model.apply(action, &choices) {
                panic!("{action:?} with {choices:?}: {mismatch}");
            }
            let seen = model.expected();
            model.check(&seen).unwrap();
            assert_sound(&model);
        }
    }
}
