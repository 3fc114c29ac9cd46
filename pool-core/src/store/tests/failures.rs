//! What counts as a failure, how long the next connect waits for it, and which connects are overdue.

use std::panic::Location;
use std::task::Waker;
use std::time::Duration;

use super::cases::{SECOND, at, effects, limits, open, request};
use crate::error::ConnectError;
use crate::id::CloseReason;
use crate::store::{Condition, Exclusive, Found, Limits, State, Store, Turn, WaitEnd};

#[test]
fn early_death_counts_as_a_failure_and_a_late_one_does_not() {
    let mut store = Store::<_, Exclusive>::new(limits());
    let key = open(&mut store, "brief", at(0));
    store.start_ticks(at(0));
    store.died(key, store.slots.get(key).id, None);
    assert_eq!(store.pacer.round(store.tick), 1);

    let mut store = Store::<_, Exclusive>::new(limits());
    let key = open(&mut store, "lasting", at(0));
    store.start_ticks(at(2));
    store.died(key, store.slots.get(key).id, None);
    assert_eq!(store.pacer.round(store.tick), 0);
}

#[test]
fn the_reason_of_a_death_is_the_failure_even_if_the_lease_ends_later() {
    let mut store = Store::<_, Exclusive>::new(limits());
    let key = open(&mut store, "brief", at(0));
    assert_eq!(store.take_idle(Location::caller()), Some("brief"));
    let reason = ConnectError::transient("out of paper");
    store.died(key, store.slots.get(key).id, Some(reason));
    store.give_back(key, "brief", Condition::Unfit(CloseReason::Died));
    let failure = store.pacer.failure(store.tick).expect("it died young");
    let source = std::error::Error::source(failure).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("out of paper"));
}

#[test]
fn death_after_the_last_permitted_use_is_no_failure() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        max_uses: Some(1),
        ..limits()
    });
    let key = open(&mut store, "one shot", at(0));
    assert_eq!(store.take_idle(Location::caller()), Some("one shot"));
    store.give_back(key, "one shot", Condition::Unfit(CloseReason::Died));
    assert_eq!(store.pacer.round(store.tick), 0);
}

#[test]
fn connects_that_fail_side_by_side_are_one_round() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 2,
        ..limits()
    });
    let first = store.open(at(0)).expect("wanted");
    let second = store.open(at(0)).expect("wanted");
    for opening in [first, second] {
        store.connect_failed(opening.key, ConnectError::transient("no"), at(1));
        assert!(store.release(opening.key));
    }
    assert_eq!(store.pacer.round(store.tick), 1);
}

/// Leases a fresh connection, ends the lease as `condition` says, and tells the failed rounds.
fn rounds_after(condition: Condition) -> u32 {
    let mut store = Store::<_, Exclusive>::new(limits());
    let key = open(&mut store, "one", at(0));
    store.start_ticks(at(0));
    let one = store.take_idle(Location::caller()).expect("it is idle");
    store.give_back(key, one, condition);
    store.pacer.round(store.tick)
}

#[test]
fn how_a_young_connection_ends_says_whether_that_is_a_failure() {
    for reason in [
        CloseReason::Died,
        CloseReason::Dirty,
        CloseReason::Discarded,
    ] {
        assert_eq!(rounds_after(Condition::Unfit(reason)), 1, "{reason}");
    }
    assert_eq!(rounds_after(Condition::Ended), 0, "it served its caller");
    assert_eq!(rounds_after(Condition::Clean), 0);
}

#[test]
fn connection_that_ends_by_itself_after_a_clean_lease_ends_a_series_of_failures() {
    let mut store = Store::<_, Exclusive>::new(limits());
    let opening = store.open(at(0)).expect("wanted");
    store.connect_failed(opening.key, ConnectError::transient("no"), at(0));
    store.release(opening.key);
    let key = open(&mut store, "brief", at(2));
    store.start_ticks(at(2));
    let brief = store.take_idle(Location::caller()).expect("it is idle");
    store.give_back(key, brief, Condition::Clean);
    assert_eq!(store.pacer.round(store.tick), 1, "it may break yet");
    // The end of its peer is seen a moment later.
    store.died(key, store.slots.get(key).id, None);
    assert_eq!(store.pacer.round(store.tick), 0);
}

