//! One small pool on a paused clock. The case decides how each call of its connector ends.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pool_core::{AcquireError, ConnectionId, ConnectionPool, PooledConnection, TryAcquireError};
use pool_testkit::connector::{Answer, FakeConnection, FakeHandle, QueryAnswer, pair};
use pool_testkit::ledger::{Ledger, LedgerCounts};
use pool_testkit::{Call, Query};
use pool_tests::bed::{HandPolled, TICK};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::planned_panics::{silence_planned_panics, text_of};
use crate::traced::TracedConnector;

pub(crate) type Pool = ConnectionPool<FakeConnection>;
pub(crate) type Lease = PooledConnection<FakeConnection>;

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Ok,
    Error,
    Slow,
    Never,
    Panic,
}

impl Fate {
    pub(crate) const ALL: [Self; 5] = [Self::Ok, Self::Error, Self::Slow, Self::Never, Self::Panic];

    const fn answer(self) -> Answer {
        match self {
            Self::Ok => Answer::Ok,
            Self::Error => Answer::Transient,
            Self::Slow => Answer::After(SLOW),
            Self::Never => Answer::Never,
            Self::Panic => Answer::Panic,
        }
    }
}

/// Whether connections live, and what `is_alive` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    /// `is_alive` is false for every connection.
    Dead,
    /// `is_alive` panics for every connection.
    Panic,
    /// All connections die each time the acquire was woken, and `died` resolves.
    Killed,
    /// The same, but `died` does not resolve.
    KilledSilently,
}

impl Life {
    pub(crate) const ALL: [Self; 5] = [
        Self::Alive,
        Self::Dead,
        Self::Panic,
        Self::Killed,
        Self::KilledSilently,
    ];

    const fn answer(self) -> QueryAnswer {
        match self {
            Self::Alive | Self::Killed | Self::KilledSilently => QueryAnswer::Truth,
            Self::Dead => QueryAnswer::No,
            Self::Panic => QueryAnswer::Panic,
        }
    }
}

pub(crate) struct Rig {
    pub(crate) fake: FakeHandle,
    pub(crate) ledger: Ledger,
    max_size: usize,
    connector: Weak<()>,
    /// `is_alive` says that all are dead, so nothing may be lent.
    all_seem_dead: AtomicBool,
}

/// Runs one case in its own runtime, drops the runtime, and looks for what is left. If the case fails,
/// the panic names it.
pub(crate) fn in_case<R>(
    case: impl Debug,
    max_size: usize,
    body: impl AsyncFnOnce(Arc<Rig>, Pool) -> R,
) -> R {
    silence_planned_panics();
    let run = || {
        let runtime = paused();
        let (rig, pool) = runtime.block_on(async { Rig::new(max_size) });
        let ended = runtime.block_on(async { timeout(OUTER, body(Arc::clone(&rig), pool)).await });
        drop(runtime);
        rig.assert_nothing_left();
        ended.expect("the case ends long before an hour of the paused clock is over")
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(payload) => panic!("{}\nin the case {case:?}", text_of(&*payload)),
    }
}

fn paused() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs no descriptors")
}

impl Rig {
    fn new(max_size: usize) -> (Arc<Self>, Pool) {
        let (connector, fake) = pair();
        let (connector, end) = TracedConnector::new(connector);
        let ledger = Ledger::new(max_size);
        let pool = ConnectionPool::builder(connector)
            .max_size(max_size)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_timeout(Duration::from_millis(40))
            .check_interval(CHECK_INTERVAL)
            .check_timeout(Duration::from_millis(30))
            .reset_timeout(Duration::from_millis(30))
            .close_timeout(Duration::from_millis(20))
            .retry_delay(Duration::from_millis(10), Duration::from_millis(40))
            .min_uptime(Duration::from_millis(1))
            .fail_fast_after(4)
            .observer(Arc::new(ledger.clone()))
            .build();
        let rig = Self {
            fake,
            ledger,
            max_size,
            connector: end,
            all_seem_dead: AtomicBool::new(false),
        };
        (Arc::new(rig), pool.expect("the settings are valid"))
    }

