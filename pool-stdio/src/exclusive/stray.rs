//! What happens to output that nobody asked for.

/// What happens to output that a child writes while no request is under way, or behind a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StrayPolicy {
    /// The connection is not used again.
    Reject,
    /// Whole frames are dropped and counted before the next request is written. If the output then
    /// ends in the middle of a frame, the connection is rejected: the rest of the frame would be
    /// taken for the reply.
    Discard,
}
