//! Tests of the store alone: no runtime, no clock, no sleep.

mod against_model;
mod cases;
mod describing;
mod failures;
mod learning;
mod model;
mod owed;
mod records;
mod renewals;
mod shares;
mod waiters;
mod weighing;
mod weights_model;
