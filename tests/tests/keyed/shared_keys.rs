//! Shared pools by key.

use pool_core::{KeyedSharedPool, SharedPool};
use pool_testkit::connector::pair;
use pool_tests::bed::{MINUTE, Watchdog, pass};

#[tokio::test(start_paused = true)]
async fn shared_connections_of_a_key_serve_its_callers_only() {
    let _watchdog = Watchdog::start();
    let pools = KeyedSharedPool::builder(|_key: &u32| {
        let (connector, _fake) = pair();
        SharedPool::builder(connector).max_size(1)
    })
    .key_idle_timeout(MINUTE)
    .build()
    .expect("the settings are valid");
    let one = (pools.acquire(&1).await, pools.acquire(&1).await);
    let handle = pools.handle(&2).expect("there is room");
    let other = handle.acquire().await.expect("it opens");
    let status = pools.status();
    assert_eq!((status.total.size(), status.total.leases), (2, 3));
    assert_eq!(pools.status_of(&1).map(|status| status.leases), Some(2));
    assert_eq!(handle.status().leases, 1);
    drop((one, other, handle));
    assert_eq!(pools.keys().len(), 2);
    assert_eq!(pools.evict(&1), 1);
    pass(2 * MINUTE).await;
    assert_eq!(pools.status().keys, 0);
    assert!(pools.close(MINUTE).await.is_complete());
}
