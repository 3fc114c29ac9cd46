//! Who gets which connection, and when: all decisions of the pool, as a plain data structure.
//!
//! The store has no lock, clock, await or spawn. Its methods take the time as an argument and return
//! what the caller gets. What is owed to others is collected as [`Effects`]; the code that held the
//! lock takes them with [`Store::take_effects`] and carries them out after unlocking.
//!
//! The type of a connection is `C` here: the store moves connections but never looks at one. How
//! they are lent, to one caller at a time or to many, is `L`, an implementation of [`Lending`].
//!
//! # Fairness
//!
//! Waiters are served in the order of the queue, and no newcomer overtakes: nothing that may be lent
//! is idle while anybody waits. Only a caller whose connection proved dead goes back to its old
//! place, or to the head if it had none, since its turn had come.
//!
//! # Invariants
//!
//! They are numbered as in `docs/invariants.md`. After every critical section of a debug build,
//! [`Store::take_effects`] asserts those that can be seen from inside the store.

mod adaptive;
mod admission;
mod base;
mod checks;
mod control;
mod describe;
mod effects;
mod exclusive;
mod goal_waits;
mod goals;
mod heavy_pause;
mod idle_order;
mod lending;
mod life;
mod limits;
#[cfg(all(test, loom))]
mod models;
mod need;
mod open;
mod pacer;
mod queue;
mod reclaim;
mod renew;
mod renewal;
mod share;
mod slots;
mod spread;
mod supply;
mod sweep;
mod target_leases;
#[cfg(all(test, not(loom)))]
mod tests;
mod vitals_handle;
mod weighable;
mod weight;
mod wheel;

pub(crate) use admission::Turn;
pub(crate) use base::{Store, Totals};
pub(crate) use control::Resized;
pub(crate) use describe::WarmUpTerms;
pub(crate) use effects::{Effects, Errand};
pub use exclusive::Exclusive;
pub(crate) use exclusive::Upkeep;
pub(crate) use goals::{Goal, GoalEnd, GoalKey};
pub use idle_order::IdleOrder;
pub(crate) use lending::Lending;
pub(crate) use life::Condition;
pub(crate) use limits::{Limits, Sharing};
pub(crate) use open::Opening;
pub(crate) use pacer::{FailureRecord, PacerLimits};
pub(crate) use queue::{Deadline, Found, Refusal, WaitEnd, WaitRequest, WaiterKey};
pub use share::Multiplexed;
pub(crate) use share::ShareKey;
pub(crate) use slots::SlotKey;
use slots::State;
pub use target_leases::TargetLeases;
pub(crate) use vitals_handle::VitalsHandle;
pub(crate) use weighable::{Weighable, Weight, WeightReading};
pub(crate) use weight::Weighing;
