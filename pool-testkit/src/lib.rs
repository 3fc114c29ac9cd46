//! pool-testkit

mod call;
pub mod connector;
pub mod fault;
pub mod gate;
pub mod ledger;

pub use call::{Call, Query};
