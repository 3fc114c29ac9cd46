//! Each rule is broken by one hand-made history that differs little from a correct one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use pool_core::{
    CheckError, CloseReason, ConnectError, ConnectionId, Event, EventKind, Observer, WaiterId,
};

use super::{Ledger, LedgerRule};

fn id(number: u64) -> ConnectionId {
    ConnectionId::from_u64(number)
}

fn waiter(number: u64) -> WaiterId {
    WaiterId::from_u64(number)
}

fn event(seq: usize, kind: EventKind) -> Event {
    Event::new(u64::try_from(seq).unwrap(), Arc::from("test"), kind)
}

fn ledger(max_size: usize, history: &[EventKind]) -> Ledger {
    let ledger = Ledger::new(max_size);
    for (seq, kind) in history.iter().enumerate() {
        ledger.on_event(&event(seq, kind.clone()));
    }
    ledger
}

fn opening(n: u64) -> EventKind {
    EventKind::Opening { id: id(n) }
}
fn opened(n: u64) -> EventKind {
    EventKind::Opened { id: id(n) }
}
fn lent(n: u64) -> EventKind {
    EventKind::Leased {
        id: id(n),
        waiter: None,
    }
}
fn served(n: u64, w: u64) -> EventKind {
    EventKind::Leased {
        id: id(n),
        waiter: Some(waiter(w)),
    }
}
fn returned(n: u64) -> EventKind {
    EventKind::Returned { id: id(n) }
}
fn died(n: u64) -> EventKind {
    EventKind::Died { id: id(n) }
}
fn checking(n: u64) -> EventKind {
    EventKind::Checking { id: id(n) }
}
fn closing(n: u64) -> EventKind {
    EventKind::Closing {
        id: id(n),
        reason: CloseReason::Idle,
    }
}
fn closed(n: u64) -> EventKind {
    EventKind::Closed {
        id: id(n),
        reason: CloseReason::Idle,
    }
}
fn detached(n: u64) -> EventKind {
    EventKind::Detached { id: id(n) }
}
fn queued(w: u64) -> EventKind {
    EventKind::Queued { waiter: waiter(w) }
}
fn requeued(w: u64) -> EventKind {
    EventKind::Requeued { waiter: waiter(w) }
}
fn timed_out(w: u64) -> EventKind {
    EventKind::TimedOut { waiter: waiter(w) }
}

#[track_caller]
fn breaks(max_size: usize, history: &[EventKind], rule: LedgerRule) {
    let ledger = ledger(max_size, history);
    let breach = ledger.breach().expect("the history breaks a rule");
    assert_eq!(breach.rule, rule, "{breach}");
    let last = breach.recent.last().map(|event| event.seq);
    let end = u64::try_from(history.len()).unwrap() - 1;
    assert_eq!(
        last,
        Some(end),
        "the last event is the one that breaks it: {breach}"
    );
}

#[track_caller]
fn keeps(max_size: usize, history: &[EventKind]) -> Ledger {
    let ledger = ledger(max_size, history);
    ledger.assert_ok();
    ledger
}

/// A connection that was opened for a waiter, which has it now.
const HELD: fn() -> Vec<EventKind> = || vec![queued(0), opening(0), opened(0), served(0, 0)];

fn held_then(rest: &[EventKind]) -> Vec<EventKind> {
    [HELD(), rest.to_vec()].concat()
}

#[test]
fn a_long_correct_history_is_accepted() {
    let error = || ConnectError::transient("refused");
    let stuck = EventKind::Stuck {
        id: id(2),
        reason: CloseReason::CheckFailed,
        since: Duration::from_secs(1),
    };
    let reason = CloseReason::CheckFailed;
    let history = held_then(&[
        queued(1),
        queued(2),
        returned(0),
        served(0, 1),
        EventKind::Cancelled { waiter: waiter(2) },
        EventKind::Resetting { id: id(0) },
        returned(0),
        lent(0),
        died(0),
        closing(0),
        requeued(1),
        opening(1),
        EventKind::ConnectFailed {
            id: id(1),
            error: error(),
        },
        closed(0),
        opening(2),
        opened(2),
        served(2, 1),
        returned(2),
        EventKind::Checking { id: id(2) },
        queued(3),
        EventKind::Checked { id: id(2) },
        served(2, 3),
        returned(2),
        EventKind::Checking { id: id(2) },
        EventKind::CheckFailed {
            id: id(2),
            error: CheckError::new("stale"),
        },
        EventKind::Closing { id: id(2), reason },
        stuck,
        EventKind::Resized { from: 2, to: 3 },
        opening(3),
        opening(4),
        EventKind::PoolClosing,
        EventKind::ConnectAborted { id: id(3) },
        opened(4),
        closing(4),
        closed(4),
        EventKind::Closed { id: id(2), reason },
        EventKind::PoolClosed,
    ]);
    let ledger = keeps(2, &history);
    ledger.assert_settled();
    let counts = ledger.counts();
    assert_eq!((counts.connects, counts.opened, counts.closed), (5, 3, 3));
    assert_eq!(
        (counts.leases, counts.connects_failed, counts.slots_peak),
        (5, 2, 3)
    );
    assert!(counts.is_closed);
    assert_eq!(ledger.events().len(), history.len());
}

