//! Many callers on two threads, with deaths, discards, evictions and resizes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_core::{AcquireError, SharedLease, SharedPool, TargetLeases};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_tests::bed::{MINUTE, Watchdog};
use tokio::task::JoinSet;

const CALLERS: usize = 64;
const ROUNDS: usize = 400;
const FULL: u32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_are_served_within_the_limits_and_leave_nothing() {
    serve_a_crowd(TargetLeases::Fixed(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_that_learns_its_target_keeps_the_same_limits_and_leaves_nothing() {
    serve_a_crowd(TargetLeases::Adaptive { min: 1, max: 3 }).await;
}

async fn serve_a_crowd(target: TargetLeases) {
    let _watchdog = Watchdog::start();
    let (connector, fake) = pair();
    let builder = SharedPool::builder(connector)
        .max_size(4)
        .target_leases(target)
        .max_leases_per_connection(FULL);
    let millisecond = std::time::Duration::from_millis(1);
    let builder = builder
        .min_uptime(std::time::Duration::ZERO)
        .retry_delay(millisecond, millisecond);
    let pool = builder.build().expect("the settings are valid");
    let served = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call(
            pool.clone(),
            fake.clone(),
            caller,
            Arc::clone(&served),
        ));
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller found a broken rule");
    }
    assert!(served.load(Ordering::Relaxed) > CALLERS * ROUNDS / 2);
    assert_eq!(pool.status().leases, 0);

    let report = pool.close(MINUTE).await;
    assert!(report.is_complete(), "{report:?}");
    let counts = fake.until(|counts| counts.watchers == 0).await;
    assert_eq!((counts.alive, counts.dropped_unclosed), (0, 0));
    assert!(counts.occupied_peak <= 5, "{}", counts.occupied_peak);
}

async fn call(
    pool: SharedPool<FakeConnection>,
    fake: FakeHandle,
    caller: usize,
    served: Arc<AtomicUsize>,
) {
    for round in 0..ROUNDS {
        let turn = caller * 31 + round * 7;
        let acquire = pool.acquire();
        if turn.is_multiple_of(13) {
            // Dropped after one poll.
            let mut acquire = Box::pin(acquire);
            drop(
                std::future::poll_fn(|cx| std::task::Poll::Ready(acquire.as_mut().poll(cx))).await,
            );
            continue;
        }
        let lease = match acquire.await {
            Ok(lease) => lease,
            Err(error) => {
                assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
                continue;
            }
        };
        served.fetch_add(1, Ordering::Relaxed);
        assert!(SharedLease::stats(&lease).leases <= FULL);
        tokio::task::yield_now().await;
        match turn % 97 {
            1 => drop(fake.kill(SharedLease::id(&lease))),
            2 => SharedLease::discard(lease),
            3 => {
                pool.evict_all();
            }
            4 => pool.resize(1 + turn % 4).expect("the pool is open"),
            5 => lease.mark_dirty(),
            _ => {}
        }
    }
    pool.resize(4).expect("the pool is open");
}
