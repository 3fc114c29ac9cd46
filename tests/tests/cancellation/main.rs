//! Cancellation at every await, enumerated: each future of the pool is dropped before its first
//! poll, after each poll, and after each wake before the poll that would follow; in every
//! combination of what the connector's calls may do meanwhile.
//!
//! After each case the pool must recover by itself within its deadlines and close without a trace.
//! The clock is paused, so nothing here waits. A failure prints its case.

mod acquire;
mod close;
mod corpse;
mod lease;
#[path = "../soup/quiet.rs"]
mod quiet;
mod rig;
mod warm_up;
#[path = "../soup/witness.rs"]
mod witness;

use rig::Fate;

/// Fewer cases than this would mean that the acquires no longer wait at all.
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
fn acquire_that_draws_corpses_keeps_its_turn_wherever_it_is_cancelled() {
    assert!(corpse::matrix() >= 50 * 3);
}

#[test]
fn warm_up_cancelled_anywhere_keeps_what_is_open_and_starts_nothing_more() {
    assert!(warm_up::matrix() >= 25 * 2);
}

#[test]
fn close_cancelled_anywhere_goes_on() {
    assert!(close::matrix() >= 2 * 625 * 2);
}

#[test]
fn lease_dropped_anywhere_comes_home() {
    assert_eq!(lease::matrix(), 7 * 7 * 25);
}
