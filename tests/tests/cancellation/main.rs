//! Cancellation at every await. Each future of the pool is dropped before its first poll, after each
//! poll, and after each wake before the next poll. All of that is done in every combination of how the
//! connector's calls end meanwhile.
//!
//! After each case the pool must recover by itself within its deadlines, and close without leftovers.
//! The clock is paused, so nothing here waits. A failure prints its case.

mod acquire;
mod close;
mod dead_connection;
mod lease;
#[path = "../soup/planned_panics.rs"]
mod planned_panics;
mod rig;
#[path = "../soup/traced.rs"]
mod traced;
mod warm_up;

use rig::Fate;

/// Fewer cases than this would mean that the acquires do not wait any more.
const CASES_MIN: usize = 5 * 125 * 2;

#[test]
fn acquire_cancelled_anywhere_loses_nothing_while_connects_succeed() {
    assert!(acquire::matrix(Fate::Ok) >= CASES_MIN);
}

#[test]
fn acquire_cancelled_anywhere_loses_nothing_while_connects_fail() {
    assert!(acquire::matrix(Fate::Error) >= CASES_MIN);
}

#[test]
fn acquire_cancelled_anywhere_loses_nothing_while_connects_are_slow() {
    assert!(acquire::matrix(Fate::Slow) >= CASES_MIN);
}

#[test]
fn acquire_cancelled_anywhere_loses_nothing_while_connects_hang() {
    assert!(acquire::matrix(Fate::Never) >= CASES_MIN);
}

#[test]
fn acquire_cancelled_anywhere_loses_nothing_while_connects_panic() {
    assert!(acquire::matrix(Fate::Panic) >= CASES_MIN);
}

#[test]
fn acquire_that_is_served_dead_connections_keeps_its_turn_wherever_it_is_cancelled() {
    assert!(dead_connection::matrix() >= 50 * 3);
}

#[test]
fn warm_up_cancelled_anywhere_keeps_what_is_open_and_starts_nothing_more() {
    assert!(warm_up::matrix() >= 25 * 2);
}

#[test]
fn close_cancelled_anywhere_continues() {
    assert!(close::matrix() >= 2 * 625 * 2);
}

#[test]
fn lease_dropped_in_any_state_of_the_pool_is_returned_or_closed_as_it_should() {
    assert_eq!(lease::matrix(), 7 * 7 * 25);
}
