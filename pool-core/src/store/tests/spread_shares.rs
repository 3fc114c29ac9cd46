//! Over how many shared connections leases are spread, if that is learned.

use std::time::Duration;

use super::cases::{SECOND, at};
use super::lent_shares::{Pool, pool, sharing, take, wait};
use crate::id::CloseReason;
use crate::store::{Condition, Limits, Sharing, SlotKey, TargetLeases};

/// A pool that learns its target, which is eight at first, with these connections.
fn learning<const N: usize>(names: [&'static str; N]) -> (Pool, [SlotKey; N]) {
    learning_below(8, names)
}

/// A pool that learns its target, which is the most leases of a connection at first.
fn learning_below<const N: usize>(max: u32, names: [&'static str; N]) -> (Pool, [SlotKey; N]) {
    let limits = Limits {
        sharing: Sharing {
            target_leases: TargetLeases::Adaptive { min: 1, max },
            max_leases: max,
            ..sharing().sharing
        },
        ..sharing()
    };
    pool(limits, names)
}

/// Passes this time, tick by tick.
fn pass(store: &mut Pool, time: Duration) {
    let end = store.tick.after(time);
    while store.tick < end {
        store.is_moving = true;
        let next = store.tick.after(SECOND / 10);
        store.sweep(next);
    }
}

#[test]
fn leases_are_active_for_one_or_two_generations_and_held_after_that() {
    let (mut store, [key]) = learning(["one"]);
    let [first, second] = [0; 2].map(|_| take(&mut store));
    let active = |store: &Pool| (store.slots.get(key).active(), store.need.active());
    assert_eq!(active(&store), (2, 2));
    // A generation is 5 s at first.
    pass(&mut store, 6 * SECOND);
    let third = take(&mut store);
    assert_eq!(active(&store), (3, 3));
    store.give_back_share(first, Condition::Clean);
    assert_eq!(active(&store), (2, 2));
    // Otherwise most leases that end would be older than the generation, and it would go on.
    for _ in 0..2 {
        let short = take(&mut store);
        store.give_back_share(short, Condition::Clean);
    }
    pass(&mut store, 5 * SECOND);
    assert_eq!(active(&store), (1, 1), "one is held");
    store.give_back_share(second, Condition::Clean);
    store.give_back_share(third, Condition::Clean);
    assert_eq!((active(&store), store.need.leases()), ((0, 0), 0));
}

#[test]
fn a_connection_beyond_what_has_proven_to_help_is_spare_from_the_beginning() {
    let (store, keys) = learning(["a", "b", "c"]);
    let spare = keys.map(|key| store.slots.get(key).spare);
    assert_eq!(spare, [false, true, true]);
    assert!(store.need.may_have_spare);
    let (store, [only]) = learning(["a"]);
    assert!(!store.slots.get(only).spare);
    assert!(!store.need.may_have_spare);
}

#[test]
fn a_spare_connection_is_used_before_another_is_opened() {
    let (mut store, [_, spare]) = learning(["a", "b"]);
    for _ in 0..9 {
        wait(&mut store);
    }
    assert_eq!(store.spread_missing(), 0, "nine are too many for one");
    store.slots.get_mut(spare).superseded = Some(CloseReason::Evicted);
    assert_eq!(store.spread_missing(), 1, "it goes");
}

#[test]
fn a_connection_without_leases_is_kept_if_another_would_be_opened_without_it() {
    let (mut store, [_, unused]) = learning(["a", "b"]);
    store.slots.get_mut(unused).spare = false;
    take(&mut store);
    assert_eq!(store.unused_wanted(), 0);
    for _ in 0..8 {
        wait(&mut store);
    }
    assert_eq!(store.unused_wanted(), 1);
}

#[test]
fn a_pause_is_no_tick_of_the_learner() {
    let (mut store, [_]) = learning(["one"]);
    store.start_ticks(at(900));
    let learner = store.learner.as_ref().expect("it learns");
    assert_eq!(learner.ticked(), at(900));
}

fn measured_ticks(store: &Pool) -> u32 {
    let learner = store.learner.as_ref().expect("it learns");
    learner.measured_ticks()
}

#[test]
fn what_was_measured_is_of_no_use_if_many_leases_are_held_from_now_on() {
    for (others, is_kept) in [(8, true), (7, false)] {
        let (mut store, [_]) = learning_below(16, ["one"]);
        take(&mut store);
        pass(&mut store, SECOND * 99 / 10);
        assert!(measured_ticks(&store) > 50);
        for _ in 0..others {
            take(&mut store);
        }
        pass(&mut store, SECOND / 10);
        assert_eq!(store.need.active(), others, "the first one is held");
        assert_eq!(measured_ticks(&store) > 50, is_kept, "{others}");
    }
}

#[test]
fn nothing_is_measured_while_a_connection_is_opened() {
    let (mut store, [_]) = learning(["one"]);
    take(&mut store);
    pass(&mut store, SECOND);
    assert!(measured_ticks(&store) > 5);
    store.limits.min_idle = 2;
    assert!(store.open(at(1)).is_some());
    pass(&mut store, SECOND / 2);
    assert_eq!(measured_ticks(&store), 0);
}

#[test]
fn nothing_is_measured_while_a_spare_connection_has_leases() {
    let (mut store, keys) = learning(["a", "b"]);
    for _ in 0..2 {
        take(&mut store);
    }
    for key in keys {
        let record = store.slots.get_mut(key);
        (record.load, record.recent, record.spare) = (1, [1, 0], key == keys[1]);
    }
    pass(&mut store, SECOND);
    assert_eq!(measured_ticks(&store), 0);
    let record = store.slots.get_mut(keys[1]);
    (record.load, record.recent) = (0, [0, 0]);
    pass(&mut store, SECOND);
    assert!(measured_ticks(&store) > 5);
}

#[test]
fn leases_are_spread_over_one_more_for_each_connection_that_is_full() {
    for (load, expected) in [(8, [false, false]), (7, [false, true])] {
        let (mut store, keys) = learning(["a", "b"]);
        store.slots.get_mut(keys[0]).load = load;
        store.slots.get_mut(keys[1]).spare = false;
        pass(&mut store, SECOND / 10);
        let spare = keys.map(|key| store.slots.get(key).spare);
        assert_eq!(spare, expected, "{load}");
    }
}

#[test]
fn all_that_were_not_needed_for_the_idle_timeout_become_spare_at_once() {
    let limits = Limits {
        idle_timeout: Some(SECOND),
        ..sharing()
    };
    let (mut store, keys) = pool(limits, ["a", "b", "c"]);
    let shares = [0; 3].map(|_| take(&mut store));
    assert_eq!(shares.map(|share| share.slot), keys, "one on each");
    let spare = |store: &Pool| {
        let spare = keys.iter().filter(|key| store.slots.get(**key).spare);
        spare.count()
    };
    while spare(&store) == 0 {
        assert!(store.tick < at(5));
        pass(&mut store, SECOND / 10);
    }
    assert_eq!(spare(&store), 2, "one is enough for three leases");
    assert!(store.tick > at(1));
}
