//! `warm_up`: a start that fails early if no connection can be opened.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{ConnectError, WarmUpError};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, FakeError};
use pool_tests::bed::{Bed, HandPolled, SECOND, quiesce, start};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn warm_up_returns_when_so_many_are_open() {
    let bed = Bed::new(8);
    bed.fake.set(Call::Connect, Answer::After(SECOND));
    let began = Instant::now();
    bed.pool.warm_up(8).await.expect("all connect");
    assert_eq!(began.elapsed(), 2 * SECOND, "two batches of four");
    assert_eq!(bed.pool.status().idle, 8);
    bed.pool.warm_up(8).await.expect("nothing is missing");
    bed.pool.warm_up(0).await.expect("nothing is wanted");
    assert_eq!(bed.fake.counts().connect.started, 8);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn warm_up_counts_leased_connections() {
    let bed = Bed::new(3);
    let lease = bed.lease().await;
    bed.pool.warm_up(2).await.expect("one more connects");
    assert_eq!((bed.pool.status().leased, bed.pool.status().idle), (1, 1));
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn warm_up_fails_with_the_first_failure() {
    let bed = Bed::with(4, |builder| builder.max_connecting(1));
    bed.fake
        .queue(Call::Connect, [Answer::Ok, Answer::Transient]);
    let error = bed.pool.warm_up(3).await.expect_err("the second fails");
    assert_eq!(
        error.to_string(),
        "warm-up failed with 1 of 3 connections open"
    );
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<ConnectError>());
    let origin = cause.and_then(Error::source);
    assert!(
        origin.is_some_and(<dyn Error>::is::<FakeError>),
        "{error:?}"
    );
    assert!(matches!(
        error,
        WarmUpError::Connect {
            wanted: 3,
            open: 1,
            ..
        }
    ));
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 1, "what was opened stays");
    assert_eq!(bed.fake.counts().connect.started, 2, "no more are wanted");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn warm_up_beyond_the_limit_is_refused() {
    let bed = Bed::new(2);
    let error = bed.pool.warm_up(3).await.expect_err("it cannot be");
    assert_eq!(
        error.to_string(),
        "warm-up of 3 connections exceeds max_size 2"
    );
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 0);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn warm_up_of_a_pool_that_becomes_too_small_ends_at_once() {
    let bed = Bed::new(4);
    bed.fake.set(Call::Connect, Answer::Manual);
    let pool = bed.pool.clone();
    let began = Instant::now();
    let warm_up = start(async move { pool.warm_up(4).await });
    quiesce().await;
    bed.pool.resize(2).expect("the pool is open");
    let error = warm_up.await.expect("no panic").expect_err("it cannot be");
    assert!(
        matches!(
            error,
            WarmUpError::TooMany {
                wanted: 4,
                max_size: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    bed.finish().await;
}

/// Slow closes hold all slots, so no connect starts, and none fails.
#[tokio::test(start_paused = true)]
async fn warm_up_ends_at_its_deadline() {
    let bed = Bed::with(2, |builder| builder.connect_timeout(3 * SECOND));
    bed.fake.set(Call::Close, Answer::Manual);
    bed.idle(2).await;
    bed.pool.evict_all();
    let began = Instant::now();
    let error = bed.pool.warm_up(1).await.expect_err("both slots are taken");
    assert_eq!(
        began.elapsed(),
        4 * SECOND,
        "the connect timeout and a second"
    );
    assert_eq!(
        error.to_string(),
        "warm-up took longer than 4s: \
         0 of 2 leased, 0 idle, 0 opening, 2 closing, 0 stuck, 0 waiting"
    );
    for _ in 0..2 {
        bed.fake.next(Call::Close).await.succeed();
    }
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn warm_up_of_a_closed_pool_ends_at_once() {
    let bed = Bed::new(2);
    bed.fake.set(Call::Connect, Answer::Manual);
    let pool = bed.pool.clone();
    let warm_up = start(async move { pool.warm_up(1).await });
    drop(bed.fake.next(Call::Connect).await);
    bed.pool.close(SECOND).await;
    let error = warm_up
        .await
        .expect("the task does not panic")
        .expect_err("the pool closed");
    assert!(matches!(error, WarmUpError::Closed));
    assert_eq!(
        error.to_string(),
        "warm-up ended because the pool is closed"
    );
    assert!(matches!(
        bed.pool.warm_up(1).await,
        Err(WarmUpError::Closed)
    ));
    bed.finish().await;
}

/// Connects in flight continue.
#[tokio::test(start_paused = true)]
async fn warm_up_that_is_dropped_starts_no_more() {
    let bed = Bed::with(4, |builder| builder.max_connecting(1));
    bed.fake
        .set(Call::Connect, Answer::After(Duration::from_millis(10)));
    let warm_up = HandPolled::waiting(bed.pool.warm_up(4));
    quiesce().await;
    drop(warm_up);
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        (bed.pool.status().idle, bed.fake.counts().connect.started),
        (1, 1)
    );
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn warm_ups_at_the_same_time_share_what_they_open() {
    let bed = Bed::new(4);
    bed.fake.set(Call::Connect, Answer::After(SECOND));
    let (few, many) = tokio::join!(bed.pool.warm_up(2), bed.pool.warm_up(3));
    few.expect("they connect");
    many.expect("they connect");
    assert_eq!(bed.fake.counts().connect.started, 3);
    bed.finish().await;
}

/// Each connect has its own deadline: four of them, one after the other, have four times as long.
#[tokio::test(start_paused = true)]
async fn warm_up_may_take_as_long_as_its_connects_together() {
    let bed = Bed::with(8, |builder| {
        builder.max_connecting(1).connect_timeout(2 * SECOND)
    });
    bed.fake.set(Call::Connect, Answer::After(SECOND));
    bed.pool
        .warm_up(4)
        .await
        .expect("no connect takes two seconds");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn warm_up_whose_connect_hangs_fails_with_the_connect() {
    let bed = Bed::new(1);
    bed.fake.set(Call::Connect, Answer::Never);
    let mut warm_up = Box::pin(bed.pool.warm_up(1));
    assert!(poll_once(&mut warm_up).is_pending());
    // As on a real clock: the connect starts a moment later.
    let mut moment = Box::pin(tokio::time::advance(Duration::from_millis(1)));
    assert!(poll_once(&mut moment).is_pending());
    let error = warm_up.await.expect_err("the connect hangs");
    assert!(matches!(error, WarmUpError::Connect { .. }), "{error}");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn warm_up_during_the_delay_after_a_failure_fails_with_the_failure() {
    let bed = Bed::with(1, |builder| {
        let ages = 3600 * SECOND;
        builder.connect_timeout(SECOND).retry_delay(ages, ages)
    });
    bed.fake.set(Call::Connect, Answer::Transient);
    bed.pool
        .acquire_within(SECOND)
        .await
        .expect_err("it cannot connect");
    let error = bed.pool.warm_up(1).await.expect_err("no connect starts");
    assert!(error.source().is_some(), "no word of the failure: {error}");
    bed.finish().await;
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