    /// Every call of this method ends like this from here on.
    pub(crate) fn doom(&self, call: Call, fate: Fate) {
        self.fake.set(call, fate.answer());
    }

    pub(crate) fn doom_life(&self, life: Life) {
        let all_seem_dead = life.answer() != QueryAnswer::Truth;
        self.all_seem_dead.store(all_seem_dead, Ordering::Relaxed);
        self.fake.set_query(Query::IsAlive, life.answer());
    }

    /// Kills all connections, in the cases in which they die when the acquire was woken.
    pub(crate) fn strike(&self, life: Life) {
        let killed: fn(&FakeHandle, ConnectionId) -> bool = match life {
            Life::Killed => FakeHandle::kill,
            Life::KilledSilently => FakeHandle::kill_silently,
            Life::Alive | Life::Dead | Life::Panic => return,
        };
        for id in self.fake.alive() {
            assert!(killed(&self.fake, id), "it was there a moment ago");
        }
    }

    /// Later calls succeed. Calls that hang go on hanging.
    pub(crate) fn end_all_faults(&self) {
        for call in [Call::Connect, Call::Reset, Call::Check, Call::Close] {
            self.doom(call, Fate::Ok);
        }
        self.doom_life(Life::Alive);
    }

    /// Takes `max_size` leases, before any fault.
    pub(crate) async fn lend_all(&self, pool: &Pool) -> Vec<Lease> {
        let mut leases = Vec::new();
        for _ in 0..self.max_size {
            leases.push(
                pool.acquire()
                    .await
                    .expect("nothing fails before the faults begin"),
            );
        }
        leases
    }

    /// Waits until an idle connection is being checked, in the background or for a caller that gives up.
    pub(crate) async fn begin_check(&self, pool: &Pool) {
        sleep(CHECK_INTERVAL + 2 * TICK).await;
        drop(HandPolled::new(pool.acquire()).poll());
        self.fake.until(|counts| counts.check.started >= 1).await;
    }

    /// Checks the outcome of an acquire, and returns its lease after a moment. Says whether there was a
    /// lease.
    pub(crate) async fn finish(&self, result: Result<Lease, AcquireError>) -> bool {
        match result {
            Ok(lease) => {
                self.receive(&lease);
                yield_now().await;
                drop(lease);
                true
            }
            Err(AcquireError::Overloaded { .. }) => panic!("the queue is far from full"),
            Err(_) => false,
        }
    }

    fn receive(&self, lease: &Lease) {
        let seem_dead = self.all_seem_dead.load(Ordering::Relaxed);
        assert!(
            !seem_dead,
            "invariant 2 broken: {} was lent dead",
            PooledConnection::id(lease)
        );
        assert!(lease.is_alive());
    }

    /// After the faults: within the deadlines every call ends, and the whole capacity but the stuck slots
    /// can be lent again.
    pub(crate) async fn recovers(&self, pool: &Pool) {
        self.at_rest(pool).await;
        let stuck = self.fake.counts().close.running();
        assert_eq!(pool.status().stuck, stuck);

        let full = self.max_size - stuck;
        let mut leases = Vec::new();
        while leases.len() < full {
            match pool.acquire().await {
                Ok(lease) => leases.push(lease),
                Err(AcquireError::Unavailable { retry_after, .. }) => sleep(retry_after).await,
                Err(error) => panic!("invariant 7 broken, {} of {full}: {error}", leases.len()),
            }
        }
        leases.iter().for_each(|lease| self.receive(lease));
        let status = pool.status();
        assert_eq!(
            (status.leased, status.size(), status.waiting),
            (full, self.max_size, 0)
        );
        assert!(matches!(
            pool.try_acquire(),
            Err(TryAcquireError::Empty { .. })
        ));
        let more = pool.acquire_within(Duration::from_millis(1)).await;
        assert!(
            matches!(more, Err(AcquireError::Timeout { .. })),
            "{more:?}"
        );
    }

