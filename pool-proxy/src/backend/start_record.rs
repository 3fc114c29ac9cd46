//! Whether a server can be started.

use std::sync::atomic::{AtomicU64, Ordering};

/// How the latest starts of a server's children went.
#[derive(Debug, Default)]
pub(crate) struct StartRecord {
    failed_in_a_row: AtomicU64,
}

impl StartRecord {
    pub(crate) fn succeeded(&self) {
        self.failed_in_a_row.store(0, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
    }

    /// How many starts have failed since the last one that did not.
    pub(crate) fn failed_in_a_row(&self) -> u64 {
        self.failed_in_a_row.load(Ordering::Relaxed)
    }
}
