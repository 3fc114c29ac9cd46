//! Real children: the fixture program, what it can be told to do wrong, and how a test watches and
//! waits for processes.

mod adversaries;
mod beacon;
mod pulse;
mod stage;
mod trees;
mod wait;

pub use adversaries::{Adversary, Ends, adversaries};
pub use beacon::{Beacon, Sighting};
pub use pulse::Pulse;
pub use stage::{Stage, act_if_asked, eager, kill};
pub use trees::{RootEnds, Tree, trees};
pub use wait::{OUTER_DEADLINE, block_on, is_readable_within, poll_times};
