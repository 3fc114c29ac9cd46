//! Single decisions that the model leaves open or cannot reach.

use std::panic::Location;
use std::task::Waker;
use std::time::Duration;

use crate::error::ConnectError;
use crate::event::EventKind;
use crate::id::CloseReason;
use crate::store::sweep::TICK;
use crate::store::{
    Condition, Deadline, Effects, Errand, Exclusive, Found, IdleOrder, Limits, PacerLimits,
    Refusal, Sharing, SlotKey, Store, Turn, WaitEnd, WaitRequest, WaiterKey,
};
use crate::time::Time;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn limits() -> Limits {
    Limits {
        name: "test".into(),
        is_key: false,
        max_size: 2,
        min_idle: 1,
        max_waiters: 8,
        max_connecting: 2,
        idle_order: IdleOrder::Lifo,
        idle_timeout: None,
        max_lifetime: None,
        max_uses: None,
        check_interval: None,
        check_after_idle: None,
        min_uptime: SECOND,
        lease_warn_after: None,
        max_weight: None,
        kill_weight: None,
        weigh_interval: Duration::from_secs(1),
        pacer: PacerLimits {
            delay: SECOND,
            delay_max: 8 * SECOND,
            fail_fast_after: 3,
        },
        seed: 1,
        sharing: Sharing::NONE,
    }
}

pub(super) fn request() -> WaitRequest {
    WaitRequest {
        deadline: Deadline::At(at(30)),
        site: Location::caller(),
    }
}

pub(super) fn at(seconds: u64) -> Time {
    Time::default().after(Duration::from_secs(seconds))
}

/// Opens one connection at `now`; it is its own name.
pub(super) fn open(
    store: &mut Store<&'static str, Exclusive>,
    name: &'static str,
    now: Time,
) -> SlotKey {
    let opening = store.open(now).expect("a connect is wanted");
    store.opened(opening.key, name, now);
    opening.key
}

pub(super) fn effects(
    store: &mut Store<&'static str, Exclusive>,
) -> Effects<&'static str, Exclusive> {
    store.take_effects().unwrap_or_else(Effects::none)
}

/// What is closed, and why.
pub(super) fn closed(
    store: &mut Store<&'static str, Exclusive>,
) -> Vec<(&'static str, CloseReason)> {
    let errands = effects(store).errands.into_iter();
    errands
        .filter_map(|errand| match errand {
            Errand::Close(name, reason) => Some((name, reason)),
            Errand::Upkeep(_) | Errand::Weigh(_) => None,
        })
        .collect()
}

#[test]
fn expired_connection_is_not_lent_even_if_the_sweep_is_late() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        max_lifetime: Some(60 * SECOND),
        ..limits()
    });
    open(&mut store, "old", at(0));
    store.sweep(at(0));
    store.sweep(at(1));
    assert!(store.is_quiet, "nothing moves");
    store.start_ticks(at(61));
    assert_eq!(store.take_idle(Location::caller()), None);
    assert_eq!(closed(&mut store), [("old", CloseReason::Lifetime)]);
}

#[test]
fn connection_that_expired_by_a_clock_that_was_just_read_is_not_lent() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        max_lifetime: Some(60 * SECOND),
        ..limits()
    });
    open(&mut store, "old", at(0));
    store.note_time(at(61));
    assert_eq!(store.take_idle(Location::caller()), None);
    assert_eq!(closed(&mut store), [("old", CloseReason::Lifetime)]);
}

#[test]
fn lifetimes_are_drawn_at_birth_and_spread() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        max_size: 50,
        min_idle: 50,
        max_connecting: 50,
        ..limits()
    });
    store.limits.max_lifetime = Some(100 * SECOND);
    for _ in 0..50 {
        open(&mut store, "one", at(0));
    }
    let ends = |store: &Store<_, Exclusive>| {
        store
            .slots
            .iter()
            .map(|record| record.expires)
            .collect::<Vec<_>>()
    };
    let at_birth = ends(&store);
    assert!(
        at_birth.iter().all(|end| *end > at(90) && *end <= at(100)),
        "{at_birth:?}"
    );
    let mut distinct = at_birth.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 50, "no two end together");
    store.sweep(at(50));
    assert_eq!(ends(&store), at_birth, "they are not drawn again");
}

