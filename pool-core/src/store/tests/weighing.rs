//! When connections are weighed, and what becomes of those that are too heavy.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::cases::{at, closed, effects, limits};
use crate::event::EventKind;
use crate::id::CloseReason;
use crate::store::{
    Condition, Errand, Exclusive, Limits, SlotKey, State, Store, VitalsHandle, Weight,
    WeightReading,
};
use crate::time::Time;
use crate::vitals::{Overweight, Vitals};

type Pool = Store<&'static str, Exclusive>;

const HALF: Duration = Duration::from_millis(500);
const MAX: u64 = 100;
const KILL: u64 = 200;

/// Its weight is what the test reports.
struct Stone;

impl Vitals for Stone {
    fn weight(&self) -> Option<u64> {
        None
    }

    fn kill(&self, _: &Overweight) {}
}

fn pool(max_weight: Option<u64>, kill_weight: Option<u64>) -> Pool {
    Store::new(Limits {
        max_size: 4,
        min_idle: 4,
        max_connecting: 4,
        max_weight,
        kill_weight,
        ..limits()
    })
}

fn open(store: &mut Pool, name: &'static str, now: Time) -> SlotKey {
    let opening = store.open(now).expect("a connect is wanted");
    let vitals = VitalsHandle::new(Arc::new(Stone));
    store.note_vitals(opening.key, vitals, now);
    store.opened(opening.key, name, now);
    opening.key
}

fn reading(store: &Pool, key: SlotKey, weight: u64) -> WeightReading {
    let id = store.slots.get(key).id;
    let weight = Weight::Measured(weight);
    WeightReading { key, id, weight }
}

/// Reports these weights. Returns the change of the pool's weight, and the causes of kills.
fn weigh(store: &mut Pool, weights: &[(SlotKey, u64)], now: Time) -> (i128, Vec<Overweight>) {
    let readings = weights
        .iter()
        .map(|(key, weight)| reading(store, *key, *weight));
    let readings: Vec<_> = readings.collect();
    let weighing = store.weighed(&readings, now);
    let causes = weighing.kills.into_iter().map(|(_, cause)| cause);
    (weighing.change, causes.collect())
}

/// How many connections are to be weighed now, if any are.
fn weighed_now(store: &mut Pool) -> Option<usize> {
    effects(store)
        .errands
        .iter()
        .find_map(|errand| match errand {
            Errand::Weigh(all) => Some(all.len()),
            Errand::Close(..) | Errand::Upkeep(_) => None,
        })
}

#[test]
fn connections_are_weighed_once_in_an_interval_and_not_side_by_side() {
    let mut store = pool(Some(MAX), None);
    open(&mut store, "one", at(0));
    assert!(store.alarm() <= at(1));
    store.sweep(at(0));
    assert_eq!(weighed_now(&mut store), None);
    // A new connection does not put the weighing of the others off.
    let two = open(&mut store, "two", at(0).after(HALF));
    store.sweep(at(0).after(HALF));
    assert_eq!(weighed_now(&mut store), None);
    assert_eq!(store.alarm(), at(1));
    store.sweep(at(1));
    assert_eq!(weighed_now(&mut store), Some(2));
    open(&mut store, "three", at(5));
    store.start_ticks(at(9));
    store.sweep(at(10));
    assert_eq!(weighed_now(&mut store), None, "one weighing hangs");
    drop(weigh(&mut store, &[(two, 1)], at(11)));
    assert!(store.alarm() <= at(12));
    store.sweep(at(11).after(HALF));
    assert_eq!(weighed_now(&mut store), None);
    store.sweep(at(12));
    assert_eq!(weighed_now(&mut store), Some(3));
}

#[test]
fn connections_are_weighed_only_if_there_is_a_limit() {
    for (max, kill, expected) in [
        (None, None, None),
        (Some(MAX), None, Some(1)),
        (None, Some(KILL), Some(1)),
    ] {
        let mut store = pool(max, kill);
        open(&mut store, "one", at(0));
        store.start_ticks(at(0));
        store.sweep(at(1));
        assert_eq!(store.weighs(), expected.is_some());
        assert_eq!(weighed_now(&mut store), expected);
    }
}

