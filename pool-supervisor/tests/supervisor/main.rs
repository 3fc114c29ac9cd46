//! The built program, driven through its pipes.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "the place of a panic shows what is wrong"
)]

mod bad_input;
mod credit;
mod driver;
mod endings;
mod host_end;
mod interleavings;
mod life_line;
mod order;
mod sessions;
