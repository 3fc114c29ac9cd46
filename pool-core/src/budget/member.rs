//! What a budget asks of a pool.

use crate::time::Time;

/// A pool as its budget sees it.
///
/// The budget calls it without a lock.
pub(crate) trait Member: Send + Sync {
    /// Something was granted: the pool must look again.
    fn kick(&self);

    /// When the least recently used idle connection was used that could be reclaimed now.
    fn oldest_idle(&self, now: Time) -> Option<Time>;

    /// How much of its weight is on its way out.
    fn outgoing_weight(&self) -> u64;

    /// Closes idle connections that weigh so much together, the heaviest first. Returns what they weigh.
    fn shed_idle(&self, excess: u64) -> u64;

    /// Has its heaviest connection closed when it is returned. Returns whether it has one.
    fn shed_leased(&self) -> bool;

    /// Closes that connection, if one is still idle and still wanted. Returns whether.
    fn reclaim_idle(&self) -> bool;
}
