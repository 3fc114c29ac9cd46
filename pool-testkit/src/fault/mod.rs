//! Faults for any connector, drawn from a seed, so that a failure can be replayed.
//!
//! A [`FaultPlan`] says what goes wrong, and a [`FaultyConnector`] does it. Print the plan when a test
//! fails, and set `POOL_TESTKIT_SEED` to its seed to run the same faults again. With a paused clock
//! and a single-threaded runtime, every call then has the same fate. Delays run on Tokio's clock.

mod faulty;
mod odds;
mod plan;
mod random;
mod switch;
#[cfg(test)]
mod tests;

pub use faulty::FaultyConnector;
pub use odds::Odds;
pub use plan::FaultPlan;
pub use switch::FaultSwitch;
