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

    /// Closes that connection, if one is still idle and still wanted. Returns whether.
    fn reclaim_idle(&self) -> bool;
}
