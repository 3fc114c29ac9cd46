//! Callers that get no connection: when, why, and what the error says.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use pool_core::{
    AcquireError, AcquirePhase, ConnectionPool, PooledConnection, SharedPool, TryAcquireError,
    connector_fn,
};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, SECOND, TICK, pass, quiesce, start};
use tokio::time::Instant;

/// Timeouts below ten seconds are exact.
#[tokio::test(start_paused = true)]
async fn acquire_ends_at_its_timeout() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    for timeout in [Duration::from_millis(100), SECOND, 7 * SECOND] {
        let began = Instant::now();
        let error = bed
            .pool
            .acquire_within(timeout)
            .await
            .expect_err("it is lent");
        assert_eq!(began.elapsed(), timeout);
        assert!(matches!(error, AcquireError::Timeout { limit, .. } if limit == timeout));
    }
    drop(lease);
    bed.finish().await;
}

/// The coarse clock measures long timeouts: they are never early, and late by two ticks at most.
#[tokio::test(start_paused = true)]
async fn long_timeouts_are_not_early_and_hardly_late() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    for offset in [0, 30, 70, 99, 250] {
        pass(Duration::from_millis(offset)).await;
        let began = Instant::now();
        bed.pool.acquire().await.expect_err("it is lent");
        let took = began.elapsed();
        assert!(
            took >= 30 * SECOND && took <= 30 * SECOND + 2 * TICK,
            "{took:?}"
        );
    }
    drop(lease);
    bed.finish().await;
}

/// The error says what the caller waited for, and the state of the pool.
#[tokio::test(start_paused = true)]
async fn timeout_in_the_queue_says_that_all_are_lent() {
    let bed = Bed::with(1, |builder| builder.name("workers"));
    let lease = bed.lease().await;
    let other = HandPolled::waiting(bed.pool.acquire());
    let error = bed
        .pool
        .acquire_within(SECOND)
        .await
        .expect_err("it is lent");
    let context = error.context();
    assert_eq!(context.phase, AcquirePhase::Queue);
    assert_eq!((context.status.leased, context.status.waiting), (1, 2));
    assert!(context.last_failure.is_none());
    assert_eq!(
        error.to_string(),
        "no connection of pool `workers` within 1s: waiting for a connection to come back; \
         1 of 1 leased, 0 idle, 0 opening, 0 closing, 0 stuck, 2 waiting"
    );
    drop((other, lease));
    bed.finish().await;
}

/// The error says that the caller waited for a connect.
#[tokio::test(start_paused = true)]
async fn timeout_during_a_connect_says_so() {
    let bed = Bed::new(1);
    bed.fake.queue(Call::Connect, [Answer::Never]);
    let error = bed.pool.acquire_within(SECOND).await.expect_err("it hangs");
    assert_eq!(error.context().phase, AcquirePhase::Connect);
    assert_eq!(error.context().status.opening, 1);
    bed.finish().await;
}

/// The timeout carries the last failed connect as its cause, even if that was long ago.
#[tokio::test(start_paused = true)]
async fn timeout_during_the_delay_carries_the_last_failure() {
    let bed = Bed::with(1, |builder| {
        // So long that the random part of the delay does not matter.
        let ages = 1_000_000_000 * SECOND;
        builder.retry_delay(ages, ages).fail_fast_after(100)
    });
    bed.fake.set(Call::Connect, Answer::Transient);
    let short = Duration::from_millis(1);
    let error = bed.pool.acquire_within(short).await.expect_err("it fails");
    assert_eq!(error.context().phase, AcquirePhase::Backoff);
    assert!(error.context().last_failure.is_some());
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

/// A timeout of zero never waits and opens nothing.
#[tokio::test(start_paused = true)]
async fn acquire_within_zero_takes_an_idle_connection_or_fails_on_its_first_poll() {
    let bed = Bed::new(2);
    let error = HandPolled::new(bed.pool.acquire_within(Duration::ZERO)).ready();
    let error = error.expect_err("nothing is idle");
    assert!(matches!(
        error,
        AcquireError::Timeout {
            limit: Duration::ZERO,
            ..
        }
    ));
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 0);
    let ids = bed.idle(1).await;
    let lease = HandPolled::new(bed.pool.acquire_within(Duration::ZERO)).ready();
    let lease = lease.expect("one is idle");
    assert_eq!(PooledConnection::id(&lease), ids[0]);
    drop(lease);
    bed.finish().await;
}

/// The timeout runs from the first poll, not from the call.
#[tokio::test(start_paused = true)]
async fn timeout_begins_with_the_first_poll() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let acquire = bed.pool.acquire_within(SECOND);
    pass(5 * SECOND).await;
    let began = Instant::now();
    acquire.await.expect_err("it is lent");
    assert_eq!(began.elapsed(), SECOND);
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn try_acquire_never_connects_and_names_the_state() {
    let bed = Bed::with(2, |builder| builder.name("workers"));
    let error = bed.pool.try_acquire().expect_err("nothing is idle");
    assert!(matches!(error, TryAcquireError::Empty { .. }));
    assert_eq!(
        error.to_string(),
        "no idle connection in pool `workers`: \
         0 of 2 leased, 0 idle, 0 opening, 0 closing, 0 stuck, 0 waiting"
    );
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 0);
    bed.idle(1).await;
    let lease = bed.pool.try_acquire().expect("one is idle");
    bed.pool.try_acquire().expect_err("it is lent");
    drop(lease);
    bed.pool.close(SECOND).await;
    let error = bed.pool.try_acquire().expect_err("it is closed");
    assert!(matches!(error, TryAcquireError::Closed { .. }));
    assert!(
        error
            .to_string()
            .starts_with("pool `workers` is closed: 0 of 2")
    );
    bed.finish().await;
}

