//! Tests of the store alone: no runtime, no clock, no sleep.

mod adaptive;
mod against_model;
mod cases;
mod model;
mod shares;
