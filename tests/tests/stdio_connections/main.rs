//! Children as connections: of a pool, and against every kind of misbehaviour.
//!
//! Real children live in real time, so nothing here pauses the clock. Every wait is for an event,
//! under one outer deadline, and every test ends with a census.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by where it panics"
)]

#[path = "../common/mod.rs"]
mod common;

mod adversaries;
mod bed;
mod between_calls;
mod chaos;
mod dirty;
mod exchanges;
mod known_faults;
mod meters;
mod one_shot;
mod owed;
mod programs;
mod reuse;
mod start;
mod strays;
mod weights;
