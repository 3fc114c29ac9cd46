//! Which shared connection is lent next, and which waits for a check.

use std::panic::Location;
use std::task::Waker;

use super::cases::{SECOND, at, limits, request};
use crate::error::ConnectError;
use crate::id::CloseReason;
use crate::store::{
    Effects, Errand, Lending, Limits, Multiplexed, ShareKey, Sharing, SlotKey, State, Store,
    TargetLeases, Turn,
};
use crate::time::Time;

pub(super) type Pool = Store<&'static str, Multiplexed>;

/// Four leases should be on each connection, and eight may be.
pub(super) fn sharing() -> Limits {
    Limits {
        max_size: 3,
        min_idle: 0,
        max_connecting: 3,
        sharing: Sharing {
            target_leases: TargetLeases::Fixed(4),
            max_leases: 8,
            max_surge: 1,
        },
        ..limits()
    }
}

/// A pool with these connections, opened at time zero.
pub(super) fn pool<const N: usize>(
    limits: Limits,
    names: [&'static str; N],
) -> (Pool, [SlotKey; N]) {
    let min_idle = limits.min_idle;
    let mut store = Pool::new(limits);
    store.limits.min_idle = N;
    let keys = names.map(|name| open(&mut store, name, at(0)));
    store.limits.min_idle = min_idle;
    store.start_ticks(at(0));
    drop(effects(&mut store));
    (store, keys)
}

pub(super) fn open(store: &mut Pool, name: &'static str, now: Time) -> SlotKey {
    let opening = store.open(now).expect("a connect is wanted");
    store.opened(opening.key, name, now);
    opening.key
}

pub(super) fn effects(store: &mut Pool) -> Effects<&'static str, Multiplexed> {
    store.take_effects().unwrap_or_else(Effects::none)
}

pub(super) fn take(store: &mut Pool) -> ShareKey {
    store.take_share(Location::caller()).expect("one is free")
}

pub(super) fn wait(store: &mut Pool) {
    store.enqueue(Waker::noop().clone(), request(), Turn::New);
}

pub(super) fn closed(
    effects: Effects<&'static str, Multiplexed>,
) -> Vec<(&'static str, CloseReason)> {
    let closed = effects
        .errands
        .into_iter()
        .filter_map(|errand| match errand {
            Errand::Close(name, reason) => Some((name, reason)),
            Errand::Upkeep(_) | Errand::Weigh(_) => None,
        });
    closed.collect()
}

/// The connections whose check begins.
fn checking(effects: Effects<&'static str, Multiplexed>) -> Vec<SlotKey> {
    let checking = effects
        .errands
        .into_iter()
        .filter_map(|errand| match errand {
            Errand::Upkeep(key) => Some(key),
            Errand::Close(..) | Errand::Weigh(_) => None,
        });
    checking.collect()
}

/// One connection was used a moment ago, the other is stale.
fn half_stale() -> (Pool, [SlotKey; 2]) {
    let (mut store, keys) = pool(
        Limits {
            max_size: 2,
            check_after_idle: Some(SECOND / 2),
            ..sharing()
        },
        ["used", "stale"],
    );
    store.start_ticks(at(0).after(SECOND * 9 / 10));
    store.slots.get_mut(keys[0]).used = store.tick;
    (store, keys)
}

#[test]
fn a_stale_connection_keeps_nobody_waiting_before_its_check_begins() {
    let (mut store, [used, _]) = half_stale();
    for _ in 0..6 {
        wait(&mut store);
    }
    assert!(store.take_served().is_some());
    assert_eq!(store.slots.get(used).load, 6, "it can serve all of them");
}

#[test]
fn only_what_is_stale_is_checked_for_callers() {
    let (mut store, [used, stale]) = half_stale();
    assert!(Multiplexed::has_stale(&store));
    Multiplexed::check_for_caller(&mut store);
    assert_eq!(checking(effects(&mut store)), [stale]);
    for _ in 0..9 {
        wait(&mut store);
    }
    assert!(!Multiplexed::has_stale(&store), "callers wait already");
    assert!(store.take_served().is_some());
    assert_eq!(
        store.slots.get(used).load,
        5,
        "its share, until the check ends"
    );
    assert_eq!(
        checking(effects(&mut store)),
        [],
        "not twice, and not what is in use"
    );
}

#[test]
fn a_waiter_has_what_is_stale_checked() {
    let (mut store, [used, stale]) = half_stale();
    store.slots.get_mut(used).is_suspected = true;
    wait(&mut store);
    assert!(store.take_served().is_none());
    assert_eq!(checking(effects(&mut store)), [stale]);
}