#[test]
fn numbers_of_uses_are_drawn_at_birth_and_spread() {
    for (max_uses, least) in [(1_000, 900), (10, 9), (9, 9), (1, 1)] {
        let mut store = Store::<_, Exclusive>::new(Limits {
            max_size: 50,
            min_idle: 50,
            max_connecting: 50,
            max_uses: Some(max_uses),
            ..limits()
        });
        for _ in 0..50 {
            open(&mut store, "one", at(0));
        }
        let records = store.slots.iter();
        let mut drawn: Vec<_> = records.map(|record| record.uses_max).collect();
        drawn.sort_unstable();
        let (first, last) = (drawn[0], drawn[49]);
        assert!(first >= least && last <= max_uses, "{drawn:?}");
        drawn.dedup();
        assert_eq!(drawn.len() > 1, least < max_uses, "{drawn:?}");
    }
}

#[test]
fn waiters_are_not_refused_while_something_could_serve_them() {
    let mut store = Store::<_, Exclusive>::new(limits());
    let key = open(&mut store, "lent", at(0));
    let lent = store.take_idle(Location::caller()).expect("it is idle");
    let place = store.enqueue(Waker::noop().clone(), request(), Turn::New);
    let opening = store.open(at(0)).expect("somebody waits");
    store.connect_failed(opening.key, ConnectError::permanent("gone"), at(0));
    store.release(opening.key);
    assert!(matches!(
        store.poll_waiter(place, Waker::noop()),
        Found::Waiting | Found::Moved
    ));

    assert_eq!(store.evict(|_| true), 1);
    store.give_back(key, lent, Condition::Clean);
    store.refuse_if_unavailable(at(0));
    let Found::Done(WaitEnd::Refused(Refusal::Unavailable { retry_after }, context), _) =
        store.poll_waiter(place, Waker::noop())
    else {
        panic!("nothing is left that could serve it");
    };
    assert!(retry_after <= SECOND);
    assert!(
        context
            .last_failure
            .as_ref()
            .is_some_and(ConnectError::is_permanent)
    );
}

#[test]
fn pool_at_rest_sets_no_tick() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 0,
        ..limits()
    });
    store.sweep(at(0));
    assert_eq!(store.alarm(), Time::NEVER);
    store.start_ticks(at(5));
    store.is_moving = true;
    assert_eq!(store.alarm(), at(5).after(TICK));
    store.sweep(at(5).after(TICK));
    assert_eq!(store.alarm(), at(5).after(2 * TICK), "something moved");
    store.sweep(at(5).after(2 * TICK));
    assert_eq!(store.alarm(), Time::NEVER, "nothing did");
}

#[test]
fn overdue_lease_is_told_once_and_once_more_at_its_return() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        lease_warn_after: Some(10 * SECOND),
        ..limits()
    });
    let key = open(&mut store, "kept", at(0));
    let kept = store.take_idle(Location::caller()).expect("it is idle");
    let told = |store: &mut Store<_, Exclusive>| {
        let events = effects(store).events.into_iter();
        let is_told = |kind: &EventKind| {
            matches!(
                kind,
                EventKind::LeaseOverdue { .. } | EventKind::OverdueLeaseReturned { .. }
            )
        };
        events.filter(|(_, kind)| is_told(kind)).count()
    };
    let mut count = 0;
    for second in 0..30 {
        store.start_ticks(at(second));
        store.sweep(at(second).after(TICK));
        count += told(&mut store);
    }
    assert_eq!(count, 1);
    store.give_back(key, kept, Condition::Clean);
    assert_eq!(told(&mut store), 1);
}

