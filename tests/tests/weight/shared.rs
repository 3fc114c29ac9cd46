//! The weight of connections that serve many callers.

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
    assert_eq!(fake.closes(), [(id, CloseReason::Overweight)]);
    assert!(pool.close(MINUTE).await.is_complete());
}
