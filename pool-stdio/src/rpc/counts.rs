//! What a connection counts of what it drops.

/// FrameDecoder that nobody waits for any more, or never did.
///
/// # Examples
///
/// ```
/// use pool_stdio::RpcCounts;
///
/// // As of a connection on which nothing was lost.
/// assert_eq!(RpcCounts::default().late, 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcCounts {
    /// Replies to calls that had timed out or been dropped.
    pub late: u64,
    /// Further replies to calls that were answered, and replies to progress tokens.
    pub duplicate: u64,
    /// Replies with an id that was never given.
    pub unknown: u64,
    /// FrameDecoder that are no JSON-RPC message.
    pub strays: u64,
    /// Progress notifications that concern no call, or one that does not listen.
    pub unheard: u64,
    /// Messages of our own accord, cancel notifications and answers, that found no room, and
    /// answers under an id that makes them too long.
    pub unsent: u64,
}