/// Dead connections are passed over, and each one is closed.
#[tokio::test(start_paused = true)]
async fn try_acquire_passes_over_dead_connections() {
    let bed = Bed::new(3);
    let ids = bed.idle(3).await;
    pass(2 * SECOND).await;
    bed.fake.kill_silently(ids[0]);
    bed.fake.kill_silently(ids[1]);
    let lease = bed.pool.try_acquire().expect("the third lives");
    assert_eq!(PooledConnection::id(&lease), ids[2]);
    drop(lease);
    quiesce().await;
    assert_eq!(bed.pool.status().size(), 1);
    bed.finish().await;
}

/// One caller more than `max_waiters` is refused at its first poll.
#[tokio::test(start_paused = true)]
async fn waiter_beyond_the_bound_is_refused_at_once() {
    let bed = Bed::with(1, |builder| builder.max_waiters(2).name("workers"));
    let lease = bed.lease().await;
    let mut waiters: Vec<_> = (0..2)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    let error = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect_err("two wait");
    assert!(matches!(error, AcquireError::Overloaded { limit: 2, .. }));
    assert!(
        error
            .to_string()
            .starts_with("queue of pool `workers` is full with 2 waiters: "),
        "{error}"
    );
    drop(waiters.pop());
    let mut third = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    drop(waiters[0].ready().expect("it was first"));
    drop(third.ready().expect("it was admitted"));
    drop((waiters, third));
    bed.finish().await;
}

/// With `max_waiters` zero, only idle connections are lent.
#[tokio::test(start_paused = true)]
async fn pool_without_waiters_lends_what_is_idle() {
    let bed = Bed::with(2, |builder| builder.max_waiters(0));
    bed.pool
        .acquire()
        .await
        .expect_err("nobody may wait for a connect");
    bed.pool.warm_up(1).await.expect("the fake connects");
    let lease = bed.lease().await;
    bed.pool.acquire().await.expect_err("nobody may wait");
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn nested_acquire_ends_at_the_deadline() {
    let bed = Bed::with(1, |builder| builder.acquire_timeout(3 * SECOND));
    let began = Instant::now();
    let outer = bed.lease().await;
    let error = bed
        .pool
        .acquire()
        .await
        .expect_err("the caller itself holds the only connection");
    assert_eq!(began.elapsed(), 3 * SECOND);
    assert_eq!(error.context().status.leased, 1);
    drop(outer);
    bed.finish().await;
}

/// A timeout of the caller's own drops the acquire, as any cancellation does.
#[tokio::test(start_paused = true)]
async fn timeout_around_an_acquire_leaves_the_pool_usable() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    for _ in 0..5 {
        tokio::time::timeout(SECOND, bed.pool.acquire())
            .await
            .expect_err("it is lent");
    }
    assert_eq!(bed.pool.status().waiting, 0);
    drop(lease);
    drop(bed.lease().await);
    bed.finish().await;
}

/// A connection of a type that cannot be shown.
struct Bare;

/// The methods of `Result` for errors ask that a lease can be shown.
#[tokio::test(start_paused = true)]
async fn refusals_can_be_unwrapped_whatever_the_type_of_the_connection() {
    let connector = || connector_fn(async |_| Ok(Bare));
    let pool = ConnectionPool::builder(connector()).build();
    let pool = pool.expect("the settings are valid");
    let shared = SharedPool::builder(connector()).build();
    let shared = shared.expect("the settings are valid");
    let refusals = [
        pool.acquire_within(Duration::ZERO).await.unwrap_err(),
        shared.acquire_within(Duration::ZERO).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, AcquireError::Timeout { .. }), "{refusal}");
    }
    for refusal in [
        pool.try_acquire().unwrap_err(),
        shared.try_acquire().unwrap_err(),
    ] {
        assert!(
            matches!(refusal, TryAcquireError::Empty { .. }),
            "{refusal}"
        );
    }
}

/// With the longest timeout there is, no clock overflows.
#[tokio::test(start_paused = true)]
async fn acquire_without_a_limit_waits_until_a_connection_is_free() {
    let bed = Bed::with(1, |builder| {
        builder
            .acquire_timeout(Duration::MAX)
            .max_lifetime(Duration::MAX)
    });
    let lease = bed.lease().await;
    let waiter = bed.acquirer();
    pass(1_000_000 * SECOND).await;
    assert!(!waiter.is_finished());
    drop(lease);
    drop(
        waiter
            .await
            .expect("the task does not panic")
            .expect("it was returned"),
    );
    bed.finish().await;
}

/// A task that always finds an idle connection must let other tasks run.
#[tokio::test(start_paused = true)]
async fn acquire_that_never_waits_still_yields() {
    let bed = Bed::new(1);
    bed.idle(1).await;
    let other_ran = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&other_ran);
    let other = start(async move { notify.notify_one() });
    let mut turns = 0;
    while !other.is_finished() {
        drop(bed.lease().await);
        turns += 1;
        assert!(turns < 10_000, "nobody else runs");
    }
    bed.finish().await;
}

/// The runtime does nothing else for eleven seconds: time passes, and no task runs.
#[tokio::test(start_paused = true)]
async fn timeout_beside_a_busy_runtime_is_never_too_short() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut busy = std::pin::pin!(tokio::time::advance(11 * SECOND));
    let poll = busy.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending());
    let began = Instant::now();
    let error = bed.pool.acquire_within(10 * SECOND).await;
    let (error, took) = (error.expect_err("it is lent"), began.elapsed());
    assert!(took >= 10 * SECOND, "after {took:?}: {error}");
    drop(lease);
    bed.finish().await;
}
