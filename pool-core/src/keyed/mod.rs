//! Pools by key: made on first use, dropped when they are not used.

mod key_meters;
#[cfg(all(test, loom))]
mod key_models;
mod key_table;
#[cfg(all(test, not(loom)))]
mod key_table_model;
#[expect(
    clippy::module_inception,
    reason = "what both kinds of keyed pool have in common"
)]
mod keyed;
mod keyed_builder;
mod keyed_error;
mod keyed_pool;
mod keyed_shared_pool;
mod keyed_status;

pub use keyed_builder::KeyedBuilder;
pub use keyed_error::KeyedAcquireError;
pub use keyed_pool::{KeyHandle, KeyedPool};
pub use keyed_shared_pool::{KeyedSharedPool, SharedKeyHandle};
pub use keyed_status::KeyedStatus;
