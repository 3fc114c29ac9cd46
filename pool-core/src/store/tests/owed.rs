//! What a critical section owes to others.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::cases::{at, effects, limits, open, request};
use crate::event::EventKind;
use crate::store::{Condition, Exclusive, Limits, SlotKey, Store, Turn};
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
    store.sweep(at(1));
    drop(store.take_effects());
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
