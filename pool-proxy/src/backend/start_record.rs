//! Whether a server can be started, and which starts of session children are under way.
//!
//! Each failed start counts once, where it is seen to fail: by the pool, or, if a session's child does not answer
//! `initialize`, by the task that starts it. A request that gets no child because of earlier failures is no start.
//! Children of sessions that end before a session has them are no failed connects of the pool. If nothing else has
//! failed, they count once, with the request that is told.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pool_core::{Event, EventKind, Observer};
use tokio::time::Instant;

use super::child_era::EraError;

/// How the latest starts of a server's children went.
#[derive(Debug, Default)]
pub(crate) struct StartRecord {
    failed_in_a_row: AtomicU64,
    failed_at: Mutex<Option<Instant>>,
    queued: Arc<AtomicUsize>,
    unanswered: Arc<AtomicUsize>,
}

/// One of those that are counted. Dropping it takes it out of the count.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

/// Counts the starts that the pools of a server see fail, and says in the log why they did.
pub(super) struct FailedStarts {
    pub(super) server: Arc<str>,
    pub(super) starts: Arc<StartRecord>,
}

impl Observer for FailedStarts {
    fn on_event(&self, event: &Event) {
        let EventKind::ConnectFailed { error, .. } = &event.kind else {
            return;
        };
        let cause = error.source();
        // A child of the wrong era has started, but these clients cannot speak to it.
        if !cause.is_some_and(<dyn Error>::is::<EraError>) {
            self.starts.failed();
        }
        let cause = cause.map(tracing::field::display);
        tracing::warn!(server = &*self.server, %error, cause, "a child did not start");
    }
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

    /// A session waits until its child may start.
    pub(crate) fn queued(&self) -> Counted {
        Counted::new(&self.queued)
    }

    /// How many sessions wait until their children may start.
    pub(super) fn waiting(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// A session's child was spawned, and has to answer `initialize`.
    pub(crate) fn spawned(&self) -> Counted {
        Counted::new(&self.unanswered)
    }

    /// How many children of sessions have not answered `initialize` yet.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }
}

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for FailedStarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedStarts")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use pool_core::{ConnectError, ConnectionPool, connector_fn};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failed_start_and_a_child_of_the_wrong_era_is_none() {
        let starts = Arc::new(StartRecord::default());
        for is_era in [true, false] {
            let connector = connector_fn(move |_| async move {
                assert!(is_era, "a bug in a connector");
                Err::<(), _>(ConnectError::permanent(EraError::OnlyModern))
            });
            let pool = ConnectionPool::builder(connector)
                .observer(Arc::new(FailedStarts {
                    server: "one".into(),
                    starts: Arc::clone(&starts),
                }))
                .build()
                .unwrap();
            assert!(pool.acquire().await.is_err());
            assert_eq!(starts.has_just_failed(), !is_era);
        }
    }
}
