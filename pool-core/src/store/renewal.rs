//! How far a rolling replacement of all connections is. What it does next is decided in `renew`.

use std::time::Duration;

use crate::id::ConnectionId;
use crate::store::GoalKey;
use crate::time::Time;

/// A rolling replacement under way.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) goal: GoalKey,
    /// All from this number on are new.
    pub(super) first_new: ConnectionId,
    /// The time between two evictions.
    pub(super) step: Duration,
    pub(super) next_at: Time,
    pub(super) deadline: Time,
    /// New connections that passed their check.
    pub(super) proofs: usize,
    pub(super) replaced: usize,
    /// The budget had no room for the next new connection.
    pub(super) is_unbudgeted: bool,
    /// The one that was evicted last.
    pub(super) last: Option<ConnectionId>,
}
