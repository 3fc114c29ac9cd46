//! A pool over a fake, with a ledger and a watchdog: the start of most tests, and the checks at their
//! end.

use std::fmt;
use std::pin::Pin;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use pool_core::{
    AcquireError, Builder, CloseReason, ConnectionId, ConnectionPool, PooledConnection,
};
use pool_testkit::Query;
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_testkit::ledger::Ledger;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::task::coop::{Unconstrained, unconstrained};

/// A pool of fakes.
pub type Pool = ConnectionPool<FakeConnection>;

/// A lease of a fake.
pub type Lease = PooledConnection<FakeConnection>;

/// The outcome of an acquire of a fake.
pub type Acquired = Result<Lease, AcquireError>;

/// Every query that a pool makes about a returned connection.
pub const QUERIES: [Query; 3] = [Query::IsAlive, Query::IsClean, Query::NeedsReset];

/// A second.
pub const SECOND: Duration = Duration::from_secs(1);

/// A minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// How far the pool's coarse clock may be behind.
pub const TICK: Duration = Duration::from_millis(100);

/// A pool over a fake, and what a test needs to watch it.
#[derive(Debug)]
pub struct Bed {
    /// The pool.
    pub pool: Pool,
    /// The test's end of the fake.
    pub fake: FakeHandle,
    /// The ledger, which checks every event.
    pub ledger: Ledger,
    limit: usize,
    _watchdog: Watchdog,
}

impl Bed {
    /// A pool with this `max_size` and otherwise default settings.
    #[must_use]
    pub fn new(max_size: usize) -> Self {
        Self::with(max_size, |builder| builder)
    }

    /// A pool with this `max_size` and the settings that `tune` makes.
    ///
    /// # Panics
    ///
    /// Panics if the settings are not valid.
    #[must_use]
    pub fn with(
        max_size: usize,
        tune: impl FnOnce(Builder<FakeConnection>) -> Builder<FakeConnection>,
    ) -> Self {
        let (connector, fake) = pair();
        let ledger = Ledger::new(max_size);
        let builder = ConnectionPool::builder(connector)
            .max_size(max_size)
            .observer(Arc::new(ledger.clone()));
        let pool = tune(builder).build().expect("the settings are valid");
        Self {
            pool,
            fake,
            ledger,
            limit: max_size,
            _watchdog: Watchdog::start(),
        }
    }

    /// Acquires a connection.
    ///
    /// # Panics
    ///
    /// Panics if the acquire fails.
    pub async fn lease(&self) -> Lease {
        self.pool
            .acquire()
            .await
            .expect("a connection can be opened")
    }

    /// Acquires several connections and holds them all.
    ///
    /// # Panics
    ///
    /// Panics if an acquire fails.
    pub async fn leases(&self, count: usize) -> Vec<Lease> {
        let mut leases = Vec::new();
        for _ in 0..count {
            leases.push(self.lease().await);
        }
        leases
    }

    /// Makes this many idle connections, and returns their ids. The first was used last.
    pub async fn idle(&self, count: usize) -> Vec<ConnectionId> {
        let leases = self.leases(count).await;
        let ids = leases.iter().map(PooledConnection::id).collect();
        leases.into_iter().rev().for_each(drop);
        ids
    }

    /// Lets the check interval pass, and has the pool check its only idle connection, for a caller that
    /// gives up.
    pub async fn begin_check(&self, interval: Duration) {
        pass(interval + 2 * TICK).await;
        drop(HandPolled::new(self.pool.acquire()).poll());
    }

    /// An acquire in a task of its own.
    pub fn acquirer(&self) -> JoinHandle<Acquired> {
        let pool = self.pool.clone();
        start(async move { pool.acquire().await })
    }

    /// Why connections were closed, in the order in which their closes began.
    #[must_use]
    pub fn reasons(&self) -> Vec<CloseReason> {
        let closes = self.fake.closes();
        closes.into_iter().map(|(_, reason)| reason).collect()
    }

