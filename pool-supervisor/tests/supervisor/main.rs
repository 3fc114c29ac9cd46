//! The built program, driven through its pipes.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::allow_attributes,
    reason = "the place of a panic shows what is wrong, and a table of cases is long"
)]

mod bad_input;
mod credit;
mod descriptors;
mod driver;
mod endings;
mod host_end;
mod interleavings;
mod life_line;
mod order;
mod programs;
mod sessions;