#[test]
fn lease_is_overdue_when_it_has_lasted_exactly_so_long() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        min_idle: 0,
        max_size: 1,
        lease_warn_after: Some(10 * SECOND),
        ..limits()
    });
    store.enqueue(Waker::noop().clone(), swept(), Turn::New);
    store.start_ticks(at(0));
    open(&mut store, "kept", at(0));
    let is_told = |store: &mut Store<_, Exclusive>| {
        let mut events = effects(store).events.into_iter();
        events.any(|(_, kind)| matches!(kind, EventKind::LeaseOverdue { .. }))
    };
    store.sweep(at(1));
    store.sweep(at(1).after(TICK));
    assert!(!is_told(&mut store));
    assert_eq!(store.alarm(), at(10), "nothing else is due");
    store.sweep(at(10));
    assert!(is_told(&mut store));
    assert_eq!(store.alarm(), Time::NEVER);
}

#[test]
fn connection_that_is_dead_when_drawn_was_not_used_and_counts_as_a_failure() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        max_uses: Some(1),
        ..limits()
    });
    let key = open(&mut store, "stillborn", at(0));
    assert_eq!(store.take_idle(Location::caller()), Some("stillborn"));
    store.discard_dead(key, "stillborn");
    assert_eq!(
        store.pacer.round(store.tick),
        1,
        "or it would be opened again and again without delay"
    );
}

#[test]
fn one_shot_connection_that_served_ends_a_series_of_failures() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        max_uses: Some(1),
        ..limits()
    });
    let opening = store.open(at(0)).expect("wanted");
    store.connect_failed(opening.key, ConnectError::transient("no"), at(0));
    store.release(opening.key);
    let key = open(&mut store, "one shot", at(2));
    assert_eq!(store.take_idle(Location::caller()), Some("one shot"));
    store.give_back(key, "one shot", Condition::Unfit(CloseReason::Died));
    assert_eq!(store.pacer.round(store.tick), 0);
}

#[test]
fn one_shot_connection_that_dies_before_its_waiter_wakes_counts_as_a_failure() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        min_idle: 0,
        max_uses: Some(1),
        ..limits()
    });
    let place = store.enqueue(Waker::noop().clone(), request(), Turn::New);
    let key = open(&mut store, "stillborn", at(0));
    store.died(key, store.slots.get(key).id, None);
    let Found::Done(WaitEnd::Served(dead), _) = store.poll_waiter(place, Waker::noop()) else {
        panic!("it was served");
    };
    let condition = store.accept(key).expect_err("it is known to be dead");
    store.start_ticks(at(10));
    store.give_back(key, dead, condition);
    assert_eq!(
        store.pacer.round(store.tick),
        1,
        "it was young when it died"
    );
}

#[test]
fn connect_that_is_dropped_unfinished_closes_the_pool() {
    let mut store = Store::<&str, Exclusive>::new(limits());
    let opening = store.open(at(0)).expect("wanted");
    let place = store.enqueue(Waker::noop().clone(), request(), Turn::New);
    assert!(store.release(opening.key));
    assert!(
        store.open(at(0)).is_none(),
        "or a runtime that goes would be asked for ever"
    );
    assert!(store.is_finished());
    assert!(matches!(
        store.poll_waiter(place, Waker::noop()),
        Found::Done(WaitEnd::Refused(Refusal::Closed, _), _)
    ));
}

/// A caller with a timeout of 30 s that reads no clock.
fn swept() -> WaitRequest {
    WaitRequest {
        deadline: Deadline::AfterSweep(30 * SECOND),
        ..request()
    }
}

fn is_over(store: &mut Store<&'static str, Exclusive>, key: WaiterKey) -> bool {
    matches!(store.poll_waiter(key, Waker::noop()), Found::Done(..))
}

#[test]
fn a_late_tick_makes_a_deadline_late_once_and_never_early() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 0,
        ..limits()
    });
    store.sweep(at(0));
    store.is_moving = true;
    store.start_ticks(at(0));
    let waiter = store.enqueue(Waker::noop().clone(), swept(), Turn::New);
    let exact = store.enqueue(Waker::noop().clone(), request(), Turn::New);
    // The runtime turns once a second, so every tick is late.
    for second in 1..=30 {
        store.is_moving = true;
        assert!(store.sweep(at(second)));
        assert!(!is_over(&mut store, waiter), "not before 30 s");
    }
    assert!(is_over(&mut store, exact));
    store.is_moving = true;
    assert!(store.sweep(at(31)));
    assert!(is_over(&mut store, waiter), "the first tick came after 1 s");
}

