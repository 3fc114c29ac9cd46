//! What holds for children on every system: on Windows these run under Wine, on Linux as all tests do.

#[cfg(windows)]
mod batch_files;
mod beacons;
mod conforming;
mod connections;
mod ends;
mod held_pipes;
mod rig;
mod starts;
mod trees;
