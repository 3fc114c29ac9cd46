//! A pool at rest causes no polls, no wake-ups, and no timers but those that are due.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Acquired, Bed, HandPolled, MINUTE, TICK, pass, start};
use tokio::runtime::Handle;

/// Counts how often a future is polled.
struct Polled<F> {
    future: Pin<Box<F>>,
    polls: Arc<AtomicUsize>,
}

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.future.as_mut().poll(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_saturated_pool_are_not_polled() {
    const WAITERS: usize = 100;
    let bed = Bed::with(1, |builder| builder.acquire_timeout(60 * MINUTE));
    let lease = bed.lease().await;
    let polls = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (pool, polls) = (bed.pool.clone(), Arc::clone(&polls));
            start(async move {
                let acquire = async move { pool.acquire().await };
                let acquired: Acquired = Polled {
                    future: Box::pin(acquire),
                    polls,
                }
                .await;
                drop(acquired);
            })
        })
        .collect();
    pass(30 * MINUTE).await;
    assert_eq!(
        polls.load(Ordering::Relaxed),
        WAITERS,
        "once each, when they joined the queue"
    );
    drop(lease);
    for waiter in waiters {
        waiter.await.expect("the task does not panic");
    }
    assert_eq!(
        polls.load(Ordering::Relaxed),
        2 * WAITERS,
        "and once each, when they were served"
    );
    bed.finish().await;
}

/// How often the runtime went to sleep during half an hour in which the test does nothing.
async fn wakeups_in_half_an_hour() -> u64 {
    let metrics = Handle::current().metrics();
    let before = metrics.worker_park_count(0);
    tokio::time::sleep(30 * MINUTE).await;
    metrics.worker_park_count(0) - before
}

/// The runtime's timer wheel wakes up now and then for timers that are far away. With the ticks of a busy
/// pool it would be 18 000 times.
const FEW: u64 = 20;

#[tokio::test(start_paused = true)]
async fn idle_pool_causes_no_wakeups() {
    let bed = Bed::with(8, |builder| {
        let builder = builder.check_interval(None).max_lifetime(None);
        builder.idle_timeout(60 * MINUTE).min_idle(4)
    });
    bed.pool.warm_up(8).await.expect("all connect");
    pass(3 * TICK).await;
    let wakeups = wakeups_in_half_an_hour().await;
    assert!(wakeups <= FEW, "{wakeups} wake-ups");
    assert_eq!(bed.pool.status().idle, 8);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn saturated_pool_causes_no_wakeups() {
    let bed = Bed::with(2, |builder| builder.acquire_timeout(60 * MINUTE));
    let leases = bed.leases(2).await;
    let waiter = HandPolled::waiting(bed.pool.acquire());
    pass(3 * TICK).await;
    let wakeups = wakeups_in_half_an_hour().await;
    assert!(wakeups <= FEW, "{wakeups} wake-ups");
    assert_eq!(waiter.wakes(), 0);
    drop((leases, waiter));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn unavailable_pool_without_callers_causes_no_wakeups() {
    let bed = Bed::new(2);
    bed.fake.set(Call::Connect, Answer::Permanent);
    bed.pool.acquire().await.expect_err("it cannot connect");
    pass(3 * TICK).await;
    let wakeups = wakeups_in_half_an_hour().await;
    assert!(wakeups <= FEW, "{wakeups} wake-ups");
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}
