//! Whether a server can be started.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pool_core::ConnectError;
use tokio::time::Instant;

/// How the latest starts of a server's children went.
#[derive(Debug, Default)]
pub(crate) struct StartRecord {
    failed_in_a_row: AtomicU64,
    failed_at: Mutex<Option<Instant>>,
}

/// Says in the log that a child did not start, and why.
pub(super) fn tell_failed_start(server: &str, error: &ConnectError) {
    let cause = error.source().map(tracing::field::display);
    tracing::warn!(server, %error, cause, "a child did not start");
}

/// A failure says nothing of the server after this time: no start may have been tried since.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(30);

impl StartRecord {
    pub(crate) fn succeeded(&self) {
        self.failed_in_a_row.store(0, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
        *self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the latest start has failed, a short time ago.
    pub(crate) fn has_just_failed(&self) -> bool {
        let at = *self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.failed_in_a_row() > 0 && at.is_some_and(|at| at.elapsed() < FAILURE_COUNTS_FOR)
    }

    /// How many starts have failed since the last one that did not.
    pub(crate) fn failed_in_a_row(&self) -> u64 {
        self.failed_in_a_row.load(Ordering::Relaxed)
    }
}
