//! The end of a pool while other threads use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::{AcquireError, PooledConnection};
use pool_tests::bed::{Bed, MINUTE, assert_clean, start};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, yield_now};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn close_races_returns_connects_and_cancellations() {
    for round in 0..200 {
        let bed = Bed::with(3, |builder| builder.min_idle(round % 2));
        let mut tasks = JoinSet::new();
        for number in 0..6 {
            let pool = bed.pool.clone();
            tasks.spawn(async move {
                loop {
                    match pool.acquire().await {
                        Ok(lease) if number == 0 => PooledConnection::discard(lease),
                        Ok(lease) if number == 1 => lease.mark_needs_reset(),
                        Ok(lease) => drop(lease),
                        Err(AcquireError::Closed { .. }) => return,
                        Err(error) => panic!("{error}"),
                    }
                    let abandoned = tokio::time::timeout(Duration::ZERO, pool.acquire());
                    drop(abandoned.await);
                }
            });
        }
        for _ in 0..round % 7 {
            yield_now().await;
        }
        let closes: Vec<_> = (0..3)
            .map(|_| {
                let pool = bed.pool.clone();
                start(async move { pool.close(MINUTE).await })
            })
            .collect();
        for close in closes {
            assert!(close.await.expect("the task does not panic").is_complete());
        }
        while let Some(task) = tasks.join_next().await {
            task.expect("the task does not panic");
        }
        bed.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drop_of_the_last_handle_races_returns() {
    for _ in 0..300 {
        let bed = Bed::new(4);
        let leases = bed.leases(4).await;
        let go = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for lease in leases {
            let go = Arc::clone(&go);
            tasks.spawn(async move {
                while !go.load(Ordering::Acquire) {
                    yield_now().await;
                }
                drop(lease);
            });
        }
        let Bed {
            pool, fake, ledger, ..
        } = bed;
        go.store(true, Ordering::Release);
        drop(pool);
        while let Some(task) = tasks.join_next().await {
            task.expect("the task does not panic");
        }
        ledger.until(|counts| counts.is_closed).await;
        assert_clean(&ledger, &fake, 4, 0).await;
    }
}

/// Leases are returned on plain threads. Each connection is dropped, in time or afterwards.
#[test]
fn end_of_the_runtime_races_returns() {
    for _ in 0..200 {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime can be built");
        let (bed, leases) = runtime.block_on(async {
            let bed = Bed::new(4);
            let leases = bed.leases(4).await;
            (bed, leases)
        });
        let returner = std::thread::spawn(move || {
            for (number, lease) in leases.into_iter().enumerate() {
                if number % 2 == 0 {
                    lease.mark_needs_reset();
                }
            }
        });
        drop(runtime);
        returner.join().expect("the task does not panic");
        assert_eq!(bed.pool.status().size(), 0);
        assert_eq!(bed.fake.counts().alive, 0);
        bed.ledger.assert_settled();
    }
}

/// What the guide shows: close the pool, then ask the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn close_returns_after_all_events_were_delivered() {
    for round in 0..150 {
        let bed = Bed::with(4, |builder| builder.min_idle(round % 3));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let pool = bed.pool.clone();
            tasks.spawn(async move {
                while let Ok(lease) = pool.acquire().await {
                    PooledConnection::discard(lease);
                }
            });
        }
        for _ in 0..round % 7 {
            yield_now().await;
        }
        assert!(bed.pool.close(MINUTE).await.is_complete());
        bed.ledger.assert_settled();
        while let Some(task) = tasks.join_next().await {
            task.expect("the task does not panic");
        }
    }
}