#[test]
fn events_are_put_in_order_before_they_are_checked() {
    let history = held_then(&[returned(0), closing(0), closed(0)]);
    let ledger = Ledger::new(1);
    for (seq, kind) in history.iter().enumerate().rev() {
        ledger.on_event(&event(seq, kind.clone()));
    }
    ledger.assert_settled();
}

#[test]
fn a_number_that_comes_twice_breaks_the_sequence() {
    let ledger = keeps(1, &HELD());
    ledger.on_event(&event(2, opened(0)));
    assert_eq!(ledger.breach().unwrap().rule, LedgerRule::Sequence);
}

#[test]
#[should_panic(expected = "rule Sequence broken")]
fn a_number_that_never_comes_breaks_the_sequence_at_the_end() {
    let ledger = keeps(1, &[]);
    ledger.on_event(&event(1, queued(0)));
    ledger.assert_ok();
    ledger.assert_settled();
}

#[test]
fn a_slot_beyond_the_limit_breaks_capacity() {
    breaks(
        1,
        &held_then(&[closing(0), opening(1)]),
        LedgerRule::Capacity,
    );
    let shrink = EventKind::Resized { from: 2, to: 1 };
    breaks(2, &held_then(&[shrink, opening(1)]), LedgerRule::Capacity);
    keeps(1, &held_then(&[detached(0), opening(1)]));
    keeps(
        1,
        &held_then(&[EventKind::Resized { from: 1, to: 2 }, opening(1)]),
    );
}

#[test]
fn a_second_lease_breaks_one_lease() {
    breaks(1, &held_then(&[lent(0)]), LedgerRule::OneLease);
}

#[test]
fn a_lease_of_a_dead_expired_closing_or_discarded_connection_breaks_the_rule() {
    let idle = || held_then(&[returned(0)]);
    for mark in [died(0), EventKind::Expired { id: id(0) }, closing(0)] {
        breaks(
            1,
            &[idle(), vec![mark, lent(0)]].concat(),
            LedgerRule::NoLeaseOfDoomed,
        );
    }
    let discarded = EventKind::Discarded { id: id(0) };
    breaks(
        1,
        &held_then(&[discarded, returned(0), lent(0)]),
        LedgerRule::NoLeaseOfDoomed,
    );
    breaks(
        1,
        &held_then(&[closing(0), closed(0), lent(0)]),
        LedgerRule::NoLeaseOfDoomed,
    );
}

#[test]
fn a_dead_or_closing_connection_that_becomes_idle_breaks_the_rule() {
    breaks(
        1,
        &held_then(&[closing(0), returned(0)]),
        LedgerRule::NoParkingOfDoomed,
    );
    breaks(
        1,
        &held_then(&[died(0), returned(0), queued(1)]),
        LedgerRule::NoParkingOfDoomed,
    );
    keeps(1, &held_then(&[died(0), closing(0), closed(0)]));
}

#[test]
fn an_idle_connection_while_a_caller_waits_breaks_the_rule() {
    let rule = LedgerRule::NoIdleWhileQueued;
    breaks(2, &held_then(&[queued(1), returned(0), opening(1)]), rule);
    breaks(1, &held_then(&[returned(0), queued(1)]), rule);
    breaks(1, &held_then(&[returned(0), requeued(1)]), rule);
    let ledger = keeps(2, &held_then(&[queued(1), returned(0)]));
    assert_eq!(
        ledger.counts().waiting,
        1,
        "not known to be idle before the next event"
    );
    keeps(
        2,
        &held_then(&[queued(1), returned(0), closing(0), opening(1)]),
    );
}

#[test]
fn a_connection_may_be_idle_while_another_is_checked_for_the_caller() {
    let two_idle = held_then(&[returned(0), opening(1), opened(1), lent(1), returned(1)]);
    keeps(2, &[&two_idle[..], &[checking(1), requeued(1)]].concat());
    let rule = LedgerRule::NoIdleWhileQueued;
    let two_wait = [checking(1), requeued(1), requeued(2)];
    breaks(2, &[&two_idle[..], &two_wait].concat(), rule);
    let newcomer = [checking(1), queued(1)];
    breaks(2, &[&two_idle[..], &newcomer].concat(), rule);
}

