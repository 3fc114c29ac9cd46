//! Pools whose connections serve many callers at once.
//!
//! It is the engine of an exclusive pool with another way to lend: the same store, maintenance and
//! queue. It pools `Arc`s. One stays in the store as long as the connection is open; each
//! lease and each check has another, and drops it before the store learns that it is over. So the
//! last one is the store's, and `close` gets the connection itself.

mod acquire;
mod connector;
mod lease;
mod pool;
mod share;

pub(crate) use acquire::AcquireShared;
pub use connector::SharedConnector;
pub use lease::SharedLease;
pub use pool::SharedPool;
#[cfg(all(test, loom))]
pub(crate) use share::Share;
