//! How a connector starts a child, whatever will be spoken over its pipes.
//!
//! | file | what it decides |
//! |---|---|
//! | `death` | when a pool is told that a child has died, and why |
//! | `exit_wait` | how long an error waits for the exit that may explain it |
//! | `launcher` | which failures to start are permanent, what a start takes at most |
//! | `stdio` | how our ends of the pipes are read, written and given back |
//! | `vitals` | what a pool can measure and end of a child |

mod death;
mod exit_wait;
mod launcher;
mod stdio;
mod vitals;

pub(crate) use death::died;
#[cfg(test)]
pub(crate) use exit_wait::LEAVING_WAIT;
pub(crate) use exit_wait::{EXIT_WAIT, wait_for_exit};
pub(crate) use launcher::{LaunchedChild, Launcher, stop_mode};
pub(crate) use stdio::ChildStdio;
pub(crate) use vitals::vitals;
