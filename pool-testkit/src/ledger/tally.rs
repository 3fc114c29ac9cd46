//! The numbers of a pool according to its events.

use pool_core::{ConnectionId, EventKind};

/// How many there are of everything now, and how many there were in all, according to the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LedgerCounts {
    /// Connects in flight.
    pub opening: usize,
    /// Idle connections.
    pub idle: usize,
    /// Leased connections.
    pub leased: usize,
    /// Connections being checked.
    pub checking: usize,
    /// Connections being reset.
    pub resetting: usize,
    /// Connections being closed, without those that are stuck.
    pub closing: usize,
    /// Connections whose close outlasted its deadline.
    pub stuck: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// The most slots that were in use together.
    pub slots_peak: usize,
    /// Connects that began.
    pub connects: usize,
    /// Connects that failed or were dropped.
    pub connects_failed: usize,
    /// Connections that were opened.
    pub opened: usize,
    /// Connections that were closed.
    pub closed: usize,
    /// Connections that were detached.
    pub detached: usize,
    /// Leases that began.
    pub leases: usize,
    /// Whether the pool began to close.
    pub is_closing: bool,
    /// Whether the last slot of a closing pool was freed.
    pub is_closed: bool,
}

/// The connection an event is about.
pub(super) const fn connection_of(kind: &EventKind) -> Option<ConnectionId> {
    match kind {
        EventKind::Opening { id }
        | EventKind::Opened { id }
        | EventKind::ConnectFailed { id, .. }
        | EventKind::ConnectAborted { id }
        | EventKind::Leased { id, .. }
        | EventKind::Returned { id }
        | EventKind::Resetting { id }
        | EventKind::ResetFailed { id, .. }
        | EventKind::Checking { id }
        | EventKind::Checked { id }
        | EventKind::CheckFailed { id, .. }
        | EventKind::Died { id }
        | EventKind::Discarded { id }
        | EventKind::Expired { id }
        | EventKind::Closing { id, .. }
        | EventKind::Stuck { id, .. }
        | EventKind::Closed { id, .. }
        | EventKind::Detached { id }
        | EventKind::LeaseOverdue { id, .. }
        | EventKind::OverdueLeaseReturned { id, .. } => Some(*id),
        EventKind::Queued { .. }
        | EventKind::Requeued { .. }
        | EventKind::TimedOut { .. }
        | EventKind::Cancelled { .. }
        | EventKind::Refused { .. }
        | EventKind::Resized { .. }
        | EventKind::PoolClosing
        | EventKind::PoolClosed
        | _ => None,
    }
}