#[test]
fn serving_any_caller_but_the_first_breaks_the_order() {
    let two = || held_then(&[queued(1), queued(2), returned(0)]);
    breaks(1, &[two(), vec![served(0, 2)]].concat(), LedgerRule::Fifo);
    breaks(1, &[two(), vec![served(0, 0)]].concat(), LedgerRule::Fifo);
    let late = held_then(&[
        queued(1),
        queued(2),
        timed_out(1),
        returned(0),
        served(0, 2),
    ]);
    keeps(1, &late);
    let head = held_then(&[queued(1), requeued(0), returned(0), served(0, 1)]);
    breaks(1, &head, LedgerRule::Fifo);
}

#[test]
fn lending_ahead_of_the_queue_breaks_the_rule() {
    breaks(
        1,
        &held_then(&[queued(1), returned(0), lent(0)]),
        LedgerRule::NoBarging,
    );
}

#[test]
fn a_second_end_breaks_close_once() {
    let ended = || held_then(&[closing(0), closed(0)]);
    breaks(
        1,
        &held_then(&[closing(0), closing(0)]),
        LedgerRule::CloseOnce,
    );
    breaks(
        1,
        &[ended(), vec![closed(0)]].concat(),
        LedgerRule::CloseOnce,
    );
    breaks(
        1,
        &[ended(), vec![detached(0)]].concat(),
        LedgerRule::CloseOnce,
    );
    breaks(
        1,
        &held_then(&[detached(0), closed(0)]),
        LedgerRule::CloseOnce,
    );
}

#[test]
fn events_in_an_impossible_order_break_the_lifecycle() {
    let rule = LedgerRule::Lifecycle;
    breaks(1, &[opened(0)], rule);
    breaks(2, &held_then(&[opening(0)]), rule);
    breaks(1, &held_then(&[closed(0)]), rule);
    breaks(1, &held_then(&[EventKind::Checking { id: id(0) }]), rule);
    breaks(
        1,
        &held_then(&[died(0), EventKind::Resetting { id: id(0) }]),
        rule,
    );
    breaks(1, &[opening(0), closing(0)], rule);
    breaks(1, &[EventKind::Resized { from: 2, to: 3 }], rule);
    breaks(1, &[EventKind::PoolClosed], rule);
    let other = EventKind::Closed {
        id: id(0),
        reason: CloseReason::Died,
    };
    breaks(1, &held_then(&[closing(0), other]), rule);
}

#[test]
fn callers_that_join_or_leave_twice_break_the_queue() {
    breaks(1, &[queued(0), queued(0)], LedgerRule::Queue);
    breaks(1, &[queued(0), requeued(0)], LedgerRule::Queue);
    breaks(
        1,
        &[queued(0), timed_out(0), timed_out(0)],
        LedgerRule::Queue,
    );
    breaks(
        1,
        &held_then(&[EventKind::Refused { waiter: waiter(0) }]),
        LedgerRule::Queue,
    );
}

#[test]
fn activity_of_a_closing_pool_breaks_the_rule() {
    let rule = LedgerRule::AfterClose;
    breaks(2, &held_then(&[EventKind::PoolClosing, opening(1)]), rule);
    breaks(2, &held_then(&[EventKind::PoolClosing, queued(1)]), rule);
    breaks(
        2,
        &held_then(&[returned(0), EventKind::PoolClosing, lent(0)]),
        rule,
    );
    let parked = [EventKind::PoolClosing, returned(0), EventKind::PoolClosed];
    breaks(2, &held_then(&parked), rule);
}

#[test]
#[should_panic(expected = "rule Settled broken")]
fn a_connection_that_is_left_over_is_found_at_the_end() {
    keeps(1, &held_then(&[returned(0)])).assert_settled();
}

#[test]
#[should_panic(expected = "still waits")]
fn a_waiter_that_is_left_over_is_found_at_the_end() {
    keeps(1, &[queued(0)]).assert_settled();
}

#[test]
fn the_first_breach_is_kept_and_shows_the_events_before_it() {
    let mut history: Vec<_> = (0..50).map(queued).collect();
    history.extend([opened(7), opening(0), opening(1)]);
    let breach = ledger(1, &history).breach().unwrap();
    assert_eq!(
        (breach.rule, breach.recent.len()),
        (LedgerRule::Lifecycle, 32)
    );
    assert!(breach.to_string().contains("Opened { id: #7 }"), "{breach}");
}

#[test]
fn a_test_can_wait_for_counts() {
    let ledger = keeps(1, &[queued(0)]);
    let mut wait = pin!(ledger.until(|counts| counts.leased == 1));
    let mut poll = || {
        wait.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    };
    for (seq, kind) in HELD().into_iter().enumerate().skip(1) {
        assert!(!poll());
        ledger.on_event(&event(seq, kind));
    }
    assert!(poll());
}

#[test]
fn a_ledger_can_be_used_across_a_caught_panic() {
    fn is_unwind_safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>(_: &T) {}
    is_unwind_safe(&Ledger::new(1));
}
