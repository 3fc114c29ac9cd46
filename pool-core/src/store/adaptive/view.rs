//! What the learner is told about the pool.

use crate::time::Time;

/// What a tick sees of the pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolView {
    pub(crate) now: Time,
    /// The connections that leases are spread over.
    pub(crate) spread: usize,
    /// So many there may be.
    pub(crate) spread_max: usize,
    /// The leases that are out and not held for long.
    pub(crate) load: u32,
    /// Connections are being opened or replaced: nothing can be compared.
    pub(crate) is_changing: bool,
}