    /// Every call ends within the deadlines.
    pub(crate) async fn at_rest(&self, pool: &Pool) {
        let at_rest = |counts: &LedgerCounts| {
            let moving = counts.opening + counts.checking + counts.resetting + counts.closing;
            moving + counts.leased + counts.waiting == 0
        };
        let settled = timeout(DEADLINES, self.ledger.until(at_rest)).await;
        assert!(settled.is_ok(), "not at rest: {}", pool.status());
    }

    /// Waits until every call has ended or passed its deadline.
    pub(crate) async fn after_a_while(&self) {
        sleep(DEADLINES).await;
    }

    /// After the last handle was dropped: everything but the stuck connections is closed.
    pub(crate) async fn closed_by_itself(&self) {
        sleep(DEADLINES).await;
        let counts = self.ledger.counts();
        let stuck = self.fake.counts().close.running();
        assert!(counts.is_closing);
        assert_eq!((counts.stuck, self.fake.counts().alive), (stuck, stuck));
        assert_eq!(counts.is_closed, stuck == 0);
    }

    /// After the faults: a close leaves nothing but the stuck connections, and reports them.
    pub(crate) async fn closes(&self, pool: &Pool) {
        let report = pool.close(DEADLINES).await;
        let stuck = self.fake.counts().close.running();
        assert_eq!(
            (report.still_leased, report.closing, report.stuck),
            (0, 0, stuck)
        );
        assert_eq!(report.is_complete(), stuck == 0);
        let status = pool.status();
        assert_eq!(
            (status.size(), status.waiting, status.is_closed),
            (stuck, 0, true)
        );
        assert!(matches!(
            pool.try_acquire(),
            Err(TryAcquireError::Closed { .. })
        ));
        let counts = self.fake.counts();
        assert_eq!(
            (counts.alive, counts.close.aborted),
            (stuck, 0),
            "no close was dropped"
        );
    }

    /// After the runtime was dropped too: the stuck connections and the pool's memory are gone.
    fn assert_nothing_left(&self) {
        self.ledger.assert_settled();
        let counts = self.fake.counts();
        assert_eq!((counts.alive, counts.watchers), (0, 0), "{counts:?}");
        assert!(
            counts.occupied_peak <= self.max_size,
            "invariant 1 broken: {counts:?}"
        );
        assert_eq!(self.connector.strong_count(), 0, "the pool's memory leaks");
    }
}

/// Drives a future until it ends, or drops it at a cancellation point. Point 0 is before the first
/// poll, point 2n − 1 right after the nth poll, and point 2n after the wake that follows. `visit` is
/// called with each point that is reached before.
pub(crate) async fn drive<F: Future>(
    future: F,
    cancel_at: usize,
    mut visit: impl FnMut(usize),
) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    for point in 0..cancel_at {
        if point % 2 == 1 {
            bell.0.notified().await;
        } else if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        visit(point + 1);
    }
    None
}

#[derive(Default)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Cancels at each point in turn, until the future ends before the point. Returns how many points there
/// are.
pub(crate) fn at_each_point(mut ends_before: impl FnMut(usize) -> bool) -> usize {
    let points = (0..500).find(|point| ends_before(*point));
    points.expect("the future ends after a few polls")
}

/// Shorter than the pool's tick. So a caller that was served in time was served because of an event, not
/// because of the next tick.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(80);
const SLOW: Duration = Duration::from_millis(5);
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(120);
/// All deadlines of the pool together, and some milliseconds for the resolution of the timer.
const DEADLINES: Duration = Duration::from_millis(40 + 30 + 30 + 20 + 20);
const OUTER: Duration = Duration::from_secs(3600);
