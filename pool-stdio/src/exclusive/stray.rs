//! What happens to output that nobody asked for.

/// What happens to output that a child writes while no request is under way, or behind a reply.
///
/// Output that arrived before a request was written is never taken for the reply. Output that
/// arrives later cannot be told from the reply: a child that often writes unasked, or that answers
/// twice, needs a protocol with ids.
///
/// Set with [`StdioConnector::stray_output`](crate::StdioConnector::stray_output).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StrayPolicy {
    /// The connection is not used again: it may be out of step with its child, and then the next
    /// reply would be the wrong one. The default. A pool replaces the child.
    #[default]
    Reject,
    /// Whole frames are dropped and counted before the next request is written. If the output then
    /// ends in the middle of a frame, the connection is rejected: the rest of the frame would be
    /// taken for the reply.
    Discard,
}
