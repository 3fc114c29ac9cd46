//! Acquires against the end of their keys, on several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pool_core::{ConnectionPool, KeyedAcquireError, KeyedPool, connector_fn};
use pool_tests::bed::{MINUTE, Watchdog, start};
use pool_tests::random::SplitMix64;

/// Of each of the callers.
const ACQUIRES: u64 = 25_000;
const CALLERS: u64 = 4;
const KEYS: u64 = 6;

/// Fewer places than keys, so that acquires drop keys all the time, and another task evicts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquire_never_meets_the_end_of_its_key() {
    let _watchdog = Watchdog::start();
    let pools = KeyedPool::builder(|_key: &u64| {
        ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(2)
    })
    .max_keys(3)
    .build()
    .expect("the settings are valid");
    let ends = Arc::new(AtomicBool::new(false));
    let evicting = start({
        let (pools, ends) = (pools.clone(), Arc::clone(&ends));
        async move {
            let mut random = SplitMix64::new(7);
            while !ends.load(Ordering::Relaxed) {
                pools.evict(&random.below(KEYS));
                tokio::task::yield_now().await;
            }
        }
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|seed| {
            let pools = pools.clone();
            start(async move {
                let mut random = SplitMix64::new(seed);
                let mut refused = 0;
                for _ in 0..ACQUIRES {
                    match pools.acquire(&random.below(KEYS)).await {
                        Ok(lease) => drop(lease),
                        // With four callers and three places that is possible. Others may have to run before it is not.
                        Err(KeyedAcquireError::TooManyKeys { .. }) => {
                            refused += 1;
                            tokio::task::yield_now().await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                refused
            })
        })
        .collect();
    let mut refused = 0;
    for caller in callers {
        refused += caller.await.expect("no panic");
    }
    ends.store(true, Ordering::Relaxed);
    evicting.await.expect("no panic");
    assert!(refused < CALLERS * ACQUIRES / 2, "{refused} were refused");
    assert!(pools.status().keys <= 3);
    assert!(pools.close(MINUTE).await.is_complete());
}
