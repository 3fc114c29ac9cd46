//! How a connector starts a child, whatever will be spoken over its pipes.
//!
//! | file | what it decides |
//! |---|---|
//! | `death` | when a pool is told that a child has died, and why |
//! | `launcher` | which failures to start are permanent, what a start takes at most |
//! | `stdio` | how our ends of the pipes are read, written and given back |
//! | `vitals` | what a pool can measure and end of a child |

mod death;
mod launcher;
mod stdio;
mod vitals;

pub(crate) use death::died;
pub(crate) use launcher::{LaunchedChild, Launcher, stop_mode};
pub(crate) use stdio::ChildStdio;
pub(crate) use vitals::vitals;
