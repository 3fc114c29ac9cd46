//! What becomes of output that nobody asked for.

/// What becomes of output that a child writes while nothing was asked of it, or behind its reply.
///
/// What has arrived before a request is written is never taken for its reply. Nothing can tell what
/// arrives later from the reply itself: a child that speaks unasked for long, or that answers
/// twice, needs a protocol with ids.
///
/// # Examples
///
/// ```
/// use pool_stdio::StrayPolicy;
///
/// assert_eq!(StrayPolicy::default(), StrayPolicy::Reject);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StrayPolicy {
    /// The connection is not used again: it may be out of step, and its next reply may belong to
    /// nobody. The default. A pool replaces the child.
    #[default]
    Reject,
    /// Whole frames are thrown away and counted, before the next request is written. What is not a
    /// whole frame by then is rejected: nobody knows where it ends.
    Discard,
}
