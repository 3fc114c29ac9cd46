//! Real children: the fixture program, what it can be told to do wrong, and how a test watches and
//! waits for processes.

mod adversaries;
#[cfg(target_os = "linux")]
mod beacon;
mod crashes;
mod pulse;
#[cfg(target_os = "linux")]
mod stage;
mod trees;
mod wait;

pub use adversaries::{Adversary, Ends, adversaries};
#[cfg(target_os = "linux")]
pub use beacon::{Beacon, Sighting};
pub use crashes::{eager, kill};
pub use pulse::Pulse;
#[cfg(target_os = "linux")]
pub use stage::{Stage, act_if_asked};
pub use trees::{RootEnds, Tree, trees};
#[cfg(unix)]
pub use wait::is_readable_within;
pub use wait::{OUTER_DEADLINE, block_on, poll_times};
