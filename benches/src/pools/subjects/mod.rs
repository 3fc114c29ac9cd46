//! The pools, each behind the same face, each with its default configuration apart from the size.
//!
//! All of them lend the same [`Connection`], which does nothing: what is measured is the pool.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::pools::contender::Contender;

pub mod bb8;
pub mod deadpool;
pub mod fastpool;
pub mod mobc;
pub mod ours;
pub mod r2d2;
pub mod semaphore;

/// All subjects, in the order of the tables.
#[must_use]
pub fn contenders() -> Vec<Contender> {
    vec![
        Contender::asynchronous::<ours::Subject>(),
        Contender::asynchronous::<bb8::Subject>(),
        Contender::asynchronous::<deadpool::Subject>(),
        Contender::asynchronous::<fastpool::Subject>(),
        Contender::asynchronous::<mobc::Subject>(),
        Contender::blocking::<r2d2::Subject>(),
        Contender::asynchronous::<semaphore::Subject>(),
    ]
}

/// An asynchronous pool under test.
pub trait AsyncSubject: Clone + Send + Sync + 'static {
    /// Its name in the tables.
    const NAME: &'static str;
    /// What it is compared as.
    const ROLE: Role;

    /// A connection on loan; dropping it gives it back.
    type Lease<'a>: Send
    where
        Self: 'a;

    /// Builds a pool of at most `size` connections on the current runtime.
    fn build(size: usize, factory: Factory) -> impl Future<Output = Self> + Send;

    /// Borrows a connection, waiting for one if need be.
    ///
    /// # Errors
    ///
    /// What the pool answers instead of a connection, its own timeout above all.
    fn acquire(&self) -> impl Future<Output = Result<Self::Lease<'_>, Refused>> + Send;
}

/// A pool under test whose callers are threads that block.
pub trait BlockingSubject: Clone + Send + Sync + 'static {
    /// Its name in the tables.
    const NAME: &'static str;

    /// A connection on loan; dropping it gives it back.
    type Lease;

    /// Builds a pool of at most `size` connections.
    fn build(size: usize, factory: Factory) -> Self;

    /// Borrows a connection, blocking the thread until there is one.
    ///
    /// # Errors
    ///
    /// What the pool answers instead of a connection.
    fn acquire(&self) -> Result<Self::Lease, Refused>;
}

/// What a subject is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The pool of this workspace, which the bars are about.
    Ours,
    /// An asynchronous pool of somebody else, which serves its waiters in this order.
    Peer(Order),
    /// A pool for blocking threads: shown, not ranked, since it waits in another way.
    Blocking,
    /// No pool, but the least that any pool must do.
    Baseline,
}

/// The order in which a pool serves its waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Who came first is served first.
    Fifo,
    /// Who comes later may go first, which makes most waits short and a few very long.
    Barging,
}

/// A connection that does nothing, except that its factory knows how many are open.
#[derive(Debug)]
pub struct Connection {
    counts: Arc<Counts>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens connections and counts them, so that no pool's own count has to be trusted.
#[derive(Debug, Clone, Default)]
pub struct Factory {
    counts: Arc<Counts>,
}

impl Factory {
    /// Opens a connection after the present connect time.
    pub async fn connect(&self) -> Connection {
        let delay_ns = self.counts.connect_time_ns.load(Ordering::Relaxed);
        if delay_ns > 0 {
            tokio::time::sleep(Duration::from_nanos(delay_ns)).await;
        }
        self.connect_now()
    }

    /// Opens a connection at once.
    #[must_use]
    pub fn connect_now(&self) -> Connection {
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        Connection {
            counts: Arc::clone(&self.counts),
        }
    }

    /// Makes every later connect take this long; zero at first.
    pub fn set_connect_time(&self, time: Duration) {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts
            .connect_time_ns
            .store(time_ns, Ordering::Relaxed);
    }

    /// How many connections were opened in all.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.counts.opened.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counts {
    connect_time_ns: AtomicU64,
    opened: AtomicUsize,
    open: AtomicUsize,
}

/// What a pool said instead of lending a connection.
#[derive(Debug, Clone)]
pub struct Refused(String);

impl Refused {
    /// Wraps the error of any pool. Out of line, so that it does not weigh on the hot path.
    #[cold]
    pub fn new(error: impl fmt::Debug) -> Self {
        Self(format!("{error:?}"))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection was lent: {}", self.0)
    }
}

impl std::error::Error for Refused {}