#[test]
fn a_pool_weighs_what_its_connections_weighed_last_until_they_are_gone() {
    let mut store = pool(Some(MAX), None);
    let [one, two] = ["one", "two"].map(|name| open(&mut store, name, at(0)));
    assert_eq!(weigh(&mut store, &[(one, 30), (two, 5)], at(1)).0, 35);
    assert_eq!(weigh(&mut store, &[(one, 10)], at(2)).0, -20);
    assert_eq!(store.status().weight, 15);
    assert_eq!(store.evict(|_| true), 2);
    assert_eq!(store.outgoing_weight(), 15);
    assert_eq!(store.status().weight, 15, "they are still being closed");
    // What is on its way out is not weighed any more.
    assert_eq!(weigh(&mut store, &[(one, 90)], at(3)).0, 0);
    let late = reading(&store, one, 90);
    store.release(one);
    assert_eq!(store.status().weight, 5);
    assert_eq!(store.weighed(&[late], at(4)).change, 0);
    store.release(two);
    assert_eq!(store.status().weight, 0);
}

/// How often the pool has told that it has no weight of a connection.
fn told_unweighed(store: &mut Pool) -> usize {
    let events = effects(store).events.into_iter();
    events
        .filter(|(_, kind)| matches!(kind, EventKind::Unweighed { .. }))
        .count()
}

#[test]
fn a_connection_that_cannot_be_weighed_is_told_once_and_keeps_its_last_weight() {
    let mut store = pool(Some(MAX), None);
    let [one, two] = ["one", "two"].map(|name| open(&mut store, name, at(0)));
    drop(weigh(&mut store, &[(one, 30), (two, 5)], at(1)));
    assert_eq!((store.unweighed(), told_unweighed(&mut store)), (0, 0));
    for (weight, unweighed, told, total) in [
        (Weight::Unknown, 1, 1, 35),
        (Weight::Unknown, 1, 0, 35),
        (Weight::Late, 1, 1, 35),
        (Weight::Measured(7), 0, 0, 12),
        (Weight::Late, 1, 1, 12),
    ] {
        let reading = WeightReading {
            weight,
            ..reading(&store, one, 0)
        };
        drop(store.weighed(&[reading], at(2)));
        assert_eq!(store.unweighed(), unweighed, "{weight:?}");
        assert_eq!(told_unweighed(&mut store), told, "{weight:?}");
        assert_eq!(store.status().weight, total, "{weight:?}");
    }
    store.limits.max_weight = None;
    assert_eq!(store.unweighed(), 0, "nobody wants to know");
}

#[test]
fn a_slot_that_is_freed_leaves_its_weight_and_whether_it_was_reclaimed() {
    let mut store = pool(Some(MAX), None);
    let [one, two] = ["one", "two"].map(|name| open(&mut store, name, at(0)));
    drop(weigh(&mut store, &[(one, 30), (two, 5)], at(1)));
    store.slots.get_mut(one).close_reason = Some(CloseReason::Reclaimed);
    store.slots.get_mut(two).close_reason = Some(CloseReason::Evicted);
    for (key, weight, is_reclaimed) in [(one, 30, true), (two, 5, false)] {
        let freed = store.take_freed(key);
        assert_eq!((freed.weight, freed.is_reclaimed), (weight, is_reclaimed));
        assert!(freed.claim.is_none());
    }
}

