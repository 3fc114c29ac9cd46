//! Faults for any connector, drawn from a seed, so that a failure can be replayed.
//!
//! A [`FaultPlan`] says what goes wrong, a [`FaultyConnector`] carries it out. Print the plan when
//! a test fails, and set `POOL_TESTKIT_SEED` to its seed to run the same again: with a paused
//! clock and a single-threaded runtime every call then meets the same fate. Delays run on Tokio's
//! clock.

mod connector;
mod plan;
mod random;
#[cfg(test)]
mod tests;

pub use connector::{FaultSwitch, FaultyConnector};
pub use plan::{CallFault, Deed, FaultPlan, Odds, QueryFault, SEED_VARIABLE};
pub use random::SplitMix64;
