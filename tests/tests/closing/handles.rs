//! The drop of the last handle: what it ends, and that nothing of the pool stays in memory.

use std::sync::{Arc, Barrier, Weak};
use std::thread;

use pool_core::{
    CloseReason, ConnectContext, ConnectError, ConnectionPool, Connector, Event, Observer,
    PooledConnection, SharedPool, async_trait, connector_fn,
};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{
    Bed, HandPolled, MINUTE, SECOND, Watchdog, assert_clean, pass, quiesce, start,
};

/// Invariant 8.
#[tokio::test(start_paused = true)]
async fn drop_of_a_handle_that_is_not_the_last_does_nothing() {
    let bed = Bed::new(2);
    bed.idle(1).await;
    for _ in 0..10 {
        drop(bed.pool.clone());
    }
    quiesce().await;
    assert!(!bed.pool.status().is_closed);
    assert_eq!(bed.pool.status().idle, 1);
    bed.finish().await;
}

/// Invariant 8.
#[tokio::test(start_paused = true)]
async fn drop_of_the_last_handle_closes_the_idle_and_lets_leases_finish() {
    let Bed {
        pool, fake, ledger, ..
    } = Bed::new(3);
    let (lent, also) = (
        pool.acquire().await.expect("the pool has a free slot"),
        pool.acquire().await.expect("the pool has a free slot"),
    );
    drop(pool.acquire().await.expect("the pool has a free slot"));
    drop(pool);
    quiesce().await;
    assert_eq!(fake.counts().alive, 2, "the idle connection is closed");
    assert!(lent.is_alive(), "a lease is not cut short");
    pass(MINUTE).await;
    drop(lent);
    quiesce().await;
    assert_eq!(fake.counts().alive, 1);
    assert!(!ledger.counts().is_closed);
    drop(also);
    ledger.until(|counts| counts.is_closed).await;
    assert!(
        fake.closes()
            .iter()
            .all(|(_, reason)| *reason == CloseReason::PoolClosed)
    );
    assert_clean(&ledger, &fake, 3, 0).await;
}

#[tokio::test(start_paused = true)]
async fn drop_of_the_last_handle_drops_connects_in_flight() {
    let Bed {
        pool, fake, ledger, ..
    } = Bed::with(2, |builder| builder.min_idle(2));
    fake.set(Call::Connect, Answer::Manual);
    let (first, second) = (
        fake.next(Call::Connect).await,
        fake.next(Call::Connect).await,
    );
    drop(pool);
    quiesce().await;
    assert!(first.is_cancelled() && second.is_cancelled());
    assert_clean(&ledger, &fake, 2, 0).await;
}

/// Whichever is dropped last must notice that it is the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_last_handles_dropped_by_two_threads_close_the_pool() {
    for _ in 0..300 {
        let Bed {
            pool, fake, ledger, ..
        } = Bed::new(1);
        drop(pool.acquire().await.expect("the pool has a free slot"));
        let barrier = Arc::new(Barrier::new(2));
        let threads = [pool.clone(), pool].map(|pool| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                drop(pool);
            })
        });
        for thread in threads {
            thread.join().expect("the task does not panic");
        }
        ledger.until(|counts| counts.is_closed).await;
        assert_clean(&ledger, &fake, 1, 0).await;
    }
}

/// An observer that holds a clone would keep the pool open for ever.
#[tokio::test(start_paused = true)]
async fn weak_reference_keeps_no_pool_open() {
    let Bed {
        pool, fake, ledger, ..
    } = Bed::new(2);
    let weak = pool.downgrade();
    let lent = pool.acquire().await.expect("the pool has a free slot");
    drop(weak.upgrade().expect("the pool has a handle"));
    assert!(!pool.status().is_closed, "another handle is left");
    drop(pool);
    assert!(weak.upgrade().is_none(), "a lease is no handle");
    drop(lent);
    ledger.until(|counts| counts.is_closed).await;
    assert!(weak.clone().upgrade().is_none());
    assert_clean(&ledger, &fake, 2, 0).await;
}

#[tokio::test(start_paused = true)]
async fn weak_reference_to_a_shared_pool_keeps_it_no_more_open() {
    let pool = SharedPool::builder(connector_fn(async |_| Ok(())))
        .name("shared")
        .build()
        .expect("the settings are valid");
    let weak = pool.downgrade();
    let lent = pool.acquire().await.expect("it connects");
    assert_eq!(weak.upgrade().expect("it has a handle").name(), "shared");
    drop(pool);
    assert!(weak.upgrade().is_none(), "a lease is no handle");
    drop(lent);
}

