//! What a connector is told of the protocol: when a reply is whole, what to do with strays.

use std::fmt;
use std::sync::Arc;

use super::quiet_token::QuietToken;
use crate::codec::{Codec, FRAME_BYTES_MAX_DEFAULT};

/// What the connections of one connector have in common.
pub(super) struct ExchangeSettings<C: Codec> {
    pub(super) strays: StrayPolicy,
    pub(super) reply_bytes_max: usize,
    /// Whether a frame is the last one of a reply. If `None`, the caller says it.
    pub(super) is_last: Option<Arc<IsLast<C::Item>>>,
    pub(super) quiet_token: Option<Arc<QuietToken<C>>>,
}

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

type IsLast<I> = dyn Fn(&I) -> bool + Send + Sync;

impl<C: Codec> Default for ExchangeSettings<C> {
    fn default() -> Self {
        Self {
            strays: StrayPolicy::Reject,
            reply_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            is_last: None,
            quiet_token: None,
        }
    }
}

impl<C: Codec> Clone for ExchangeSettings<C> {
    fn clone(&self) -> Self {
        Self {
            strays: self.strays,
            reply_bytes_max: self.reply_bytes_max,
            is_last: self.is_last.clone(),
            quiet_token: self.quiet_token.clone(),
        }
    }
}

impl<C: Codec> fmt::Debug for ExchangeSettings<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeSettings")
            .field("strays", &self.strays)
            .field("reply_bytes_max", &self.reply_bytes_max)
            .field("has_quiet_token", &self.quiet_token.is_some())
            .finish_non_exhaustive()
    }
}
