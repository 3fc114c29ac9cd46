//! Real children: the fixture program, what it can be told to do wrong, and how a test watches and
//! waits for processes.

mod adversaries;
#[cfg(target_os = "linux")]
mod beacon;
#[cfg(target_os = "linux")]
mod pulse;
#[cfg(target_os = "linux")]
mod stage;
mod trees;
#[cfg(target_os = "linux")]
mod wait;

pub use adversaries::{Adversary, Ends, adversaries};
#[cfg(target_os = "linux")]
pub use beacon::{Beacon, Sighting};
#[cfg(target_os = "linux")]
pub use pulse::Pulse;
#[cfg(target_os = "linux")]
pub use stage::{Stage, act_if_asked, eager, kill};
pub use trees::{RootEnds, Tree, trees};
#[cfg(target_os = "linux")]
pub use wait::{OUTER_DEADLINE, block_on, is_readable_within, poll_times};
