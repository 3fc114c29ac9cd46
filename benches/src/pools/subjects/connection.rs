//! The connection that all pools lend, and what a pool answers instead of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A connection that does nothing. Its factory knows how many are open.
#[derive(Debug)]
pub(in crate::pools) struct Connection {
    counts: Arc<Counts>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens connections and counts them, so that nobody has to trust a pool's own count.
#[derive(Debug, Clone, Default)]
pub(in crate::pools) struct Factory {
    counts: Arc<Counts>,
}

impl Factory {
    /// Opens a connection after the connect time that is set.
    pub(in crate::pools) async fn connect(&self) -> Connection {
        let delay_ns = self.counts.connect_time_ns.load(Ordering::Relaxed);
        if delay_ns > 0 {
            tokio::time::sleep(Duration::from_nanos(delay_ns)).await;
        }
        self.connect_now()
    }

    /// Opens a connection at once.
    #[must_use]
    pub(in crate::pools) fn connect_now(&self) -> Connection {
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        Connection {
            counts: Arc::clone(&self.counts),
        }
    }

    /// Sets how long each later connect takes. It is zero at first.
    pub(in crate::pools) fn set_connect_time(&self, time: Duration) {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts
            .connect_time_ns
            .store(time_ns, Ordering::Relaxed);
    }

    /// How many connections were opened in all.
    #[must_use]
    pub(in crate::pools) fn opened(&self) -> usize {
        self.counts.opened.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    #[must_use]
    pub(in crate::pools) fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counts {
    connect_time_ns: AtomicU64,
    opened: AtomicUsize,
    open: AtomicUsize,
}

/// What a pool answered instead of lending a connection.
///
/// It becomes text only if it is printed: a scenario in which callers give up would measure the
/// formatting of errors otherwise.
#[derive(Debug, Clone)]
pub(in crate::pools) struct Refused(Arc<dyn fmt::Debug + Send + Sync>);

impl Refused {
    /// Wraps the error of any pool. Marked cold to keep it off the hot path.
    #[cold]
    pub(in crate::pools) fn new(error: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection was lent: {:?}", self.0)
    }
}

impl std::error::Error for Refused {}
