//! Connectors, connections and wakers that panic, or that call the pool.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Wake, Waker};

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, ConnectionPool,
    Connector, Event, EventKind, Observer, PooledConnection, async_trait,
};
use pool_testkit::Call;
use pool_testkit::ledger::Ledger;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, Watchdog, pass, quiesce};
use tokio::runtime::Builder;

#[tokio::test(start_paused = true)]
async fn drop_of_a_connection_can_use_the_pool() {
    #[derive(Debug)]
    struct UsesPool {
        pool: Arc<OnceLock<ConnectionPool<Self>>>,
        seen: Arc<AtomicUsize>,
    }
    impl Drop for UsesPool {
        fn drop(&mut self) {
            let pool = self
                .pool
                .get()
                .expect("the test set it before it opened a connection");
            assert!(pool.status().size() >= 1, "the slot is still taken");
            drop(pool.try_acquire());
            self.seen.fetch_add(1, Ordering::SeqCst);
        }
    }
    struct Connects(Weak<OnceLock<ConnectionPool<UsesPool>>>, Arc<AtomicUsize>);
    #[async_trait]
    impl Connector for Connects {
        type Connection = UsesPool;
        async fn connect(&self, _cx: &ConnectContext) -> Result<UsesPool, ConnectError> {
            let pool = self.0.upgrade().expect("the test holds it");
            Ok(UsesPool {
                pool,
                seen: Arc::clone(&self.1),
            })
        }
    }

    let _watchdog = Watchdog::start();
    let (place, seen) = (Arc::new(OnceLock::new()), Arc::default());
    let connector = Connects(Arc::downgrade(&place), Arc::clone(&seen));
    let pool = ConnectionPool::builder(connector)
        .max_size(3)
        .build()
        .expect("the settings are valid");
    place.set(pool.clone()).expect("it is set once");
    let leases = [
        pool.acquire().await.expect("it connects"),
        pool.acquire().await.expect("it connects"),
        pool.acquire().await.expect("it connects"),
    ];
    drop(leases);
    pool.resize(1).expect("the pool is open");
    quiesce().await;
    assert_eq!(seen.load(Ordering::SeqCst), 2, "the shrink closed two");
    pool.retain(|_| false);
    quiesce().await;
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    drop(pool.acquire().await.expect("it connects"));
    assert!(pool.close(SECOND).await.is_complete());
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

/// However the connection ends.
#[tokio::test(start_paused = true)]
async fn drop_of_a_connection_that_panics_loses_no_slot() {
    let bed = Bed::new(2);
    for ruin in [
        (|lease| drop(lease)) as fn(pool_tests::bed::Lease),
        |lease| lease.mark_dirty(),
        PooledConnection::discard,
    ] {
        for lease in bed.leases(2).await {
            assert!(bed.fake.panic_on_drop(lease.id()));
            ruin(lease);
        }
        bed.pool.evict_all();
        quiesce().await;
        assert_eq!(bed.pool.status().size(), 0);
    }
    for lease in bed.leases(2).await {
        assert!(bed.fake.panic_on_drop(lease.id()));
    }
    let counts = bed.fake.counts();
    assert_eq!(counts.close.panicked, counts.close.started);
    let report = bed.pool.close(MINUTE).await;
    assert!(report.is_complete(), "{report:?}");
    bed.ledger.assert_settled();
    assert_eq!(bed.fake.counts().alive, 0);
}

#[tokio::test(start_paused = true)]
async fn close_that_panics_frees_its_slot() {
    let bed = Bed::new(1);
    bed.fake
        .set(Call::Close, pool_testkit::connector::Answer::Panic);
    for _ in 0..3 {
        PooledConnection::discard(bed.lease().await);
    }
    quiesce().await;
    assert_eq!(bed.pool.status().size(), 0);
    bed.finish().await;
}

/// What a connector's `died` does wrong.
#[derive(Debug, Clone, Copy)]
enum DiedFault {
    PanicsInTheCall,
    PanicsInTheFuture,
    ResolvesAtOnce,
}

#[derive(Debug)]
struct FaultyDied(DiedFault);

#[async_trait]
impl Connector for FaultyDied {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }

    fn died(&self, _conn: &()) -> Option<BoxFuture<'static, Option<BoxError>>> {
        match self.0 {
            DiedFault::PanicsInTheCall => panic!("told to panic"),
            DiedFault::PanicsInTheFuture => Some(Box::pin(async { panic!("told to panic") })),
            DiedFault::ResolvesAtOnce => Some(Box::pin(async { None })),
        }
    }
}

fn faulty_died(fault: DiedFault) -> (ConnectionPool<()>, Ledger) {
    let ledger = Ledger::new(1);
    let pool = ConnectionPool::builder(FaultyDied(fault))
        .max_size(1)
        .fail_fast_after(1)
        .observer(Arc::new(ledger.clone()))
        .build();
    (pool.expect("the settings are valid"), ledger)
}

