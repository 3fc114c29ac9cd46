//! Tests of the store alone: no runtime, no clock, no sleep.

mod against_model;
mod cases;
mod failures;
mod learning;
mod model;
mod shares;
mod weights_model;
