//! Closes that outlast their deadline: they are counted and reported, and hold their slots.

use std::time::Duration;

use pool_core::{CloseReason, EventKind, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, pass, quiesce};

/// It is counted, and named in errors.
#[tokio::test(start_paused = true)]
async fn stuck_close_is_reported_repeatedly_and_holds_its_slot_until_it_ends() {
    let bed = Bed::with(1, |builder| builder.close_timeout(5 * SECOND));
    bed.fake.set(Call::Close, Answer::Manual);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    PooledConnection::discard(lease);
    let close = bed.fake.next(Call::Close).await;
    assert_eq!((bed.pool.status().closing, bed.pool.status().stuck), (1, 0));
    pass(16 * SECOND).await;
    assert_eq!((bed.pool.status().closing, bed.pool.status().stuck), (0, 1));
    let mut told = Vec::new();
    for event in bed.ledger.events() {
        if let EventKind::Stuck {
            id: stuck,
            reason,
            since,
        } = event.kind
        {
            assert_eq!((stuck, reason), (id, CloseReason::Discarded));
            told.push(since);
        }
    }
    assert_eq!(told, [5 * SECOND, 10 * SECOND, 15 * SECOND]);
    let error = bed
        .pool
        .acquire_within(SECOND)
        .await
        .expect_err("the slot is taken");
    assert_eq!(error.context().status.stuck, 1);
    assert!(error.to_string().contains("1 stuck"), "{error}");
    assert_eq!(bed.fake.counts().connect.started, 1);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    assert!(!close.is_cancelled(), "a slow close is not dropped");
    close.succeed();
    quiesce().await;
    drop(waiter.ready().expect("the slot is free"));
    assert_eq!(bed.pool.status().stuck, 0);
    drop(waiter);
    bed.fake.set(Call::Close, Answer::Ok);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn churn_over_slow_closes_keeps_the_limit() {
    // A discard is no failure here.
    let bed = Bed::with(3, |builder| builder.min_uptime(Duration::ZERO));
    bed.fake.set(Call::Close, Answer::After(SECOND));
    let began = tokio::time::Instant::now();
    for _ in 0..30 {
        PooledConnection::discard(bed.lease().await);
    }
    assert_eq!(
        began.elapsed(),
        9 * SECOND,
        "three at a time, a second each"
    );
    assert_eq!(bed.fake.counts().occupied_peak, 3);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn stuck_close_keeps_nobody_else_waiting() {
    // A discard is no failure here.
    let bed = Bed::with(2, |builder| builder.min_uptime(Duration::ZERO));
    bed.fake.queue(Call::Close, [Answer::Never]);
    let (stuck, other) = (bed.lease().await, bed.lease().await);
    PooledConnection::discard(stuck);
    drop(other);
    for _ in 0..10 {
        PooledConnection::discard(bed.lease().await);
        quiesce().await;
    }
    assert_eq!(bed.fake.counts().close.succeeded, 10);
    assert_eq!(bed.pool.status().closing, 1);
    let report = bed.pool.close(MINUTE).await;
    assert_eq!((report.stuck, report.is_complete()), (1, false));
}

#[tokio::test(start_paused = true)]
async fn close_of_the_pool_reports_what_is_closing_and_what_is_stuck() {
    let bed = Bed::with(3, |builder| builder.close_timeout(5 * SECOND));
    bed.fake.set(Call::Close, Answer::Manual);
    let leases = bed.leases(3).await;
    let mut leases = leases.into_iter();
    drop(leases.next());
    let report = bed.pool.close(7 * SECOND).await;
    assert_eq!(
        (
            report.closed,
            report.still_leased,
            report.closing,
            report.stuck
        ),
        (0, 2, 0, 1)
    );
    drop(leases.next());
    let report = bed.pool.close(SECOND).await;
    assert_eq!(
        (
            report.closed,
            report.still_leased,
            report.closing,
            report.stuck
        ),
        (0, 1, 1, 1)
    );
    drop(leases);
    for _ in 0..3 {
        bed.fake.next(Call::Close).await.succeed();
    }
    let report = bed.pool.close(SECOND).await;
    assert_eq!((report.closed, report.is_complete()), (3, true));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_within_its_deadline_is_not_reported_as_stuck() {
    let bed = Bed::with(1, |builder| builder.close_timeout(5 * SECOND));
    bed.fake.set(
        Call::Close,
        Answer::After(5 * SECOND - Duration::from_millis(1)),
    );
    PooledConnection::discard(bed.lease().await);
    pass(10 * SECOND).await;
    let stuck = |kind: &EventKind| matches!(kind, EventKind::Stuck { .. });
    assert_eq!(bed.ledger.count_events(stuck), 0);
    bed.finish().await;
}
