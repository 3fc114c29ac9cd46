#![doc = include_str!("../README.md")]

mod call;
#[cfg(target_os = "linux")]
pub mod census;
pub mod conformance;
pub mod connector;
pub mod fault;
pub mod fixture;
pub mod gate;
pub mod ledger;

pub use call::{Call, Query};
