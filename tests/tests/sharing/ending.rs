//! The end of a shared pool: by `close`, with its last handle, or with its runtime.

use pool_core::{AcquireError, CloseReason, SharedPool};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, pair};
use pool_tests::bed::{HandPolled, MINUTE, SECOND, Watchdog, pass, quiesce, start};
use tokio::runtime;

use crate::bed::SharedBed;

#[tokio::test(start_paused = true)]
async fn close_refuses_callers_and_waits_for_the_last_lease() {
    let bed = SharedBed::new(1);
    let leases = bed.leases(3).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    let pool = bed.pool.clone();
    let closing = start(async move { pool.close(MINUTE).await });
    quiesce().await;
    assert!(matches!(waiter.ready(), Err(AcquireError::Closed { .. })));
    assert_eq!(bed.reasons(), []);
    drop(leases);
    let report = closing.await.expect("the task does not panic");
    assert_eq!((report.closed, report.still_leased), (1, 0));
    assert_eq!(bed.reasons(), [CloseReason::PoolClosed]);
    drop(waiter);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_lets_leases_finish() {
    let (connector, fake) = pair();
    let pool = SharedPool::builder(connector).build().unwrap();
    let (one, two) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(pool.clone());
    assert!(pool.acquire().await.is_ok());
    drop(pool);
    quiesce().await;
    assert!(one.is_alive() && two.is_alive());
    drop(one);
    quiesce().await;
    assert_eq!(fake.counts().alive, 1);
    drop(two);
    let counts = fake.until(|counts| counts.alive == 0).await;
    assert_eq!((counts.watchers, counts.dropped_unclosed), (0, 0));
}

#[test]
fn runtime_that_goes_leaves_nothing_behind() {
    let _watchdog = Watchdog::start();
    let (connector, fake) = pair();
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let (pool, leases) = runtime.block_on(async {
        let builder = SharedPool::builder(connector).check_interval(SECOND);
        let pool = builder.build().unwrap();
        let leases = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        fake.set(Call::Check, Answer::Manual);
        pass(2 * SECOND).await;
        assert_eq!(fake.counts().check.running(), 1, "a check uses it");
        (pool, leases)
    });
    drop(runtime);
    assert_eq!(fake.counts().alive, 1, "it is lent");
    drop(leases);
    assert_eq!(fake.counts().alive, 0);
    assert!(pool.status().is_closed);
    assert_eq!(pool.status().size(), 0);
}

/// Also between the moment when the task of a check is spawned and its first poll.
#[test]
fn runtime_that_goes_at_any_moment_of_a_check_leaves_nothing_behind() {
    let _watchdog = Watchdog::start();
    let mut checks = 0;
    for turns in 0..16 {
        let (connector, fake) = pair();
        fake.set(Call::Check, Answer::Manual);
        let mut builder = runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        // One task runs in each turn.
        let runtime = builder.event_interval(1).build().unwrap();
        let pool = runtime.block_on(async {
            let builder = SharedPool::builder(connector).check_interval(None);
            let pool = builder.check_after_idle(SECOND).build().unwrap();
            drop(pool.acquire().await.unwrap());
            pass(3 * SECOND).await;
            let waiter = HandPolled::waiting(pool.acquire());
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            drop(waiter);
            pool
        });
        drop(runtime);
        checks += fake.counts().check.started;
        assert_eq!(pool.status().size(), 0, "after {turns} turns");
        assert_eq!(fake.counts().alive, 0, "after {turns} turns");
    }
    assert!((1..16).contains(&checks), "{checks} of 16 checks began");
}

#[tokio::test(start_paused = true)]
async fn panic_of_the_connector_only_costs_the_connection() {
    let bed = SharedBed::new(1);
    let lease = bed.lease().await;
    bed.fake.queue_query(
        pool_testkit::Query::IsAlive,
        [pool_testkit::connector::QueryAnswer::Panic],
    );
    drop(lease);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Dirty]);
    let lease = bed.lease().await;
    bed.fake.queue(Call::Close, [Answer::Panic]);
    drop(lease);
    // It would be replaced if it had been used a moment ago.
    pass(20 * SECOND).await;
    bed.pool.evict_all();
    quiesce().await;
    assert_eq!(bed.pool.status().size(), 0, "its slot is free");
    assert_eq!(bed.fake.counts().alive, 0);
    drop(bed);
}

#[tokio::test(start_paused = true)]
async fn waiters_that_were_served_before_the_close_get_nothing() {
    let bed = SharedBed::new(1);
    let mut leases = bed.leases(3).await;
    let mut polled = HandPolled::waiting(bed.pool.acquire());
    let dropped = HandPolled::waiting(bed.pool.acquire());
    leases.truncate(1);
    let pool = bed.pool.clone();
    let closing = start(async move { pool.close(MINUTE).await });
    quiesce().await;
    let told = polled.ready();
    assert!(matches!(told, Err(AcquireError::Closed { .. })), "{told:?}");
    drop((polled, dropped));
    assert_eq!(bed.pool.status().leases, 1);
    drop(leases);
    assert!(
        closing
            .await
            .expect("the task does not panic")
            .is_complete()
    );
    bed.finish().await;
}

#[test]
fn drop_of_a_connection_that_panics_after_the_runtime_has_gone_frees_the_slot() {
    let _watchdog = Watchdog::start();
    let (connector, fake) = pair();
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let (pool, leases) = runtime.block_on(async {
        let pool = SharedPool::builder(connector).build().unwrap();
        let leases = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        for lease in &leases {
            assert!(fake.panic_on_drop(lease.id()));
        }
        (pool, leases)
    });
    let mut waiter = HandPolled::new(pool.acquire());
    drop(runtime);
    assert!(matches!(waiter.ready(), Err(AcquireError::Closed { .. })));
    drop(leases);
    assert_eq!(pool.status().size(), 0);
    assert_eq!(pool.status().leases, 0);
}
