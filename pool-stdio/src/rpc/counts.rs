//! What a connection drops is counted here.

/// How many frames and messages a connection dropped, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcCounts {
    /// Replies to calls that had timed out or been dropped.
    pub late: u64,
    /// Further replies to calls that were answered already, and replies to progress tokens.
    pub duplicate: u64,
    /// Replies with an id that was never used.
    pub unknown: u64,
    /// Frames that are not JSON-RPC messages.
    pub strays: u64,
    /// Progress notifications and notifications of subscriptions that belong to no call, or to one
    /// without a receiver.
    pub unheard: u64,
    /// Cancel notifications and answers to the child for which there was no room, and answers that are
    /// too long because of their id.
    pub unsent: u64,
}
