//! What a store says of itself, and how waits for goals end.

use std::panic::Location;
use std::task::Waker;
use std::time::Duration;

use super::cases::{SECOND, at, limits, open, request};
use crate::error::{AcquirePhase, ConnectError};
use crate::store::{Condition, Exclusive, Goal, GoalEnd, GoalKey, Limits, Store, Turn};

type Pool = Store<&'static str, Exclusive>;

fn pool() -> Pool {
    Store::new(Limits {
        max_size: 2,
        min_idle: 2,
        ..limits()
    })
}

#[test]
fn a_caller_is_told_what_it_waited_for() {
    let mut store = pool();
    let phase = |store: &Pool, seconds| store.context(at(seconds)).phase;
    let first = store.open(at(0)).expect("min_idle wants it");
    let second = store.open(at(1)).expect("min_idle wants it");
    let context = store.context(at(5));
    assert_eq!(context.phase, AcquirePhase::Connect);
    let oldest = context.oldest_connect.expect("two are in flight");
    assert_eq!((oldest.id, oldest.elapsed), (first.id, 5 * SECOND));

    store.connect_failed(first.key, ConnectError::transient("no"), at(6));
    store.release(first.key);
    let oldest = store.context(at(6)).oldest_connect.expect("one is left");
    assert_eq!(oldest.id, second.id);
    store.opened(second.key, "one", at(6));
    assert!(store.context(at(6)).oldest_connect.is_none());

    // There is room for another connection, but it is delayed.
    let not_before = store.pacer.not_before();
    assert!(not_before > at(6), "the seed draws a delay");
    assert_eq!(phase(&store, 6), AcquirePhase::Backoff);
    let context = store.context(not_before);
    assert_eq!(context.phase, AcquirePhase::Queue, "the delay is over");
    store.limits.max_size = 1;
    assert_eq!(phase(&store, 6), AcquirePhase::Queue, "there is no room");
}

#[test]
fn facts_about_a_connection_follow_its_life() {
    let mut store = pool();
    store.start_ticks(at(10));
    let key = open(&mut store, "one", at(10));
    let stats = store.stats(key, at(13));
    assert_eq!((stats.age, stats.uses, stats.leases), (3 * SECOND, 0, 0));
    assert_eq!(stats.idle_for, Some(3 * SECOND));
    let lent = store.take_idle(Location::caller()).expect("it is idle");
    let stats = store.stats(key, at(14));
    assert_eq!((stats.age, stats.uses, stats.leases), (4 * SECOND, 1, 1));
    assert_eq!(stats.idle_for, None);
    store.start_ticks(at(15));
    store.give_back(key, lent, Condition::Clean);
    let stats = store.stats(key, at(17));
    assert_eq!((stats.leases, stats.idle_for), (0, Some(2 * SECOND)));
    assert_eq!(store.all_stats(at(17)).len(), 1);
    assert_eq!(store.evict(|_| true), 1);
    assert_eq!(store.all_stats(at(17)).len(), 0, "it is being closed");
}

#[test]
fn the_status_counts_connections_by_their_state() {
    let mut store = pool();
    let key = open(&mut store, "one", at(0));
    let opening = store.open(at(0)).expect("min_idle wants it");
    let status = store.status();
    assert_eq!((status.opening, status.idle, status.size()), (1, 1, 2));
    let lent = store.take_idle(Location::caller()).expect("it is idle");
    assert_eq!((store.status().leases, store.status().leased), (1, 1));
    store.give_back(key, lent, Condition::NeedsReset);
    assert_eq!(store.status().returning, 1);
    store.give_back(key, "one", Condition::Clean);
    assert_eq!(store.evict(|_| true), 2);
    assert_eq!(store.status().closing, 1);
    store.stuck(key, crate::id::CloseReason::Evicted, SECOND);
    assert_eq!((store.status().closing, store.status().stuck), (0, 1));
    store.close();
    assert!(store.is_closed() && store.status().is_closed);
    assert!(!store.is_finished());
    assert_eq!(store.closed_since(), 0);
    store.release(key);
    assert_eq!(store.closed_since(), 1);
    store.release(opening.key);
    assert_eq!(store.closed_since(), 1, "it was never opened");
    assert!(store.is_finished());
}

#[test]
fn callers_that_queue_while_there_are_as_many_connections_as_there_may_be_are_counted() {
    let mut store = pool();
    let queue = |store: &mut Pool, turn| {
        store.enqueue(Waker::noop().clone(), request(), turn);
        store.totals.limit_reached
    };
    assert_eq!(queue(&mut store, Turn::New), 0);
    for _ in 0..2 {
        assert!(store.open(at(0)).is_some());
    }
    assert_eq!(queue(&mut store, Turn::New), 1);
    assert_eq!(queue(&mut store, Turn::Deferred), 1, "it was counted");
}