/// Otherwise a peer that breaks every connection would be connected to again and again.
#[test]
fn connection_whose_only_waiter_left_before_it_took_it_has_served_nobody() {
    let mut store = Store::<_, Exclusive>::new(limits());
    store.start_ticks(at(0));
    let waiter = store.enqueue(Waker::noop().clone(), request(), Turn::New);
    let key = open(&mut store, "brief", at(0));
    let Some(brief) = store.cancel(waiter) else {
        panic!("it was served");
    };
    store.give_back(key, brief, Condition::Clean);
    store.died(key, store.slots.get(key).id, None);
    assert_eq!(store.pacer.round(store.tick), 1);
}

#[test]
fn holder_that_keeps_a_dead_connection_does_not_make_it_older() {
    let mut store = Store::<_, Exclusive>::new(limits());
    let key = open(&mut store, "kept", at(0));
    store.start_ticks(at(0));
    let kept = store.take_idle(Location::caller()).expect("it is idle");
    store.died(key, store.slots.get(key).id, None);
    store.note_time(at(20));
    store.give_back(key, kept, Condition::Unfit(CloseReason::Died));
    assert_eq!(store.pacer.round(store.tick), 1);
}

#[test]
fn old_failures_are_forgotten() {
    let mut store = Store::<&str, Exclusive>::new(limits());
    for second in 0..3 {
        let opening = store.open(at(second * 10)).expect("the delay has passed");
        let error = ConnectError::transient("no");
        store.connect_failed(opening.key, error, at(second * 10));
        store.release(opening.key);
    }
    assert!(store.context(at(80)).last_failure.is_some());
    assert!(store.context(at(81)).last_failure.is_none(), "it is old");
    let opening = store.open(at(100)).expect("the delay has passed");
    assert_eq!(opening.attempt, 1, "failed rounds are old as well");
}

#[test]
fn waiter_of_a_pool_that_waits_out_a_delay_wakes_nobody() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 0,
        max_size: 4,
        ..limits()
    });
    let enqueue = |store: &mut Store<_, _>| {
        store.enqueue(Waker::noop().clone(), request(), Turn::New);
        effects(store).kick
    };
    store.start_ticks(at(0));
    drop(effects(&mut store));
    assert!(enqueue(&mut store), "a connect may start");
    let opening = store.open(at(0)).expect("it is wanted");
    store.connect_failed(opening.key, ConnectError::transient("no"), at(0));
    store.release(opening.key);
    store.sweep(store.alarm());
    let not_before = store.pacer.not_before();
    assert!(not_before > store.tick, "the seed draws a delay");
    enqueue(&mut store);
    assert!(store.alarm() <= not_before, "it will be looked at then");
    assert!(!enqueue(&mut store), "nothing may start before");
}

#[test]
fn while_connects_fail_they_are_made_one_at_a_time() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 2,
        ..limits()
    });
    let first = store.open(at(0)).expect("wanted");
    store.connect_failed(first.key, ConnectError::transient("no"), at(0));
    store.release(first.key);
    let second = store.open(at(10)).expect("the delay has passed");
    assert!(store.open(at(10)).is_none(), "one will do to find out");
    store.opened(second.key, "better", at(10));
    assert!(store.open(at(10)).is_some());
}

/// Nothing else happens meanwhile, so the pool is quiet but for its alarm.
#[test]
fn connect_that_hangs_does_not_keep_callers_from_another() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        min_idle: 0,
        max_size: 8,
        max_connecting: 1,
        ..limits()
    });
    store.start_ticks(at(0));
    store.enqueue(Waker::noop().clone(), request(), Turn::New);
    let mut starts = Vec::new();
    let mut now = at(0);
    while now < at(20) {
        store.sweep(now);
        while let Some(opening) = store.open(now) {
            starts.push((now, opening.key));
        }
        assert!(store.alarm() > now, "a sweep finds all that is due");
        now = store.alarm();
    }
    let begun: Vec<_> = starts.iter().map(|(begun, _)| *begun).collect();
    assert_eq!(
        begun,
        [0, 1, 3, 7, 15].map(at),
        "each that hangs doubles the patience"
    );

    // One that succeeds after all serves the caller.
    let now = store.tick;
    store.opened(starts[1].1, "slow", now);
    assert!(store.queue.is_empty());
    assert_eq!(store.slots.late(State::Opening), 3);
}

