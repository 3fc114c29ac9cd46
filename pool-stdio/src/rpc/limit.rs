//! How long a call may take.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{Fate, RpcError};

/// A duration, and when it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) duration: Duration,
    pub(super) until: Instant,
}

impl Limit {
    /// A limit that begins now.
    pub(super) fn starting_now(duration: Duration) -> Self {
        let until = Instant::now() + duration.min(DURATION_MAX);
        Self { duration, until }
    }

    /// The error of a call that reached this limit.
    pub(super) const fn error(self, pid: u32, fate: Fate) -> RpcError {
        RpcError::Timeout {
            limit: self.duration,
            pid,
            fate,
        }
    }
}

/// A longer limit is none: adding `Duration::MAX` to a clock overflows.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(60 * 60 * 24 * 365);