#[test]
fn a_connection_above_the_limit_is_closed_when_nobody_has_it() {
    let mut store = pool(Some(MAX), None);
    let [idle, leased] = ["idle", "leased"].map(|name| open(&mut store, name, at(0)));
    assert_eq!(store.take_idle(Location::caller()), Some("leased"));
    let (change, kills) = weigh(&mut store, &[(idle, MAX), (leased, MAX)], at(1));
    assert_eq!((change, kills.len()), (200, 0));
    assert_eq!(closed(&mut store), [], "they are not above it");
    drop(weigh(&mut store, &[(idle, MAX), (leased, MAX)], at(2)));
    let heavy = [(idle, MAX + 1), (leased, MAX + 1)];
    assert!(weigh(&mut store, &heavy, at(3)).1.is_empty());
    let told = effects(&mut store).events.into_iter();
    let told = told.filter(|(_, kind)| matches!(kind, EventKind::Overweight { limit: MAX, .. }));
    assert_eq!(told.count(), 2);
    assert_eq!(store.slots.get(idle).state(), State::Closing);
    assert_eq!(store.slots.get(leased).state(), State::Leased);
    drop(weigh(&mut store, &[(leased, MAX + 2)], at(4)));
    let again = effects(&mut store).events.into_iter();
    let again = again.filter(|(_, kind)| matches!(kind, EventKind::Overweight { .. }));
    assert_eq!(again.count(), 0, "it was told");
    store.give_back(leased, "leased", Condition::Clean);
    assert_eq!(closed(&mut store), [("leased", CloseReason::Overweight)]);
}

/// The connections that are closed when all of these weigh so much.
fn closed_at(store: &mut Pool, weights: &[(SlotKey, u64)], now: Time) -> Vec<&'static str> {
    drop(weigh(store, weights, now));
    let closed = closed(store).into_iter();
    closed.map(|(name, _)| name).collect()
}

#[test]
fn connections_that_are_too_heavy_when_they_are_new_are_replaced_one_after_the_other() {
    let mut store = pool(Some(MAX), None);
    let [one, two, three] = ["one", "two", "three"].map(|name| open(&mut store, name, at(0)));
    let all = [(one, MAX + 1), (two, MAX + 1), (three, MAX + 1)];
    assert_eq!(closed_at(&mut store, &all, at(1)), ["one"]);
    assert_eq!(
        closed_at(&mut store, &all, at(2)),
        ["two"],
        "an interval later"
    );
    assert!(closed_at(&mut store, &all, at(3)).is_empty());
    assert_eq!(closed_at(&mut store, &all, at(4)), ["three"]);
    store.release(one);
    store.release(two);
    // One that is light after two intervals says that replacing helps, and is replaced at once when it is heavy later.
    let [heavy, light] = ["heavy", "light"].map(|name| open(&mut store, name, at(4)));
    let one_is_light = [(light, MAX), (heavy, MAX + 1)];
    assert!(closed_at(&mut store, &one_is_light, at(5)).is_empty());
    assert_eq!(closed_at(&mut store, &one_is_light, at(6)), ["heavy"]);
    assert_eq!(closed_at(&mut store, &[(light, MAX + 1)], at(7)), ["light"]);
}

/// A child that still loads is light at its first weighing.
#[test]
fn a_connection_that_becomes_too_heavy_within_two_intervals_was_so_when_it_was_new() {
    let mut store = pool(Some(MAX), None);
    let first = open(&mut store, "first", at(0));
    assert_eq!(closed_at(&mut store, &[(first, MAX + 1)], at(1)), ["first"]);
    store.release(first);
    let loads = open(&mut store, "loads", at(1));
    let kept = open(&mut store, "kept", at(1));
    // It does not end the pause, nor is it replaced beside another one.
    let both = [(loads, 1), (kept, MAX + 1)];
    drop(weigh(&mut store, &both, at(2)));
    let told = effects(&mut store).events.into_iter();
    let told = told.filter(|(_, kind)| matches!(kind, EventKind::HeavyWhenNew { .. }));
    assert_eq!(told.count(), 0, "it was told of the first one");
    assert_eq!(store.slots.get(kept).state(), State::Closing);
    assert!(closed_at(&mut store, &[(loads, MAX + 1)], at(3)).is_empty());
    assert_eq!(closed_at(&mut store, &[(loads, MAX + 1)], at(4)), ["loads"]);
}

