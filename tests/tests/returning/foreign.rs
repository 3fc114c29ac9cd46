//! Code that is not the pool's: connectors and connections that panic, call back, or both.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Wake, Waker};

use pool_core::{
    BoxFuture, CloseReason, ConnectContext, ConnectError, ConnectionPool, Connector, EventKind,
    PooledConnection, async_trait,
};
use pool_testkit::Call;
use pool_testkit::ledger::Ledger;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, Watchdog, pass, quiesce};
use tokio::runtime::Builder;

/// A connection whose drop uses its pool, as any user code may.
#[tokio::test(start_paused = true)]
async fn drop_of_a_connection_may_use_the_pool() {
    #[derive(Debug)]
    struct Nosy {
        pool: Arc<OnceLock<ConnectionPool<Self>>>,
        seen: Arc<AtomicUsize>,
    }
    impl Drop for Nosy {
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
    struct Nosies(Weak<OnceLock<ConnectionPool<Nosy>>>, Arc<AtomicUsize>);
    #[async_trait]
    impl Connector for Nosies {
        type Connection = Nosy;
        async fn connect(&self, _cx: &ConnectContext) -> Result<Nosy, ConnectError> {
            let pool = self.0.upgrade().expect("the test holds it");
            Ok(Nosy {
                pool,
                seen: Arc::clone(&self.1),
            })
        }
    }

    let _watchdog = Watchdog::start();
    let (place, seen) = (Arc::new(OnceLock::new()), Arc::default());
    let connector = Nosies(Arc::downgrade(&place), Arc::clone(&seen));
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

/// A panic of the connection's own drop, on each way to its end.
#[tokio::test(start_paused = true)]
async fn drop_that_panics_costs_nothing_but_a_word_in_the_log() {
    let bed = Bed::new(2);
    bed.fake.panic_on_every_drop();
    for ruin in [
        (|lease| drop(lease)) as fn(pool_tests::bed::Lease),
        |lease| lease.mark_dirty(),
        PooledConnection::discard,
    ] {
        for lease in bed.leases(2).await {
            ruin(lease);
        }
        bed.pool.evict_all();
        quiesce().await;
        assert_eq!(bed.pool.status().size(), 0);
    }
    assert_eq!(bed.leases(2).await.len(), 2);
    let counts = bed.fake.counts();
    assert_eq!(counts.close.panicked, counts.close.started);
    let report = bed.pool.close(MINUTE).await;
    assert!(report.is_complete(), "{report:?}");
    bed.ledger.assert_settled();
    assert_eq!(bed.fake.counts().alive, 0);
}

/// A close that panics has lost its connection, and its slot is free.
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
enum Wrong {
    PanicsInTheCall,
    PanicsInTheFuture,
    ResolvesAtOnce,
}

#[derive(Debug)]
struct Wrongly(Wrong);

#[async_trait]
impl Connector for Wrongly {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }

    fn died(&self, _conn: &()) -> Option<BoxFuture<'static, ()>> {
        match self.0 {
            Wrong::PanicsInTheCall => panic!("told to panic"),
            Wrong::PanicsInTheFuture => Some(Box::pin(async { panic!("told to panic") })),
            Wrong::ResolvesAtOnce => Some(Box::pin(async {})),
        }
    }
}

fn wrongly(wrong: Wrong) -> (ConnectionPool<()>, Ledger) {
    let ledger = Ledger::new(1);
    let pool = ConnectionPool::builder(Wrongly(wrong))
        .max_size(1)
        .fail_fast_after(1)
        .observer(Arc::new(ledger.clone()))
        .build();
    (pool.expect("the settings are valid"), ledger)
}

/// One that panics, when it is called or later, has lost sight of its connection, which counts
/// as dead and is closed like any other.
#[tokio::test(start_paused = true)]
async fn death_watch_that_panics_or_ends_at_once_counts_as_death() {
    for wrong in [
        Wrong::PanicsInTheCall,
        Wrong::PanicsInTheFuture,
        Wrong::ResolvesAtOnce,
    ] {
        let (pool, ledger) = wrongly(wrong);
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
        assert_eq!(ledger.count_events(died), 1, "{wrong:?}");
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

/// A connector that cannot watch for deaths, and counts its closes.
struct DeathWatchPanics {
    closes: Arc<AtomicUsize>,
}

#[async_trait]
impl Connector for DeathWatchPanics {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }

    fn died(&self, (): &()) -> Option<BoxFuture<'static, ()>> {
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