    /// Closes the pool, and checks that nothing is left of it and no rule was broken.
    ///
    /// # Panics
    ///
    /// Panics with what is left or broken.
    pub async fn finish(self) {
        let limit = self.limit;
        self.finish_with(limit, 0).await;
    }

    /// As [`finish`](Self::finish), with the largest limit that the pool had, and the number of
    /// connections that were rightly dropped without a close.
    ///
    /// # Panics
    ///
    /// Panics with what is left or broken.
    pub async fn finish_with(self, limit: usize, dropped_unclosed: usize) {
        let report = self.pool.close(MINUTE).await;
        assert!(report.is_complete(), "the close left something: {report:?}");
        assert_clean(&self.ledger, &self.fake, limit, dropped_unclosed).await;
    }
}

/// Checks that nothing is left of a closed pool and no rule was broken.
///
/// # Panics
///
/// Panics with what is left or broken.
pub async fn assert_clean(
    ledger: &Ledger,
    fake: &FakeHandle,
    limit: usize,
    dropped_unclosed: usize,
) {
    ledger.assert_settled();
    let counts = fake.until(|counts| counts.watchers == 0).await;
    assert_eq!(counts.alive, 0, "connections are left: {:?}", fake.alive());
    // A close that panics drops its connection.
    let expected = dropped_unclosed + counts.close.panicked;
    assert_eq!(counts.dropped_unclosed, expected, "dropped, not closed");
    assert!(
        counts.occupied_peak <= limit,
        "{} of {limit} were in use together",
        counts.occupied_peak
    );
    let running = [counts.connect, counts.reset, counts.check, counts.close];
    assert!(
        running.iter().all(|calls| calls.running() == 0),
        "calls are left: {counts:?}"
    );
}

/// Starts a task on the present runtime.
pub fn start<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    Handle::current().spawn(future)
}

/// Lets time pass on a paused clock. Everything that is due by then has happened afterwards.
pub async fn pass(time: Duration) {
    // One more millisecond, since what is due at the same moment can run after this sleep.
    tokio::time::sleep(time + LEAST).await;
}

/// Lets everything happen that needs no time.
pub async fn quiesce() {
    pass(Duration::ZERO).await;
}

/// The resolution of the clock.
const LEAST: Duration = Duration::from_millis(1);

/// A future that the test polls by hand, with a waker that only counts.
pub struct HandPolled<F> {
    future: Pin<Box<Unconstrained<F>>>,
    wakes: Arc<Wakes>,
}

#[derive(Debug, Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F> fmt::Debug for HandPolled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandPolled")
            .field("wakes", &self.wakes)
            .finish_non_exhaustive()
    }
}

impl<F: Future> HandPolled<F> {
    /// Not polled yet.
    pub fn new(future: F) -> Self {
        Self {
            future: Box::pin(unconstrained(future)),
            wakes: Arc::default(),
        }
    }

    /// Polled once.
    ///
    /// # Panics
    ///
    /// Panics if the future completed.
    #[must_use]
    pub fn waiting(future: F) -> Self {
        let mut held = Self::new(future);
        assert!(held.poll().is_pending(), "it completed at its first poll");
        held
    }

    /// Polls it.
    pub fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls it, and expects that it completes.
    ///
    /// # Panics
    ///
    /// Panics if it is pending.
    pub fn ready(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it is still pending"),
        }
    }

    /// Waits for it.
    pub async fn finish(self) -> F::Output {
        self.future.await
    }

    /// How often it was woken.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }
}

/// The outer deadline of a test, in real time. Aborts the process if it is not dropped by then.
#[derive(Debug)]
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts the deadline.
    #[must_use]
    pub fn start() -> Self {
        let (alive, ended) = mpsc::channel::<()>();
        let name = thread::current().name().unwrap_or("a test").to_owned();
        drop(thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                fail(&name);
            }
        }));
        Self { _alive: alive }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the process aborts here, and the output must say why"
)]
fn fail(name: &str) {
    eprintln!("{name} did not end within {LIMIT:?}");
    process::abort();
}

const LIMIT: Duration = Duration::from_secs(120);
