//! The weight of connections that serve many callers.

use std::time::Duration;

use pool_core::{CloseReason, SharedLease, SharedPool};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_tests::bed::{MINUTE, SECOND, TICK, Watchdog, pass, quiesce};

fn pool() -> (SharedPool<FakeConnection>, FakeHandle) {
    let (connector, fake) = pair();
    let pool = SharedPool::builder(connector)
        .max_size(1)
        .max_weight(100)
        .kill_weight(200)
        .build();
    (pool.expect("the settings are valid"), fake)
}

#[tokio::test(start_paused = true)]
async fn heavy_shared_connection_serves_until_it_is_replaced() {
    let _watchdog = Watchdog::start();
    let (pool, fake) = pool();
    let lease = pool.acquire().await.expect("it opens");
    let id = SharedLease::id(&lease);
    assert!(fake.set_weight(id, 150));
    pass(SECOND + TICK).await;
    let next = pool.acquire().await.expect("nobody waits");
    assert_ne!(SharedLease::id(&next), id, "it has its replacement");
    assert_eq!(fake.closes(), [], "a lease is not cut short");
    drop(lease);
    quiesce().await;
    assert_eq!(fake.closes(), [(id, CloseReason::Overweight)]);
    drop(next);
    assert!(pool.close(MINUTE).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn killed_shared_connection_tells_all_its_callers() {
    let _watchdog = Watchdog::start();
    let (pool, fake) = pool();
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.acquire().await.expect("it opens"));
    }
    let id = SharedLease::id(&leases[0]);
    assert!(fake.set_weight(id, 201));
    pass(SECOND + TICK).await;
    let causes = leases.iter().map(SharedLease::kill_cause);
    assert!(causes.clone().all(|cause| cause.is_some()), "{causes:?}");
    assert_eq!(fake.kills().len(), 1);
    drop(leases);
    quiesce().await;
    assert_eq!(fake.closes(), [(id, CloseReason::Killed)]);
    assert!(pool.close(MINUTE).await.is_complete());
}

/// Replacing them does not help.
#[tokio::test(start_paused = true)]
async fn shared_connections_that_are_too_heavy_when_they_are_new_are_replaced_less_and_less_often()
{
    let _watchdog = Watchdog::start();
    let (pool, fake) = pool();
    for _ in 0..600 {
        let lease = pool.acquire().await.expect("nobody waits for long");
        fake.set_weight(SharedLease::id(&lease), 101);
        pass(TICK).await;
    }
    let started = fake.counts().connect.started;
    assert!((5..=8).contains(&started), "{started} in a minute");
    assert!(pool.close(MINUTE).await.is_complete());
}

/// A replacement is on its way when it becomes far too heavy.
#[tokio::test(start_paused = true)]
async fn heavy_shared_connection_that_is_killed_later_is_closed_as_killed() {
    let _watchdog = Watchdog::start();
    let (pool, fake) = pool();
    let lease = pool.acquire().await.expect("it opens");
    let id = SharedLease::id(&lease);
    assert!(fake.set_weight(id, 150));
    pass(SECOND + TICK).await;
    assert!(fake.set_weight(id, 201));
    pass(SECOND + TICK).await;
    assert_eq!(fake.kills().len(), 1);
    drop(lease);
    quiesce().await;
    assert_eq!(fake.closes(), [(id, CloseReason::Killed)]);
    assert!(pool.close(MINUTE).await.is_complete());
}

/// That it served before does not say that the next one will be lighter.
#[tokio::test(start_paused = true)]
async fn shared_connections_that_are_killed_young_slow_down_connects() {
    let _watchdog = Watchdog::start();
    let (connector, fake) = pair();
    let pool = SharedPool::builder(connector)
        .max_size(1)
        .kill_weight(200)
        .weigh_interval(Duration::from_millis(1))
        .min_uptime(MINUTE)
        .build()
        .expect("the settings are valid");
    for _ in 0..500 {
        if let Ok(first) = pool.acquire_within(Duration::from_millis(1)).await {
            let id = SharedLease::id(&first);
            let second = pool.acquire().await;
            drop(first);
            // It dies with what it was asked last.
            if let Ok(same) = &second {
                same.mark_dirty();
            }
            fake.set_weight(id, 201);
            pass(Duration::from_millis(10)).await;
            drop(second);
        }
        pass(Duration::from_millis(10)).await;
    }
    let started = fake.counts().connect.started;
    assert!((3..50).contains(&started), "{started} in 10 s");
    assert!(pool.close(MINUTE).await.is_complete());
}
