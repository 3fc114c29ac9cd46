//! How leases end: clean or not, with or without a runtime, during a panic.

mod anywhere;
mod condition;
mod foreign;
mod leaving;
mod resetting;
