//! Tests of the store alone: no runtime, no clock, no sleep.

mod adaptive;
mod against_model;
mod cases;
mod failures;
mod model;
mod shares;
