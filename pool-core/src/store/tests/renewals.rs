//! Rolling replacement: what is evicted when, and what the report says.

use std::panic::Location;
use std::task::Waker;

use super::cases::{SECOND, at, closed, effects, limits};
use crate::error::ConnectError;
use crate::id::CloseReason;
use crate::status::EvictionReport;
use crate::store::{
    Condition, Errand, Exclusive, Goal, GoalEnd, GoalKey, Limits, SlotKey, Store, Upkeep,
};
use crate::time::Time;

type Pool = Store<&'static str, Exclusive>;

/// A pool with these connections, all idle.
fn pool<const N: usize>(max_size: usize, names: [&'static str; N]) -> (Pool, [SlotKey; N]) {
    let mut store = Store::new(Limits {
        max_size,
        min_idle: N,
        max_connecting: 4,
        ..limits()
    });
    let keys = names.map(|name| {
        let opening = store.open(at(0)).expect("min_idle wants it");
        store.opened(opening.key, name, at(0));
        opening.key
    });
    drop(effects(&mut store));
    (store, keys)
}

/// Starts to replace all within 30 s, and 5 s more.
fn renew(store: &mut Pool, now: Time) -> GoalKey {
    let goal = store.start_renewal(30 * SECOND, 5 * SECOND, now);
    assert!(store.alarm() <= now);
    goal
}

fn report(store: &mut Pool, goal: GoalKey) -> Option<EvictionReport> {
    let GoalEnd::Renewed(report) = store.poll_goal(goal, Waker::noop().clone())? else {
        panic!("nothing else ends it");
    };
    Some(report)
}

/// Opens the next new connection and checks it.
fn prove(store: &mut Pool, name: &'static str, now: Time) -> SlotKey {
    let opening = store.open(now).expect("a proof is wanted");
    assert!(store.open(now).is_none(), "one at a time");
    store.opened(opening.key, name, now);
    let errands = effects(store).errands;
    let is_check = |errand: &Errand<_, _>| matches!(errand, Errand::Upkeep(Upkeep::Check(_)));
    assert!(errands.iter().any(is_check), "before it is lent");
    store.checked(opening.key, name, now);
    assert!(store.alarm() <= now, "the next one may go");
    opening.key
}

fn evicted(store: &mut Pool, now: Time) -> Vec<&'static str> {
    store.sweep(now);
    let closed = closed(store).into_iter();
    closed
        .map(|(name, reason)| {
            assert_eq!(reason, CloseReason::Evicted);
            name
        })
        .collect()
}

#[test]
fn old_connections_go_one_by_one_spread_over_the_time() {
    let (mut store, _) = pool(10, ["a", "b", "c"]);
    let goal = renew(&mut store, at(100));
    assert_eq!(evicted(&mut store, at(100)), [""; 0], "there is no proof");
    prove(&mut store, "d", at(101));
    assert_eq!(evicted(&mut store, at(101)), ["a"]);
    assert_eq!(store.alarm(), at(110));
    prove(&mut store, "e", at(102));
    assert_eq!(evicted(&mut store, at(102)), [""; 0], "it is too early");
    assert_eq!(store.alarm(), at(110));
    assert_eq!(evicted(&mut store, at(110)), ["b"]);
    prove(&mut store, "f", at(111));
    assert_eq!(evicted(&mut store, at(111)), [""; 0]);
    assert!(report(&mut store, goal).is_none());
    assert_eq!(evicted(&mut store, at(120)), ["c"]);
    let report = report(&mut store, goal).expect("the new ones stay");
    assert_eq!((report.replaced, report.left), (3, 0));
    assert!(report.is_complete());
    assert!(store.open(at(200)).is_none(), "no more proofs");
}

#[test]
fn it_ends_at_its_deadline_with_what_was_done() {
    let (mut store, _) = pool(10, ["a", "b", "c"]);
    let goal = renew(&mut store, at(0));
    store.sweep(at(0));
    prove(&mut store, "d", at(1));
    assert_eq!(evicted(&mut store, at(1)), ["a"]);
    store.sweep(at(10));
    assert_eq!(store.alarm(), at(35), "nothing else is due");
    store.start_ticks(at(34));
    store.sweep(at(34).after(SECOND / 2));
    assert!(report(&mut store, goal).is_none());
    store.sweep(at(35));
    let report = report(&mut store, goal).expect("it is over");
    assert_eq!((report.replaced, report.left), (1, 2));
    assert!(report.failure.is_none() && !report.is_closed);
}