#[test]
fn connects_that_are_usually_slow_are_given_time() {
    let mut store = Store::<&str, Exclusive>::new(Limits {
        max_size: 8,
        ..limits()
    });
    let opening = store.open(at(0)).expect("wanted");
    store.opened(opening.key, "slow", at(5));
    store.start_ticks(at(5));
    assert_eq!(store.take_idle(Location::caller()), Some("slow"));
    store.enqueue(Waker::noop().clone(), request(), Turn::New);
    let [second, third] = [0; 2].map(|_| store.open(at(5)));
    assert!(
        second.is_some() && third.is_some(),
        "for the waiter and min_idle"
    );
    store.sweep(at(14));
    assert!(store.open(at(14)).is_none(), "twice 5 s have not passed");
    store.sweep(at(15));
    assert!(store.open(at(15)).is_some());
}

#[test]
fn waiter_counts_on_a_reset_before_it_asks_for_a_connect() {
    let mut store = Store::<_, Exclusive>::new(Limits {
        min_idle: 0,
        ..limits()
    });
    let waiter = store.enqueue(Waker::noop().clone(), request(), Turn::New);
    let key = open(&mut store, "one", at(0));
    let Found::Done(WaitEnd::Served(one), _) = store.poll_waiter(waiter, Waker::noop()) else {
        panic!("it was served");
    };
    store.accept(key).expect("it is alive");
    store.start_ticks(at(0));
    store.give_back(key, one, Condition::NeedsReset);
    store.enqueue(Waker::noop().clone(), request(), Turn::New);
    assert!(store.open(at(0)).is_none(), "the reset will serve it");
    store.enqueue(Waker::noop().clone(), request(), Turn::New);
    assert!(store.open(at(0)).is_some(), "but not both");
    assert!(store.open(at(0)).is_none());
    store.sweep(at(1));
    assert!(store.open(at(1)).is_none(), "there is no more room");
    assert_eq!(store.wanted(), 2, "the reset takes too long");
}

#[test]
fn failures_are_forgotten_after_sustained_uptime_and_not_before() {
    let mut store = Store::<_, Exclusive>::new(limits());
    let opening = store.open(at(0)).expect("wanted");
    store.connect_failed(opening.key, ConnectError::transient("no"), at(0));
    store.release(opening.key);
    open(&mut store, "better", at(2));
    store.start_ticks(at(2));
    assert_eq!(
        store.pacer.round(store.tick),
        1,
        "a mere connect proves little"
    );
    assert!(store.sweep(store.alarm()));
    assert_eq!(
        store.pacer.round(store.tick),
        1,
        "nor does a tenth of a second"
    );
    assert!(store.alarm() <= at(3), "it will be looked at in time");
    assert!(store.sweep(at(3)));
    assert_eq!(store.pacer.round(store.tick), 0);
    assert!(
        store.pacer.failure(store.tick).is_none(),
        "the failure has been made good"
    );
}

/// The longest of many delays after each of six failed rounds, if a connect takes `took` to fail.
fn longest_delays(limits: &Limits, took: Duration) -> Vec<Duration> {
    let mut spans = vec![Duration::ZERO; 6];
    for seed in 0..200 {
        let mut store = Store::<&str, Exclusive>::new(Limits {
            seed,
            ..limits.clone()
        });
        let mut now = at(0);
        for span in &mut spans {
            let opening = store.open(now).expect("the delay has passed");
            now = now.after(took);
            store.connect_failed(opening.key, ConnectError::transient("no"), now);
            store.release(opening.key);
            let delay = store.pacer.not_before().since(now);
            *span = delay.max(*span);
            assert_eq!(
                store.open(now).is_none(),
                !delay.is_zero(),
                "it waits for the delay"
            );
            now = now.after(delay);
        }
    }
    spans
}

#[track_caller]
fn assert_spans(spans: &[Duration], limits_ms: [u64; 6]) {
    for (round, (span, limit_ms)) in spans.iter().zip(limits_ms).enumerate() {
        let limit = Duration::from_millis(limit_ms);
        assert!(
            *span <= limit && *span > limit.mul_f64(0.9),
            "round {round}: {span:?} of {limit:?}"
        );
    }
}

#[test]
fn delay_grows_with_each_round_up_to_its_maximum() {
    let spans = longest_delays(&limits(), SECOND);
    assert_spans(&spans, [1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
}

#[test]
fn delay_grows_no_further_than_the_failure_cost() {
    let mut limits = limits();
    limits.pacer.delay = Duration::from_millis(100);
    let refused = longest_delays(&limits, Duration::ZERO);
    assert_spans(&refused, [100, 200, 400, 500, 500, 500]);
    let spawned = longest_delays(&limits, Duration::from_millis(40));
    assert_spans(&spawned, [100, 200, 400, 800, 1_600, 2_000]);
}
