//! pool-testkit

mod call;
pub mod connector;
pub mod fault;
pub mod gate;

pub use call::{Call, Query};
