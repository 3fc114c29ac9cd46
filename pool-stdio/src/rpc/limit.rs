//! How long a call may take.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Fate, RpcError};
use super::report::RpcReport;

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
    pub(super) fn error(self, report: Arc<RpcReport>, fate: Fate) -> RpcError {
        RpcError::Timeout {
            limit: self.duration,
            pid: report.pid,
            report,
            fate,
        }
    }
}

/// A longer limit is none: adding `Duration::MAX` to a clock overflows.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(60 * 60 * 24 * 365);
