//! What holds for children on every system: on Windows these run under Wine, on Linux as all tests do.

mod adversaries;
#[cfg(windows)]
mod batch_files;
mod beacons;
mod conforming;
mod connections;
mod ends;
mod held_pipes;
#[cfg(windows)]
mod jobs;
mod limits;
mod rig;
mod starts;
mod trees;
