//! Histories of a shared pool: random ones, and those that once failed.

use std::task::Waker;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::share_op::{Op, close_place, ops, sharing};
use super::share_oracle::Oracle;
use crate::store::tests::cases::{at, limits, request};
use crate::store::{Limits, Multiplexed, Sharing, Store, TargetLeases, Turn};

const CASES: u32 = 300;
const OPERATIONS_PER_CASE: usize = 120;
/// Of all operations so many must have been leases, or nothing was shared.
const LEASES_MIN: usize = 3_000;
/// So many histories must have had leases, or a queue, when the pool was closed.
const BUSY_CLOSES_MIN: usize = 20;

#[test]
fn a_shared_pool_keeps_its_promises_in_every_history() {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let histories = (
        sharing(),
        prop_oneof![Just(1), Just(3), Just(40)],
        1..4_usize,
        0..2_usize,
        prop_oneof![Just(None), Just(Some(Duration::from_millis(300)))],
        proptest::collection::vec(ops(), OPERATIONS_PER_CASE),
        close_place(OPERATIONS_PER_CASE),
    );
    let leases = std::cell::Cell::new(0);
    let busy_closes = std::cell::Cell::new(0);
    let run = TestRunner::new(config).run(
        &histories,
        |(sharing, max_uses, max_size, min_idle, check_after_idle, ops, close_place)| {
            let mut oracle = Oracle::new(sharing, max_uses, max_size, min_idle, check_after_idle);
            for (place, op) in ops.into_iter().enumerate() {
                if Some(place) == close_place {
                    busy_closes.set(busy_closes.get() + usize::from(oracle.is_busy()));
                    oracle.perform(Op::Close);
                }
                oracle.perform(op);
            }
            if close_place.is_none() {
                oracle.recover();
            }
            oracle.end();
            leases.set(leases.get() + oracle.leases);
            Ok(())
        },
    );
    run.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(leases.get() > LEASES_MIN, "only {} leases", leases.get());
    let closes = busy_closes.get();
    assert!(closes > BUSY_CLOSES_MIN, "only {closes} closes while busy");
}

fn replay(mut oracle: Oracle, history: impl IntoIterator<Item = Op>) {
    for op in history {
        oracle.perform(op);
    }
    oracle.recover();
    oracle.end();
}

/// Two connections become stale, and three callers come. The check of one ends first: it takes its share
/// of the callers, and the others wait for the other check, not for a connect.
#[test]
fn callers_wait_for_a_check_beside_a_connection_that_has_its_share() {
    let sharing = Sharing {
        target_leases: TargetLeases::Fixed(2),
        max_leases: 3,
        max_surge: 1,
    };
    let history = [
        Op::Open,
        Op::Acquire,
        Op::ConnectSucceeds(0),
        Op::Open,
        Op::ConnectSucceeds(0),
        Op::Wait(86),
        Op::Wait(362),
        Op::Wait(353),
        Op::Acquire,
        Op::Acquire,
        Op::Acquire,
    ];
    replay(Oracle::new(sharing, 40, 2, 1, None), history);
}

/// A suspected connection that is not checked in time is stale when the suspicion is cleared, though
/// the pool was quiet until then.
#[test]
fn connection_that_was_suspected_in_a_quiet_pool_is_not_lent_stale() {
    let sharing = Sharing {
        target_leases: TargetLeases::Fixed(1),
        max_leases: 1,
        max_surge: 0,
    };
    let history = [
        Op::Open,
        Op::ConnectSucceeds(0),
        Op::Suspect(0, true),
        Op::Wait(198),
        Op::Wait(137),
        Op::Acquire,
        Op::Wait(398),
        Op::Wait(286),
        Op::Suspect(0, false),
    ];
    replay(Oracle::new(sharing, 3, 2, 1, None), history);
}

/// It may answer yet, so it is kept. Nobody else calls meanwhile, so the replacement is not used.
#[test]
fn suspected_connection_has_one_replacement() {
    let limits = Limits {
        max_size: 8,
        min_idle: 0,
        sharing: Sharing {
            target_leases: TargetLeases::Fixed(4),
            max_leases: 8,
            max_surge: 1,
        },
        ..limits()
    };
    let mut store = Store::<&str, Multiplexed>::new(limits);
    store.start_ticks(at(0));
    store.enqueue(Waker::noop().clone(), request(), Turn::New);
    let first = store.open(at(0)).expect("a caller waits");
    store.opened(first.key, "suspect", at(0));
    drop(store.take_served());
    assert_eq!(store.slots.get(first.key).load, 1, "the caller has it");
    let mut opened = 0;
    for second in 1..40 {
        store.sweep(at(second));
        // It answers once, and hangs again.
        store.suspect(first.key, first.id, second != 20);
        if let Some(opening) = store.open(at(second)) {
            store.opened(opening.key, "replacement", at(second));
            opened += 1;
        }
    }
    assert_eq!(opened, 1);
}
