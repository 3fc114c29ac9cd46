//! Timeouts that hold whatever else the runtime does.

use std::time::Duration;

use pool_core::AcquireError;
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, SECOND, TICK, pass, start};
use tokio::task::yield_now;
use tokio::time::Instant;

/// How long `acquire_within(timeout)` takes on a saturated pool that is in use, if each turn of the
/// runtime takes `turn`.
async fn wait_beside(turn: Duration, timeout: Duration) -> Duration {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let pool = bed.pool.clone();
    let began = Instant::now();
    let waiter = start(async move {
        let error = pool.acquire_within(timeout).await.expect_err("it is lent");
        assert!(matches!(error, AcquireError::Timeout { .. }), "{error}");
        began.elapsed()
    });
    while !waiter.is_finished() {
        bed.pool.try_acquire().expect_err("it is lent");
        tokio::time::advance(turn).await;
        // What is due, and what follows from it.
        for _ in 0..4 {
            yield_now().await;
        }
    }
    let took = waiter.await.expect("no panic");
    drop(lease);
    bed.finish().await;
    took
}

#[tokio::test(start_paused = true)]
async fn slow_turns_of_the_runtime_do_not_stretch_a_timeout() {
    for turn in [120, 200, 1_000].map(Duration::from_millis) {
        for timeout in [9, 10, 30].map(|seconds| seconds * SECOND) {
            let took = wait_beside(turn, timeout).await;
            let latest = timeout + TICK + 2 * turn;
            assert!(
                took >= timeout && took <= latest,
                "{timeout:?} took {took:?} beside turns of {turn:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_proves_dead_does_not_change_the_deadline() {
    // After so long it is served, and so long after that it is polled. At first no sweep has seen it.
    for [served, polled] in [[5 * SECOND, Duration::ZERO], [Duration::ZERO, 20 * SECOND]] {
        wait_beside_a_death(served, polled).await;
    }
}

async fn wait_beside_a_death(served: Duration, polled: Duration) {
    let bed = Bed::new(1);
    let began = Instant::now();
    let lease = bed.lease().await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    if !served.is_zero() {
        pass(served).await;
    }
    let dead = bed.fake.alive();
    drop(lease);
    bed.fake.set(Call::Connect, Answer::Manual);
    if !polled.is_zero() {
        pass(polled).await;
    }
    for id in dead {
        bed.fake.kill(id);
    }
    assert!(waiter.poll().is_pending(), "it waits again");
    let timed_out = loop {
        pass(TICK).await;
        if let std::task::Poll::Ready(result) = waiter.poll() {
            break result;
        }
    };
    timed_out.expect_err("the connect hangs");
    let took = began.elapsed();
    assert!(took >= 30 * SECOND && took < 31 * SECOND, "{took:?}");
    drop(waiter);
    bed.finish().await;
}
