//! `close`: callers are refused at once, leases are waited for, and the report says what is left.

use std::time::Duration;

use pool_core::{
    AcquireError, CloseReason, EventKind, PooledConnection, ResizeError, TryAcquireError,
};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, pass, quiesce, start};
use tokio::time::Instant;

/// Invariants 8 and 11.
#[tokio::test(start_paused = true)]
async fn close_of_an_idle_pool_closes_all_and_reports_it() {
    let bed = Bed::new(10);
    bed.idle(10).await;
    let report = bed.pool.close(MINUTE).await;
    assert!(report.is_complete());
    assert_eq!((report.closed, report.still_leased), (10, 0));
    assert_eq!(bed.reasons(), [CloseReason::PoolClosed; 10]);
    assert!(bed.pool.status().is_closed);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_of_an_unused_pool_is_complete() {
    let bed = Bed::new(1);
    let report = bed.pool.close(Duration::ZERO).await;
    assert!(report.is_complete());
    assert_eq!(report.closed, 0);
    bed.finish().await;
}

/// Invariant 11. Every kind of call is answered with `Closed`, and changes nothing.
#[tokio::test(start_paused = true)]
async fn every_caller_of_a_closed_pool_is_refused() {
    let bed = Bed::with(1, |builder| builder.name("workers"));
    let lease = bed.lease().await;
    let waiters: Vec<_> = (0..3).map(|_| bed.acquirer()).collect();
    quiesce().await;
    let close = start({
        let pool = bed.pool.clone();
        async move { pool.close(MINUTE).await }
    });
    let began = Instant::now();
    for waiter in waiters {
        let error = waiter
            .await
            .expect("the task does not panic")
            .expect_err("the pool is closed");
        assert!(matches!(error, AcquireError::Closed { .. }));
        assert!(
            error.to_string().starts_with("pool `workers` is closed: "),
            "{error}"
        );
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    let zero = bed.pool.acquire_within(Duration::ZERO).await;
    assert!(matches!(zero, Err(AcquireError::Closed { .. })));
    let later = HandPolled::new(bed.pool.acquire()).ready();
    assert!(matches!(later, Err(AcquireError::Closed { .. })));
    assert!(matches!(
        bed.pool.try_acquire(),
        Err(TryAcquireError::Closed { .. })
    ));
    assert_eq!(bed.pool.resize(5), Err(ResizeError::Closed));
    assert_eq!(bed.pool.evict_all(), 1, "the lease");
    assert_eq!(bed.pool.retain(|_| false), 0, "it is to be closed already");
    drop(lease);
    assert!(close.await.expect("the task does not panic").is_complete());
    bed.finish().await;
}

/// The close waits for a lease until its deadline. A later return closes the connection.
#[tokio::test(start_paused = true)]
async fn close_reports_at_its_deadline_what_is_still_lent() {
    let bed = Bed::new(3);
    let leases = bed.leases(2).await;
    drop(bed.lease().await);
    let began = Instant::now();
    let report = bed.pool.close(5 * SECOND).await;
    assert_eq!(began.elapsed(), 5 * SECOND);
    assert_eq!(
        (
            report.closed,
            report.still_leased,
            report.closing,
            report.stuck
        ),
        (1, 2, 0, 0)
    );
    assert!(!report.is_complete());
    drop(leases);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::PoolClosed; 3]);
    let again = bed.pool.close(Duration::ZERO).await;
    assert_eq!((again.closed, again.is_complete()), (3, true));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_returns_when_the_last_lease_is_home_and_closed() {
    let bed = Bed::new(1);
    bed.fake.set(Call::Close, Answer::After(2 * SECOND));
    let lease = bed.lease().await;
    let began = Instant::now();
    let holder = start(async move {
        pass(SECOND - Duration::from_millis(1)).await;
        drop(lease);
    });
    let report = bed.pool.close(MINUTE).await;
    assert!(report.is_complete());
    assert_eq!(began.elapsed(), 3 * SECOND);
    holder.await.expect("the task does not panic");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_with_no_time_begins_the_close_all_the_same() {
    let bed = Bed::new(2);
    bed.fake.set(Call::Close, Answer::After(SECOND));
    bed.idle(2).await;
    let report = bed.pool.close(Duration::ZERO).await;
    assert_eq!((report.closed, report.closing), (0, 2));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn callers_of_close_at_the_same_time_share_its_end() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let closes: Vec<_> = (1..=3)
        .map(|seconds| {
            let pool = bed.pool.clone();
            start(async move { pool.close(seconds * 10 * SECOND).await })
        })
        .collect();
    pass(15 * SECOND).await;
    assert!(closes[0].is_finished(), "its time is up");
    drop(lease);
    let mut complete = Vec::new();
    for close in closes {
        complete.push(close.await.expect("the task does not panic").is_complete());
    }
    assert_eq!(complete, [false, true, true]);
    let closing = |kind: &EventKind| matches!(kind, EventKind::PoolClosing);
    assert_eq!(bed.ledger.count_events(closing), 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_continues_when_its_future_is_dropped() {
    let bed = Bed::new(2);
    bed.idle(2).await;
    drop(HandPolled::waiting(bed.pool.close(MINUTE)));
    bed.pool.acquire().await.expect_err("it is closed");
    quiesce().await;
    assert_eq!(bed.fake.counts().alive, 0);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_begins_with_its_first_poll() {
    let bed = Bed::new(1);
    drop(bed.pool.close(MINUTE));
    drop(bed.lease().await);
    bed.finish().await;
}

/// Their slots are free at once.
#[tokio::test(start_paused = true)]
async fn close_drops_connects_in_flight() {
    let bed = Bed::with(4, |builder| builder.max_connecting(4));
    bed.fake.set(Call::Connect, Answer::Manual);
    let waiters: Vec<_> = (0..4).map(|_| bed.acquirer()).collect();
    let mut connects = Vec::new();
    for _ in 0..4 {
        connects.push(bed.fake.next(Call::Connect).await);
    }
    let began = Instant::now();
    let report = bed.pool.close(MINUTE).await;
    assert!(report.is_complete());
    assert_eq!((report.closed, began.elapsed()), (0, Duration::ZERO));
    assert!(
        connects
            .iter()
            .all(pool_testkit::connector::PendingCall::is_cancelled)
    );
    let aborted = |kind: &EventKind| matches!(kind, EventKind::ConnectAborted { .. });
    assert_eq!(bed.ledger.count_events(aborted), 4);
    for waiter in waiters {
        waiter
            .await
            .expect("the task does not panic")
            .expect_err("it is closed");
    }
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connect_that_succeeds_in_the_moment_of_the_close_is_closed() {
    let bed = Bed::new(1);
    bed.fake.set(Call::Connect, Answer::Manual);
    let waiter = HandPolled::waiting(bed.pool.acquire());
    bed.fake.next(Call::Connect).await.succeed();
    drop(waiter);
    let report = bed.pool.close(MINUTE).await;
    assert!(report.is_complete());
    assert_eq!(bed.fake.counts().alive, 0);
    bed.finish().await;
}

/// A connection that is returned, reset or checked in a closed pool is closed.
#[tokio::test(start_paused = true)]
async fn no_connection_of_a_closed_pool_becomes_idle() {
    let bed = Bed::with(3, |builder| builder.check_interval(SECOND));
    bed.fake.set(Call::Check, Answer::Manual);
    bed.fake.set(Call::Reset, Answer::Manual);
    let (lent, reset, checked) = (bed.lease().await, bed.lease().await, bed.lease().await);
    drop(checked);
    bed.begin_check(SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    reset.mark_needs_reset();
    drop(reset);
    let reset = bed.fake.next(Call::Reset).await;
    let mut close = HandPolled::waiting(bed.pool.close(MINUTE));
    drop(lent);
    check.succeed();
    reset.succeed();
    quiesce().await;
    assert!(close.ready().is_complete());
    assert_eq!(bed.reasons(), [CloseReason::PoolClosed; 3]);
    drop(close);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_closed_at_the_same_time() {
    let bed = Bed::new(10);
    bed.fake.set(Call::Close, Answer::After(SECOND));
    bed.idle(10).await;
    let began = Instant::now();
    assert!(bed.pool.close(MINUTE).await.is_complete());
    assert_eq!(began.elapsed(), SECOND);
    bed.finish().await;
}

/// Each connection is closed with the reason of its own.
#[tokio::test(start_paused = true)]
async fn late_returns_to_a_closed_pool_are_harmless() {
    let bed = Bed::new(4);
    let mut leases = bed.leases(4).await;
    bed.pool.close(SECOND).await;
    leases.pop().expect("four were leased").mark_dirty();
    PooledConnection::discard(leases.pop().expect("four were leased"));
    leases.pop().expect("four were leased").die();
    drop(leases);
    quiesce().await;
    let mut reasons: Vec<_> = bed.reasons().iter().map(ToString::to_string).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["died", "dirty", "discarded", "pool_closed"]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waiter_that_was_served_before_the_close_and_polled_after_it_gets_nothing() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    // This serves the waiter.
    drop(lease);
    let close = HandPolled::waiting(bed.pool.close(MINUTE));
    let served = waiter.ready();
    assert!(
        matches!(served, Err(AcquireError::Closed { .. })),
        "{served:?}"
    );
    drop((waiter, close));
    bed.finish().await;
}
