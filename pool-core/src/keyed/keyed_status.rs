//! What a keyed pool reports about itself.

use crate::status::PoolStatus;

/// The keys of a keyed pool, and their pools together.
///
/// The pools are looked at one after the other, so the sum is not one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStatus {
    /// How many keys have a pool.
    pub keys: usize,
    /// How many there may be.
    pub max_keys: usize,
    /// How many of them have a lease or a waiter.
    pub keys_at_work: usize,
    /// How many dropped keys still have connections that are being closed. They are part of `total`.
    pub keys_closing: usize,
    /// The sum of all pools. `is_closed` is that of the keyed pool.
    pub total: PoolStatus,
}
