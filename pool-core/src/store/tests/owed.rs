//! What a critical section owes to others.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::cases::{at, effects, limits, open, request};
use crate::error::ConnectError;
use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId};
use crate::store::{Condition, Exclusive, Limits, Resized, SlotKey, Store, Turn};
use crate::time::Time;

type Pool = Store<&'static str, Exclusive>;

/// A pool that owes nothing.
fn pool() -> Pool {
    let mut store = Store::new(Limits {
        min_idle: 0,
        max_size: 1,
        ..limits()
    });
    store.start_ticks(at(0));
    drop(store.take_effects());
    assert!(!store.owes());
    store
}

#[test]
fn only_an_earlier_alarm_wakes_the_maintenance_task() {
    let mut store = pool();
    store.sweep(at(0));
    drop(store.take_effects());
    store.sweep(at(1));
    assert!(!store.owes(), "nothing was due");
    assert_eq!(store.alarm(), Time::NEVER);
    for (seconds, kicks) in [(9, true), (9, false), (10, false), (8, true)] {
        store.set_alarm(at(seconds));
        assert_eq!(effects(&mut store).kick, kicks, "{seconds}");
    }
    assert_eq!(store.alarm(), at(8));
}

#[test]
fn events_are_numbered_in_a_row_and_those_of_the_hot_path_are_told_if_they_are_wanted() {
    let mut store = pool();
    let key = open_any(&mut store);
    let lease = |store: &mut Pool| {
        let one = store.take_idle(Location::caller()).expect("it is idle");
        store.give_back(key, one, Condition::Clean);
    };
    lease(&mut store);
    store.is_observed = true;
    lease(&mut store);
    store.evict(|_| true);
    let events = effects(&mut store).events;
    assert!(
        (0..)
            .zip(&events)
            .all(|(place, (number, _))| *number == place)
    );
    let leased = |(_, kind): &&(u64, EventKind)| matches!(kind, EventKind::Leased { .. });
    assert_eq!(events.iter().filter(leased).count(), 1);
}

/// Wakers that can be told apart.
#[derive(Debug)]
struct Own;

impl Wake for Own {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn each_waiter_that_is_refused_is_woken_after_unlocking() {
    let mut store = pool();
    let wakers = [0; 2].map(|_| Waker::from(Arc::new(Own)));
    for waker in &wakers {
        store.enqueue(waker.clone(), request(), Turn::New);
    }
    drop(store.take_effects());
    store.close();
    let woken = effects(&mut store).wakers;
    assert_eq!(woken.len(), 2);
    for (woken, waker) in woken.iter().zip(&wakers) {
        assert!(woken.will_wake(waker), "in their order");
    }
}

#[test]
fn the_waker_of_a_waiter_that_is_served_is_returned_and_of_several_the_first() {
    let mut store = Store::new(Limits {
        min_idle: 0,
        ..limits()
    });
    let wakers = [0; 2].map(|_| Waker::from(Arc::new(Own)));
    for waker in &wakers {
        store.enqueue(waker.clone(), request(), Turn::New);
    }
    let openings = [store.open(at(0)), store.open(at(0))].map(|one| one.expect("wanted"));
    for opening in openings {
        store.opened(opening.key, "one", at(0));
    }
    let first = store.take_served().expect("two were served");
    assert!(first.will_wake(&wakers[0]));
    let woken = effects(&mut store).wakers;
    assert!(woken.len() == 1 && woken[0].will_wake(&wakers[1]));
    assert!(store.take_served().is_none());
}

#[test]
fn a_waker_that_is_not_needed_any_more_is_dropped_after_unlocking() {
    let mut store = pool();
    let own = Arc::new(Own);
    let key = store.enqueue(Waker::from(Arc::clone(&own)), request(), Turn::New);
    assert!(store.cancel(key).is_none());
    assert_eq!(Arc::strong_count(&own), 2, "not under the lock");
    drop(store.take_effects());
    assert_eq!(Arc::strong_count(&own), 1);
}

/// An error of a connector, and whether it was dropped.
#[derive(Debug, thiserror::Error)]
#[error("no")]
struct Reason(Arc<Own>);

#[test]
fn the_reason_of_a_death_that_is_not_news_is_dropped_after_unlocking() {
    let mut store = pool();
    let key = open_any(&mut store);
    let own = Arc::new(Own);
    let reason = ConnectError::transient(Reason(Arc::clone(&own)));
    store.died(key, ConnectionId::from_u64(99), Some(reason));
    assert_eq!(Arc::strong_count(&own), 2, "not under the lock");
    drop(store.take_effects());
    assert_eq!(Arc::strong_count(&own), 1);
}

#[test]
fn a_slot_that_a_smaller_pool_may_not_use_again_takes_its_permit_along() {
    let mut store = Store::new(Limits {
        min_idle: 3,
        max_size: 3,
        max_connecting: 3,
        ..limits()
    });
    let keys = ["a", "b", "c"].map(|name| open(&mut store, name, at(0)));
    for _ in keys {
        assert!(store.take_idle(Location::caller()).is_some());
    }
    let resized = store.resize(1).expect("it is open");
    assert_eq!(resized, Resized::Add(0), "all are in use");
    let reusable = keys.map(|key| store.release(key));
    assert_eq!(reusable, [false, false, true]);
    assert_eq!(store.resize(4), Some(Resized::Add(3)));
    assert_eq!(store.resize(2), Some(Resized::Remove(2)));
}

#[test]
fn a_pool_says_whether_a_caller_would_get_a_connection_at_once() {
    let mut store = pool();
    assert!(!store.has_idle());
    let key = open_any(&mut store);
    assert!(store.has_idle());
    let one = store.take_idle(Location::caller()).expect("it is idle");
    assert!(!store.has_idle());
    store.give_back(key, one, Condition::Clean);
    assert!(store.has_idle());
}

fn open_any(store: &mut Pool) -> SlotKey {
    store.limits.min_idle = 1;
    open(store, "one", at(0))
}

#[test]
fn a_connection_that_is_given_up_for_another_pool_leaves_nothing_to_look_at() {
    for (reason, waits, kicks) in [
        (CloseReason::Reclaimed, false, false),
        // A caller waits: whether it can still be served must be looked at.
        (CloseReason::Reclaimed, true, true),
        (CloseReason::Idle, false, true),
    ] {
        let mut store = pool();
        let key = open_any(&mut store);
        let one = store.take_idle(Location::caller()).expect("it is idle");
        if waits {
            store.enqueue(Waker::noop().clone(), request(), Turn::New);
        }
        drop(effects(&mut store));
        store.retire(key, one, reason);
        let owed = effects(&mut store);
        assert_eq!((owed.kick, owed.errands.len()), (kicks, 1), "{reason}");
    }
}

#[test]
fn a_slot_that_is_freed_is_looked_at_only_if_that_can_change_something() {
    for (waits, is_closed, min_idle) in [
        (false, false, 0),
        (true, false, 0),
        (false, true, 0),
        (false, false, 1),
    ] {
        let mut store = pool();
        let key = open_any(&mut store);
        let one = store.take_idle(Location::caller()).expect("it is idle");
        store.retire(key, one, CloseReason::Evicted);
        if waits {
            store.enqueue(Waker::noop().clone(), request(), Turn::New);
        }
        store.limits.min_idle = min_idle;
        if is_closed {
            store.close();
        }
        drop(effects(&mut store));
        store.release(key);
        let kicks = waits || is_closed || min_idle > 0;
        assert_eq!(
            effects(&mut store).kick,
            kicks,
            "{waits} {is_closed} {min_idle}"
        );
    }
}
