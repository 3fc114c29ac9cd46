//! How a connector starts a child, whatever will be spoken over its pipes.
//!
//! | file | what it decides |
//! |---|---|
//! | `launcher` | which failures to start are permanent, what a start takes at most |
//! | `stdio` | how our ends of the pipes are read, written and given back |

mod launcher;
mod stdio;

pub(crate) use launcher::{LaunchedChild, Launcher, stop_mode};
pub(crate) use stdio::ChildStdio;