/// The first in slot order is always the newest: a replacement gets the slot of the one before.
#[test]
fn the_heaviest_of_those_that_were_too_heavy_when_they_were_new_is_replaced_first() {
    let mut store = pool(Some(MAX), None);
    let [one, two, leaks] = ["one", "two", "leaks"].map(|name| open(&mut store, name, at(0)));
    let all = [(one, MAX + 1), (two, MAX + 1), (leaks, MAX + 50)];
    assert_eq!(closed_at(&mut store, &all, at(1)), ["leaks"]);
    // Of those that weigh the same, the oldest.
    store.release(leaks);
    let newest = open(&mut store, "newest", at(1));
    assert_eq!(newest, leaks, "the same slot");
    let all = [(newest, MAX + 1), (two, MAX + 1), (one, MAX + 1)];
    assert_eq!(closed_at(&mut store, &all, at(2)), ["one"]);
}

#[test]
fn a_connection_above_the_kill_limit_is_killed_once_whoever_has_it() {
    let mut store = pool(None, Some(KILL));
    let leased = open(&mut store, "leased", at(0));
    assert_eq!(store.take_idle(Location::caller()), Some("leased"));
    assert!(weigh(&mut store, &[(leased, KILL)], at(1)).1.is_empty());
    assert_eq!(store.kill_cause(leased), None);
    let cause = Overweight::new(KILL + 1, KILL);
    assert_eq!(weigh(&mut store, &[(leased, KILL + 1)], at(2)).1, [cause]);
    assert_eq!(store.kill_cause(leased), Some(cause));
    assert!(weigh(&mut store, &[(leased, KILL + 2)], at(3)).1.is_empty());
    assert_eq!(store.kill_cause(leased), Some(cause));
    store.give_back(leased, "leased", Condition::Unfit(CloseReason::Died));
    assert_eq!(closed(&mut store), [("leased", CloseReason::Killed)]);
}

#[test]
fn idle_connections_are_shed_from_the_heaviest_on_until_it_is_enough() {
    let mut store = pool(Some(MAX), None);
    let names = ["light", "heavy", "middle", "none"];
    let [light, heavy, middle, _] = names.map(|name| open(&mut store, name, at(0)));
    let weights = [(light, 20), (heavy, 60), (middle, 40)];
    drop(weigh(&mut store, &weights, at(1)));
    assert_eq!(store.shed_idle(0), 0);
    assert_eq!(store.shed_idle(61), 100);
    let reason = CloseReason::Overweight;
    assert_eq!(closed(&mut store), [("heavy", reason), ("middle", reason)]);
    assert_eq!(store.outgoing_weight(), 100);
    // What weighs nothing is not shed for its weight.
    assert_eq!(store.shed_idle(1_000), 20);
    assert_eq!(closed(&mut store), [("light", reason)]);
}

#[test]
fn the_heaviest_connection_that_a_caller_has_is_shed_when_it_is_returned() {
    let mut store = pool(Some(MAX), None);
    let [light, heavy] = ["light", "heavy"].map(|name| open(&mut store, name, at(0)));
    for _ in 0..2 {
        assert!(store.take_idle(Location::caller()).is_some());
    }
    assert!(!store.shed_leased(), "they weigh nothing yet");
    drop(weigh(&mut store, &[(light, 20), (heavy, 60)], at(1)));
    drop(effects(&mut store));
    assert!(store.shed_leased());
    let told = effects(&mut store).events.into_iter();
    let told = told.filter(|(_, kind)| matches!(kind, EventKind::Overweight { weight: 60, .. }));
    assert_eq!(told.count(), 1);
    assert_eq!(store.slots.get(light).close_reason, None);
    assert_eq!(store.outgoing_weight(), 60);
    assert!(store.shed_leased());
    assert!(!store.shed_leased(), "both go");
    assert_eq!(store.outgoing_weight(), 80);
    store.give_back(heavy, "heavy", Condition::Clean);
    assert_eq!(closed(&mut store), [("heavy", CloseReason::Overweight)]);
}