/// The future holds a handle, so it gets its lease though all others are gone.
#[tokio::test(start_paused = true)]
async fn owned_acquire_keeps_the_pool_open_until_it_ends() {
    let Bed {
        pool, fake, ledger, ..
    } = Bed::new(1);
    let lent = pool.acquire().await.expect("the pool has a free slot");
    let mut served = HandPolled::waiting(pool.acquire_owned());
    let cancelled = HandPolled::waiting(pool.acquire_owned());
    drop(pool);
    drop(lent);
    let lent = served.ready().expect("the pool is still open");
    assert!(!ledger.counts().is_closed);
    drop(served);
    drop(lent);
    assert_eq!(ledger.counts().leased, 1, "the next one has it");
    drop(cancelled);
    ledger.until(|counts| counts.is_closed).await;
    assert_clean(&ledger, &fake, 1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn owned_acquire_of_a_shared_pool_runs_in_a_task_of_its_own() {
    let pool = SharedPool::builder(connector_fn(async |_| Ok(7)))
        .build()
        .expect("the settings are valid");
    let acquire = pool.acquire_owned();
    drop(pool);
    let lease = start(acquire).await.expect("no panic");
    assert_eq!(*lease.expect("it connects"), 7);
}

/// A connector whose connections share a count, which shows whether anything of the pool is left.
#[derive(Debug)]
struct Traced(Arc<()>);

#[async_trait]
impl Connector for Traced {
    type Connection = Arc<()>;

    async fn connect(&self, _cx: &ConnectContext) -> Result<Arc<()>, ConnectError> {
        Ok(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Silent(#[expect(dead_code, reason = "held, not read")] Arc<()>);

impl Observer for Silent {
    fn on_event(&self, _event: &Event) {}
}

fn traced() -> (ConnectionPool<Arc<()>>, Weak<()>) {
    let trace = Arc::new(());
    let pool = ConnectionPool::builder(Traced(Arc::clone(&trace)))
        .max_size(4)
        .observer(Arc::new(Silent(Arc::clone(&trace))))
        .build();
    (
        pool.expect("the settings are valid"),
        Arc::downgrade(&trace),
    )
}

/// Invariant 8, after a close.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_closed_pool_stays_in_memory() {
    let _watchdog = Watchdog::start();
    let (pool, trace) = traced();
    pool.warm_up(3).await.expect("it connects");
    pool.close(SECOND).await;
    drop(pool);
    quiesce().await;
    assert!(
        trace.upgrade().is_none(),
        "{} are left",
        trace.strong_count()
    );
}

/// Invariant 8, without a close. The lease that outlives the last handle ends the pool.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_dropped_pool_stays_in_memory() {
    let _watchdog = Watchdog::start();
    let (pool, trace) = traced();
    let lease = pool.acquire().await.expect("it connects");
    drop(pool.acquire().await.expect("it connects"));
    drop(pool);
    quiesce().await;
    assert!(trace.upgrade().is_some(), "the lease is out");
    drop(lease);
    quiesce().await;
    assert!(
        trace.upgrade().is_none(),
        "{} are left",
        trace.strong_count()
    );
}

/// Invariant 8.
#[tokio::test(start_paused = true)]
async fn detached_connection_keeps_nothing_of_the_pool() {
    let _watchdog = Watchdog::start();
    let (pool, trace) = traced();
    let connection = PooledConnection::detach(pool.acquire().await.expect("it connects"));
    drop(pool);
    quiesce().await;
    assert_eq!(trace.strong_count(), 1, "the connection itself");
    drop(connection);
}

/// Invariant 8. Handles may outlive the runtime; the rest of the pool does not.
#[test]
fn nothing_but_the_handle_survives_the_runtime() {
    let _watchdog = Watchdog::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    let (pool, lease, trace) = runtime.block_on(async {
        let (pool, trace) = traced();
        pool.warm_up(2).await.expect("it connects");
        let lease = pool.acquire().await.expect("one is idle");
        (pool, lease, trace)
    });
    drop(runtime);
    assert_eq!(pool.status().idle, 0);
    drop(lease);
    drop(pool);
    assert!(
        trace.upgrade().is_none(),
        "{} are left",
        trace.strong_count()
    );
}

/// The last handle is inside one of the pool's own connections.
#[tokio::test(start_paused = true)]
async fn last_handle_may_be_dropped_with_a_connection() {
    struct Holding(Option<ConnectionPool<Self>>);
    struct Holdings(#[expect(dead_code, reason = "held, not read")] Arc<()>);
    #[async_trait]
    impl Connector for Holdings {
        type Connection = Holding;
        async fn connect(&self, _cx: &ConnectContext) -> Result<Holding, ConnectError> {
            Ok(Holding(None))
        }
    }
    let _watchdog = Watchdog::start();
    let trace = Arc::new(());
    let alive = Arc::downgrade(&trace);
    let pool = ConnectionPool::builder(Holdings(trace)).max_size(1).build();
    let pool = pool.expect("the settings are valid");
    let mut lease = pool.acquire().await.expect("it connects");
    lease.0 = Some(pool.clone());
    drop(pool);
    PooledConnection::discard(lease);
    quiesce().await;
    assert!(alive.upgrade().is_none(), "the pool has ended");
}