#[test]
fn a_warm_up_opens_in_batches() {
    let mut store = pool();
    store.limits.max_connecting = 3;
    for (wanted, batches) in [(0, 1), (1, 1), (3, 1), (4, 2), (7, 3)] {
        let terms = store.warm_up_terms(wanted);
        assert_eq!((terms.max_size, terms.batches), (2, batches), "{wanted}");
    }
}

fn end_of(store: &mut Pool, goal: GoalKey) -> Option<GoalEnd> {
    store.poll_goal(goal, Waker::noop().clone())
}

#[test]
fn a_warm_up_ends_when_enough_are_open_or_at_its_deadline() {
    let mut store = pool();
    let one = store.add_goal(Goal::Open(1), at(30));
    let two = store.add_goal(Goal::Open(2), at(20));
    assert!(store.alarm() <= at(20));
    assert!(end_of(&mut store, one).is_none());
    open(&mut store, "one", at(1));
    assert!(matches!(end_of(&mut store, one), Some(GoalEnd::Reached)));
    assert!(end_of(&mut store, two).is_none());
    store.start_ticks(at(19));
    store.sweep(at(19).after(Duration::from_millis(500)));
    assert!(end_of(&mut store, two).is_none());
    assert!(store.alarm() <= at(20));
    store.sweep(at(20));
    assert!(matches!(end_of(&mut store, two), Some(GoalEnd::TimedOut)));
}

#[test]
fn a_warm_up_ends_when_it_cannot_succeed() {
    let mut store = pool();
    let ends = |store: &mut Pool, wanted| {
        let goal = store.add_goal(Goal::Open(wanted), at(30));
        end_of(store, goal)
    };
    let too_many = ends(&mut store, 3);
    assert!(matches!(too_many, Some(GoalEnd::TooMany { max_size: 2 })));
    open(&mut store, "one", at(0));
    let goal = store.add_goal(Goal::Open(2), at(30));
    let drained = store.add_goal(Goal::Drained, at(30));
    let opening = store.open(at(0)).expect("it is wanted");
    store.connect_failed(opening.key, ConnectError::transient("no"), at(1));
    let failed = end_of(&mut store, goal);
    assert!(matches!(
        failed,
        Some(GoalEnd::ConnectFailed { open: 1, .. })
    ));
    assert!(end_of(&mut store, drained).is_none(), "that goes on");
    store.close();
    assert!(matches!(ends(&mut store, 1), Some(GoalEnd::Closed)));
}

#[test]
fn a_close_is_over_when_the_last_slot_is_free() {
    let mut store = pool();
    let key = open(&mut store, "one", at(0));
    let drained = store.add_goal(Goal::Drained, at(30));
    store.close();
    assert!(end_of(&mut store, drained).is_none());
    store.release(key);
    assert!(matches!(
        end_of(&mut store, drained),
        Some(GoalEnd::Reached)
    ));
}

#[test]
fn the_largest_warm_up_decides_how_many_are_opened_and_only_while_it_lasts() {
    let mut store = pool();
    store.limits.min_idle = 0;
    assert!(store.open(at(0)).is_none(), "nobody wants one");
    let one = store.add_goal(Goal::Open(1), at(30));
    let two = store.add_goal(Goal::Open(2), at(30));
    let openings = [store.open(at(0)), store.open(at(0))];
    assert!(openings.iter().all(Option::is_some));
    for opening in openings.into_iter().flatten() {
        store.opened(opening.key, "any", at(0));
    }
    assert!(matches!(end_of(&mut store, two), Some(GoalEnd::Reached)));
    store.evict(|_| true);
    assert!(store.open(at(1)).is_none(), "both are over");
    let three = store.add_goal(Goal::Open(1), at(30));
    store.remove_goal(three);
    store.remove_goal(one);
    assert!(store.open(at(1)).is_none());
}

#[test]
fn waits_end_at_once_when_the_runtime_has_gone() {
    let mut store = pool();
    open(&mut store, "one", at(0));
    let goal = store.add_goal(Goal::Open(2), at(30));
    let drained = store.add_goal(Goal::Drained, at(30));
    store.orphan();
    assert!(matches!(end_of(&mut store, goal), Some(GoalEnd::Closed)));
    assert!(matches!(
        end_of(&mut store, drained),
        Some(GoalEnd::TimedOut)
    ));
    let later = store.add_goal(Goal::Drained, at(30));
    assert!(matches!(end_of(&mut store, later), Some(GoalEnd::TimedOut)));
}
