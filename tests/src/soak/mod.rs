//! The same thing many times, and counts before and after.
//!
//! This process counts its own children and zombies, its descriptors, its threads, and the tasks of its
//! runtime. If each of a thousand children leaves a little behind, the counts show it.

pub mod cancelled;
mod counts;
pub mod cycles;
pub mod hosts;

pub use counts::Counts;
