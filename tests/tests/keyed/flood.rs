//! Many more keys than there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, KeyedPool, async_trait};
use pool_tests::bed::{MINUTE, Watchdog};

/// In the time that a test has; the cost of a key does not depend on how many came before.
const KEYS: usize = 30_000;
const MAX_KEYS: usize = 64;
const AT_WORK: usize = 16;

/// Counts how many of its kind exist, as a measure of what a keyed pool keeps in memory.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Connector for Counted {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }
}

#[tokio::test]
async fn flood_of_keys_takes_no_more_memory_and_disturbs_no_key_at_work() {
    let _watchdog = Watchdog::start();
    let connectors = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connectors);
    let pools = KeyedPool::builder(move |_key: &usize| {
        ConnectionPool::builder(Counted::new(&count)).max_size(1)
    })
    .max_keys(MAX_KEYS)
    .build()
    .expect("the settings are valid");
    let mut held = Vec::new();
    for key in 0..AT_WORK {
        held.push(pools.acquire(&key).await.expect("there is room"));
    }
    for key in AT_WORK..KEYS {
        drop(pools.acquire(&key).await.expect("some key is not in use"));
        let status = pools.status();
        assert!(status.keys <= MAX_KEYS);
        // A pool that was dropped is gone when its task has run.
        let kept = connectors.load(Ordering::Relaxed);
        assert!(kept <= 2 * MAX_KEYS, "{kept} pools after {key} keys");
    }
    assert_eq!(pools.status().total.leased, AT_WORK);
    for key in 0..AT_WORK {
        let status = pools.status_of(&key).expect("it is in use");
        assert_eq!(status.leased, 1);
    }
    drop(held);
    assert!(pools.close(MINUTE).await.is_complete());
    drop(pools);
    while connectors.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}
