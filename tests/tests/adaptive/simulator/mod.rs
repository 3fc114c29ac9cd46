//! Shared pools under simulated load, on a paused clock: what a pool with this target makes of peers of
//! every kind.
//!
//! The pool is the real one. What is simulated are the peers, whose requests only take time, and the
//! callers. A run is deterministic: its only randomness comes from its seed.

mod callers;
mod peer;
mod picture;
mod random;
mod run;
mod trace;

pub(crate) use callers::Callers;
pub(crate) use peer::{Peer, Service};
pub(crate) use picture::picture;
pub(crate) use run::Scenario;
pub(crate) use trace::Trace;