#[test]
fn in_a_full_pool_each_goes_ahead_of_its_proof() {
    let (mut store, [a, b]) = pool(2, ["a", "b"]);
    let goal = renew(&mut store, at(0));
    assert_eq!(evicted(&mut store, at(0)), ["a"]);
    assert_eq!(evicted(&mut store, at(15)), [""; 0], "the first debt");
    store.release(a);
    prove(&mut store, "c", at(16));
    assert_eq!(evicted(&mut store, at(16)), ["b"]);
    assert!(report(&mut store, goal).is_none(), "a debt is left");
    assert_eq!(store.alarm(), at(35));
    store.release(b);
    prove(&mut store, "d", at(17));
    store.sweep(at(17));
    let report = report(&mut store, goal).expect("it is over");
    assert_eq!((report.replaced, report.left), (2, 0));
}

#[test]
fn a_debt_that_is_not_paid_is_no_success() {
    let (mut store, _) = pool(1, ["a"]);
    let goal = renew(&mut store, at(0));
    assert_eq!(evicted(&mut store, at(0)), ["a"]);
    assert_eq!(store.alarm(), at(35));
    store.sweep(at(35));
    let report = report(&mut store, goal).expect("it is over");
    assert_eq!((report.replaced, report.left), (1, 0));
}

#[test]
fn what_is_being_opened_is_old_and_what_is_marked_goes_anyway() {
    let (mut store, [_, lent]) = pool(10, ["a", "b"]);
    assert_eq!(store.take_idle(Location::caller()), Some("b"));
    assert_eq!(store.evict(|id| id.as_u64() == 1), 1);
    let opening = store.open(at(0)).expect("min_idle wants it");
    let goal = renew(&mut store, at(0));
    store.sweep(at(35));
    let report = report(&mut store, goal).expect("it is over");
    assert_eq!((report.replaced, report.left), (0, 2));
    store.give_back(lent, "b", Condition::Clean);
    store.opened(opening.key, "c", at(36));
    assert_eq!(closed(&mut store), [("b", CloseReason::Evicted)]);
}

#[test]
fn a_connect_that_began_before_fails_alone_and_one_that_began_after_ends_it() {
    let (mut store, _) = pool(10, ["a", "b"]);
    store.limits.min_idle = 3;
    let before = store.open(at(0)).expect("min_idle wants it");
    let goal = renew(&mut store, at(0));
    let after = store.open(at(0)).expect("a proof is wanted");
    let failed = |store: &mut Pool, key| {
        store.connect_failed(key, ConnectError::transient("no"), at(1));
        store.release(key);
    };
    failed(&mut store, before.key);
    assert!(report(&mut store, goal).is_none());
    failed(&mut store, after.key);
    let report = report(&mut store, goal).expect("it is over");
    assert_eq!((report.replaced, report.left), (0, 2));
    assert!(report.failure.is_some());
}

#[test]
fn a_dropped_replacement_goes_no_further_and_another_goal_does_not_stop_it() {
    let (mut store, _) = pool(1, ["a"]);
    let goal = renew(&mut store, at(0));
    let other = store.add_goal(Goal::Open(1), at(100));
    store.remove_goal(other);
    assert!(store.renewal.is_some());
    store.remove_goal(goal);
    assert_eq!(evicted(&mut store, at(0)), [""; 0]);
}

#[test]
fn a_second_replacement_ends_the_first_and_a_close_ends_it() {
    let (mut store, _) = pool(10, ["a", "b"]);
    let first = renew(&mut store, at(0));
    let second = renew(&mut store, at(1));
    let first = report(&mut store, first).expect("it is over");
    assert_eq!((first.replaced, first.left), (0, 2));
    assert!(!first.is_closed);
    store.close();
    let second = report(&mut store, second).expect("it is over");
    assert!(second.is_closed);
    let third = store.start_renewal(SECOND, SECOND, at(2));
    let third = report(&mut store, third).expect("it is over at once");
    assert!(third.is_closed);
}

#[test]
fn nothing_is_replaced_at_once() {
    let (mut store, []) = pool(10, []);
    let goal = renew(&mut store, at(0));
    assert!(store.open(at(0)).is_none(), "there is nothing to prove");
    store.sweep(at(0));
    let report = report(&mut store, goal).expect("it is over");
    assert_eq!((report.replaced, report.left), (0, 0));
}