#[test]
fn a_deadline_outlives_the_connection_that_proved_dead() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 0,
        ..limits()
    });
    store.start_ticks(at(0));
    let waiter = store.enqueue(Waker::noop().clone(), swept(), Turn::New);
    store.sweep(at(0).after(TICK));
    let key = open(&mut store, "dead", at(20));
    let Found::Done(WaitEnd::Served(dead), deadline) = store.poll_waiter(waiter, Waker::noop())
    else {
        panic!("it is served");
    };
    assert_eq!(deadline, Deadline::At(at(30).after(TICK)));
    store.accept(key).expect("it looks alive");
    store.discard_dead(key, dead);
}

#[test]
fn callers_whose_connections_proved_dead_keep_their_order() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 0,
        ..limits()
    });
    let enqueue =
        |store: &mut Store<_, _>, turn| store.enqueue(Waker::noop().clone(), request(), turn).id();
    let [first, second, third] = [0; 3].map(|_| enqueue(&mut store, Turn::New));
    // It had drawn an idle connection before the others came, and it was dead.
    let drawn = enqueue(&mut store, Turn::Deferred);
    assert_eq!(store.queue.order(), [drawn, first, second, third]);
    // Both are served, and their connections are dead again.
    for _ in 0..2 {
        let served = store.queue.serve_first(|_, _| WaitEnd::Served("dead"));
        assert!(served.is_some());
    }
    assert_eq!(store.queue.order(), [second, third]);
    enqueue(&mut store, Turn::Resumed(drawn));
    enqueue(&mut store, Turn::Resumed(first));
    assert_eq!(store.queue.order(), [first, drawn, second, third]);
}

#[test]
fn a_crowd_of_waiters_leaves_no_memory_behind() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 0,
        max_waiters: 10_000,
        ..limits()
    });
    let keys: Vec<_> = (0..5_000)
        .map(|_| store.enqueue(Waker::noop().clone(), swept(), Turn::New))
        .collect();
    store.start_ticks(at(0));
    store.sweep(at(1));
    let bytes = store.queue.bytes();
    for key in keys {
        assert!(store.cancel(key).is_none());
    }
    store.start_ticks(at(1));
    store.sweep(at(2));
    assert!(store.queue.bytes() < bytes / 4, "{bytes} before");
    // What is left works.
    let waiter = store.enqueue(Waker::noop().clone(), swept(), Turn::New);
    store.start_ticks(at(2));
    store.sweep(at(3));
    store.sweep(at(33));
    assert!(is_over(&mut store, waiter));
}

#[test]
fn failure_of_an_older_connect_after_the_delay_is_a_round_of_its_own() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 2,
        ..limits()
    });
    let [first, second] = [store.open(at(0)), store.open(at(0))].map(|one| one.expect("wanted"));
    for (opening, now) in [(first, at(1)), (second, at(10))] {
        store.connect_failed(opening.key, ConnectError::permanent("no"), now);
        store.release(opening.key);
        assert!(
            store.pacer.unavailable_for(now).is_some(),
            "callers are told at once"
        );
    }
    assert_eq!(store.pacer.round(store.tick), 2);
}

#[test]
fn waiter_served_before_the_close_and_woken_after_it_is_not_lent_anything() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        min_idle: 0,
        ..limits()
    });
    let place = store.enqueue(Waker::noop().clone(), request(), Turn::New);
    let key = open(&mut store, "late", at(0));
    store.close();
    assert!(matches!(
        store.poll_waiter(place, Waker::noop()),
        Found::Done(WaitEnd::Served(_), _)
    ));
    assert_eq!(store.accept(key), Err(Condition::Clean));
    store.give_back(key, "late", Condition::Clean);
    assert_eq!(closed(&mut store), [("late", CloseReason::PoolClosed)]);
}