/// `died` panics when it is called, or its future panics, or it resolves at once. The pool cannot watch
/// the connection any more, so it counts as dead and is closed.
#[tokio::test(start_paused = true)]
async fn death_watch_that_panics_or_resolves_at_once_counts_as_a_death() {
    for fault in [
        DiedFault::PanicsInTheCall,
        DiedFault::PanicsInTheFuture,
        DiedFault::ResolvesAtOnce,
    ] {
        let (pool, ledger) = faulty_died(fault);
        pool.warm_up(1).await.expect("it connects");
        quiesce().await;
        let died = |kind: &EventKind| {
            matches!(
                kind,
                EventKind::Closing {
                    reason: CloseReason::Died,
                    ..
                }
            )
        };
        assert_eq!(ledger.count_events(died), 1, "{fault:?}");
        assert_eq!(pool.status().size(), 0);
        assert!(pool.close(SECOND).await.is_complete());
        pass(SECOND).await;
        ledger.assert_settled();
    }
}

/// A payload of a panic whose own drop panics, unless a panic unwinds already.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload's drop was told to panic");
        }
    }
}

/// A connector whose query throws such a payload.
struct Throws;

#[async_trait]
impl Connector for Throws {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }

    fn is_clean(&self, (): &()) -> bool {
        std::panic::panic_any(PanicsAgain)
    }
}

#[tokio::test(start_paused = true)]
async fn drop_of_a_lease_does_not_panic_whatever_the_connector_throws() {
    let pool = ConnectionPool::builder(Throws).max_size(1).build();
    let pool = pool.expect("the settings are valid");
    let lease = pool.acquire().await.expect("it connects");
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(lease)));
    assert!(dropped.is_ok(), "the drop of a lease panicked");
}

/// A waker that throws such a payload.
struct ThrowingWaker;

impl Wake for ThrowingWaker {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any(PanicsAgain)
    }
}

#[tokio::test(start_paused = true)]
async fn waker_that_throws_does_not_keep_later_waiters_from_being_woken() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut first = Box::pin(bed.pool.acquire());
    let waker = Waker::from(Arc::new(ThrowingWaker));
    let poll = first.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    let _thrown = catch_unwind(AssertUnwindSafe(|| drop(lease)));
    let mut second = HandPolled::waiting(bed.pool.acquire());
    // This gives its connection to the second.
    drop((poll, first));
    assert_eq!(second.wakes(), 1);
    drop(second.ready().expect("it was handed on"));
    drop(second);
    bed.finish().await;
}

/// A connector whose own drop panics.
struct DropPanics;

impl Drop for DropPanics {
    fn drop(&mut self) {
        panic!("the connector's drop was told to panic");
    }
}

#[async_trait]
impl Connector for DropPanics {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }
}

#[test]
fn last_lease_does_not_panic_when_the_drop_of_the_connector_does() {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O needs no descriptors");
    let (pool, lease) = runtime.block_on(async {
        let pool = ConnectionPool::builder(DropPanics).build();
        let pool = pool.expect("the settings are valid");
        let lease = pool.acquire().await.expect("it connects");
        (pool, lease)
    });
    drop(runtime);
    drop(pool);
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(lease)));
    assert!(dropped.is_ok(), "the drop of the last lease panicked");
}

/// A connector whose `died` panics. It counts its closes.
struct DeathWatchPanics {
    closes: Arc<AtomicUsize>,
}

#[async_trait]
impl Connector for DeathWatchPanics {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }

    fn died(&self, (): &()) -> Option<BoxFuture<'static, Option<BoxError>>> {
        panic!("told to panic")
    }

    async fn close(&self, (): (), _reason: CloseReason) {
        self.closes.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn connection_whose_death_watch_panicked_is_closed_by_its_connector() {
    let closes = Arc::new(AtomicUsize::new(0));
    let connector = DeathWatchPanics {
        closes: Arc::clone(&closes),
    };
    let builder = ConnectionPool::builder(connector).max_size(1);
    let pool = builder.fail_fast_after(1).build();
    let pool = pool.expect("the settings are valid");
    drop(pool.acquire_within(SECOND).await);
    pool.close(SECOND).await;
    assert!(closes.load(Ordering::Relaxed) > 0);
}

/// The cause of a failed reset, whose drop panics.
#[derive(Debug)]
struct CauseDropPanics;

impl fmt::Display for CauseDropPanics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told to fail")
    }
}

impl Error for CauseDropPanics {}

impl Drop for CauseDropPanics {
    fn drop(&mut self) {
        panic!("the drop of the cause was told to panic");
    }
}

/// A connector whose resets fail so.
struct ResetFails;

#[async_trait]
impl Connector for ResetFails {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }

    fn needs_reset(&self, (): &()) -> bool {
        true
    }

    async fn reset(&self, (): &mut ()) -> Result<(), CheckError> {
        Err(CheckError::new(CauseDropPanics))
    }
}

/// Counts closes by the events before them.
#[derive(Default)]
struct ClosingTold(AtomicUsize);

impl Observer for ClosingTold {
    fn on_event(&self, event: &Event) {
        let is_closing = matches!(event.kind, EventKind::Closing { .. });
        self.0.fetch_add(usize::from(is_closing), Ordering::Relaxed);
    }
}

/// It is dropped with the event, after the observer has seen that.
#[tokio::test(start_paused = true)]
async fn cause_of_an_event_whose_drop_panics_keeps_no_later_event_from_the_observer() {
    let observer = Arc::new(ClosingTold::default());
    let told = Arc::clone(&observer);
    let pool = ConnectionPool::builder(ResetFails)
        .observer(observer)
        .build();
    let pool = pool.expect("the settings are valid");
    drop(pool.acquire().await.expect("it connects"));
    quiesce().await;
    assert_eq!(pool.status().size(), 0, "it is closed");
    assert_eq!(told.0.load(Ordering::Relaxed), 1);
}
