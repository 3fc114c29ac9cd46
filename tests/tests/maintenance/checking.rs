//! Checks of idle connections: they delay no other caller, end by their deadline, and close what fails.

use pool_core::{CloseReason, EventKind, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, TICK, pass, quiesce};

#[tokio::test(start_paused = true)]
async fn idle_connection_is_checked_once_per_interval() {
    let bed = Bed::with(1, |builder| {
        builder
            .check_interval(10 * SECOND)
            .idle_timeout(None)
            .max_lifetime(None)
    });
    let ids = bed.idle(1).await;
    pass(9 * SECOND).await;
    assert_eq!(bed.fake.counts().check.started, 0);
    pass(MINUTE).await;
    let checks = bed.fake.counts().check.started;
    assert!((6..=7).contains(&checks), "{checks}");
    assert_eq!(bed.fake.alive(), ids);
    let checked = |kind: &EventKind| matches!(kind, EventKind::Checked { .. });
    assert_eq!(bed.ledger.count_events(checked), checks);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_in_use_is_not_checked() {
    let bed = Bed::with(2, |builder| builder.check_interval(10 * SECOND));
    let lent = bed.lease().await;
    for _ in 0..20 {
        drop(bed.lease().await);
        pass(8 * SECOND).await;
    }
    assert_eq!(bed.fake.counts().check.started, 0);
    drop(lent);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_nothing_is_checked() {
    let bed = Bed::with(2, |builder| builder.check_interval(None));
    bed.idle(2).await;
    pass(9 * MINUTE).await;
    assert_eq!(bed.fake.counts().check.started, 0);
    bed.finish().await;
}

/// It fails, panics or hangs; a check that hangs ends at its deadline.
#[tokio::test(start_paused = true)]
async fn check_that_does_not_succeed_closes_its_connection() {
    for answer in [Answer::Transient, Answer::Panic, Answer::Never] {
        let bed = Bed::with(1, |builder| {
            builder
                .check_interval(10 * SECOND)
                .check_timeout(3 * SECOND)
        });
        bed.fake.set(Call::Check, answer);
        bed.idle(1).await;
        pass(10 * SECOND + TICK).await;
        if answer == Answer::Never {
            assert_eq!(bed.pool.status().checking, 1);
            pass(3 * SECOND).await;
            assert_eq!(bed.fake.counts().check.aborted, 1);
        }
        assert_eq!(bed.pool.status().size(), 0);
        assert_eq!(bed.reasons(), [CloseReason::CheckFailed], "{answer:?}");
        let failed = |kind: &EventKind| matches!(kind, EventKind::CheckFailed { .. });
        assert_eq!(bed.ledger.count_events(failed), 1);
        bed.finish().await;
    }
}

/// A caller that comes meanwhile waits for it or for another one.
#[tokio::test(start_paused = true)]
async fn connection_is_not_lent_while_it_is_checked() {
    let bed = Bed::with(1, |builder| builder.check_interval(10 * SECOND));
    bed.fake.set(Call::Check, Answer::Manual);
    let ids = bed.idle(1).await;
    let check = bed.fake.next(Call::Check).await;
    assert_eq!((check.id(), bed.pool.status().checking), (ids[0], 1));
    bed.pool.try_acquire().expect_err("it is being checked");
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    check.succeed();
    quiesce().await;
    let lease = waiter.ready().expect("it passed");
    assert_eq!(PooledConnection::id(&lease), ids[0]);
    drop((lease, waiter));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn caller_after_a_failed_check_gets_another_connection() {
    let bed = Bed::with(2, |builder| builder.check_interval(10 * SECOND));
    bed.fake.queue(Call::Check, [Answer::Transient]);
    let ids = bed.idle(2).await;
    pass(11 * SECOND).await;
    let leases = bed.leases(2).await;
    assert_eq!(bed.reasons(), [CloseReason::CheckFailed]);
    let kept = leases
        .iter()
        .filter(|lease| ids.contains(&PooledConnection::id(lease)));
    assert_eq!(kept.count(), 1);
    drop(leases);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waiter_outlasts_a_hung_check() {
    let bed = Bed::with(1, |builder| {
        builder
            .check_interval(10 * SECOND)
            .check_timeout(3 * SECOND)
    });
    bed.fake.set(Call::Check, Answer::Never);
    bed.idle(1).await;
    pass(10 * SECOND + TICK).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    pass(3 * SECOND).await;
    drop(waiter.ready().expect("a new one was opened"));
    drop(waiter);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn caller_gets_a_new_connection_beside_a_hung_check() {
    let bed = Bed::with(2, |builder| builder.check_interval(10 * SECOND));
    bed.fake.set(Call::Check, Answer::Never);
    bed.idle(1).await;
    pass(10 * SECOND + TICK).await;
    drop(
        bed.pool
            .acquire_within(SECOND)
            .await
            .expect("there is room for another"),
    );
    bed.finish().await;
}

/// The other idle connections can be lent meanwhile.
#[tokio::test(start_paused = true)]
async fn few_connections_are_checked_at_the_same_time() {
    let bed = Bed::with(20, |builder| builder.check_interval(10 * SECOND));
    bed.fake.set(Call::Check, Answer::Manual);
    bed.idle(20).await;
    pass(11 * SECOND).await;
    assert_eq!(
        (bed.pool.status().checking, bed.pool.status().idle),
        (4, 16)
    );
    bed.fake.set(Call::Check, Answer::Ok);
    for _ in 0..4 {
        bed.fake.next(Call::Check).await.succeed();
    }
    pass(SECOND).await;
    assert_eq!(bed.fake.counts().check.started, 20);
    assert_eq!(bed.pool.status().idle, 20);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn check_does_not_restart_the_idle_timeout() {
    let bed = Bed::with(1, |builder| {
        builder.check_interval(10 * SECOND).idle_timeout(MINUTE)
    });
    bed.idle(1).await;
    pass(MINUTE + 2 * TICK).await;
    assert_eq!(bed.reasons(), [CloseReason::Idle]);
    assert!(bed.fake.counts().check.started >= 5);
    bed.finish().await;
}

/// The connection that was used last is lent first, not the one that was checked last.
#[tokio::test(start_paused = true)]
async fn check_does_not_change_the_order_of_the_idle() {
    let bed = Bed::with(2, |builder| builder.check_interval(10 * SECOND));
    let (older, newer) = (bed.lease().await, bed.lease().await);
    let used_last = PooledConnection::id(&newer);
    drop(older);
    pass(5 * SECOND).await;
    drop(newer);
    pass(6 * SECOND).await;
    assert_eq!(bed.fake.counts().check.succeeded, 1, "of the older one");
    let lease = bed.lease().await;
    assert_eq!(PooledConnection::id(&lease), used_last);
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_dies_or_expires_in_its_check_is_closed() {
    for (kills, reason) in [(true, CloseReason::Died), (false, CloseReason::Lifetime)] {
        let bed = Bed::with(1, |builder| {
            builder
                .check_interval(10 * SECOND)
                .max_lifetime(MINUTE)
                .check_timeout(5 * MINUTE)
        });
        bed.fake.set(Call::Check, Answer::Manual);
        let ids = bed.idle(1).await;
        let check = bed.fake.next(Call::Check).await;
        if kills {
            bed.fake.kill(ids[0]);
            quiesce().await;
        } else {
            pass(MINUTE).await;
        }
        check.succeed();
        quiesce().await;
        assert_eq!(bed.fake.closes(), [(ids[0], reason)]);
        bed.finish().await;
    }
}