#[test]
fn nothing_is_stale_that_was_used() {
    let (mut store, [_, stale]) = half_stale();
    store.slots.get_mut(stale).used = store.tick;
    assert!(!Multiplexed::has_stale(&store));
}

#[test]
fn the_least_recently_used_connection_without_lease_or_check_is_given_up() {
    let (mut store, keys) = pool(sharing(), ["a", "b", "c"]);
    for (key, millis) in keys.into_iter().zip([1, 2, 3]) {
        store.slots.get_mut(key).used = Time::from_millis(millis);
    }
    assert_eq!(Multiplexed::least_recent(&store), Some(keys[0]));
    store.slots.get_mut(keys[0]).holds = 1;
    assert_eq!(Multiplexed::least_recent(&store), Some(keys[1]));
    store.slots.get_mut(keys[1]).load = 1;
    store.slots.set_state(keys[1], State::Leased);
    assert_eq!(Multiplexed::least_recent(&store), Some(keys[2]));
}

#[test]
fn a_connect_in_flight_can_serve_and_nothing_else_does() {
    let (mut store, []) = pool(sharing(), []);
    assert!(!Multiplexed::can_serve(&store));
    assert!(!store.has_idle());
    wait(&mut store);
    let opening = store.open(at(0)).expect("a caller waits");
    assert!(Multiplexed::can_serve(&store));
    store.opened(opening.key, "one", at(0));
    assert!(Multiplexed::can_serve(&store));
    assert!(!store.has_idle(), "a caller waits still");
    assert!(store.take_served().is_some());
    assert!(store.has_idle());
}

#[test]
fn a_lease_asks_for_another_connection_at_its_target_or_if_none_is_left_unused() {
    for (min_idle, expected) in [
        (0, [false, false, false, true]),
        (1, [true, false, false, true]),
    ] {
        let limits = Limits {
            min_idle,
            ..sharing()
        };
        let (mut store, [_]) = pool(limits, ["one"]);
        for kicks in expected {
            take(&mut store);
            assert_eq!(effects(&mut store).kick, kicks, "{min_idle}");
        }
    }
}

#[test]
fn a_share_that_proves_dead_was_no_use() {
    let (mut store, [key]) = pool(sharing(), ["one"]);
    let share = take(&mut store);
    let other = take(&mut store);
    store.discard_dead_share(share);
    assert_eq!(store.totals.leases, 1);
    assert_eq!(store.slots.get(key).uses, 1);
    store.discard_dead_share(other);
    assert_eq!(store.totals.leases, 0);
    assert_eq!(closed(effects(&mut store)), [("one", CloseReason::Died)]);
}

#[test]
fn the_next_lease_goes_to_the_fewest_active_leases_and_to_what_goes_last() {
    let evicted = Some(CloseReason::Evicted);
    for (records, expected) in [
        // Leases that are held for long count less than others.
        (
            [
                (1, 7, false, None),
                (2, 2, false, None),
                (1, 6, false, None),
            ],
            2,
        ),
        // A spare one after those in use,
        (
            [(1, 7, false, None), (2, 2, false, None), (0, 0, true, None)],
            0,
        ),
        // a superseded one after that,
        (
            [
                (0, 0, false, evicted),
                (2, 2, false, None),
                (0, 0, true, None),
            ],
            1,
        ),
        (
            [
                (0, 0, false, evicted),
                (1, 1, true, evicted),
                (7, 7, true, None),
            ],
            2,
        ),
        // and of those one that is spare as well.
        (
            [
                (7, 7, false, evicted),
                (0, 0, true, evicted),
                (0, 8, true, None),
            ],
            0,
        ),
    ] {
        let (mut store, keys) = pool(sharing(), ["a", "b", "c"]);
        for (key, (active, load, spare, superseded)) in keys.into_iter().zip(records) {
            let record = store.slots.get_mut(key);
            record.recent = [active, 0];
            (record.load, record.spare, record.superseded) = (load, spare, superseded);
        }
        assert_eq!(take(&mut store).slot, keys[expected], "{records:?}");
    }
}

#[test]
fn waiters_are_left_for_connections_that_may_be_opened_from_now_on() {
    let (mut store, [key]) = pool(sharing(), ["one"]);
    store.limits.min_idle = 2;
    let opening = store.open(at(0)).expect("min_idle wants it");
    store.connect_failed(opening.key, ConnectError::transient("no"), at(0));
    store.release(opening.key);
    store.limits.min_idle = 0;
    store.start_ticks(store.pacer.not_before());
    for _ in 0..8 {
        wait(&mut store);
    }
    assert!(store.take_served().is_some());
    assert_eq!(store.slots.get(key).load, 4, "two more are coming");
}
