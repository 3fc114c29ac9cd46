//! Checks of idle connections in the background: they leave enough to callers, are spread, end by their
//! deadline, and close what fails.

use pool_core::{CloseReason, ConnectionId, EventKind, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, MINUTE, SECOND, TICK, pass, quiesce};

/// Each after half the interval at the earliest, and after all of it at the latest.
#[tokio::test(start_paused = true)]
async fn idle_connections_are_checked_once_per_interval() {
    let bed = Bed::with(2, |builder| {
        builder
            .check_interval(10 * SECOND)
            .idle_timeout(None)
            .max_lifetime(None)
    });
    let ids = bed.idle(2).await;
    pass(4 * SECOND).await;
    assert_eq!(bed.fake.counts().check.started, 0);
    pass(MINUTE).await;
    for id in &ids {
        let checks = checks_of(&bed, *id);
        assert!((6..=12).contains(&checks), "{checks} of {id}");
    }
    let checked = |kind: &EventKind| matches!(kind, EventKind::Checked { .. });
    assert_eq!(
        bed.ledger.count_events(checked),
        bed.fake.counts().check.started
    );
    bed.finish().await;
}

fn checks_of(bed: &Bed, wanted: ConnectionId) -> usize {
    bed.ledger
        .count_events(|kind| matches!(kind, EventKind::Checking { id } if *id == wanted))
}

/// However many there are, and not all at the same moment.
#[tokio::test(start_paused = true)]
async fn hundreds_of_idle_connections_are_all_checked_in_each_interval_and_spread_over_it() {
    const CONNECTIONS: usize = 400;
    let bed = Bed::with(CONNECTIONS, |builder| {
        builder.check_interval(SECOND).max_connecting(CONNECTIONS)
    });
    let ids = bed.idle(CONNECTIONS).await;
    let mut before = bed.fake.counts().check.started;
    let mut most = 0;
    for _ in 0..100 {
        pass(TICK).await;
        let started = bed.fake.counts().check.started;
        most = most.max(started - before);
        before = started;
    }
    for id in ids {
        let checks = checks_of(&bed, id);
        assert!(
            (9..=20).contains(&checks),
            "{checks} of {id} in ten seconds"
        );
    }
    assert!(most <= CONNECTIONS / 3, "{most} in a tenth of a second");
    bed.finish().await;
}

/// Its next caller would have to wait.
#[tokio::test(start_paused = true)]
async fn last_idle_connection_is_not_checked_while_it_is_idle() {
    let bed = Bed::with(1, |builder| builder.check_interval(10 * SECOND));
    let ids = bed.idle(1).await;
    pass(5 * MINUTE).await;
    assert_eq!(bed.fake.counts().check.started, 0);
    let lease = bed.lease().await;
    assert_eq!(bed.fake.counts().check.succeeded, 1, "before it was lent");
    assert_eq!(PooledConnection::id(&lease), ids[0]);
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn half_of_the_idle_connections_can_be_lent_while_others_are_checked() {
    for (connections, checked) in [(2, 1), (3, 1), (4, 2), (20, 10)] {
        let bed = Bed::with(connections, |builder| {
            builder.check_interval(SECOND).check_timeout(MINUTE)
        });
        bed.idle(connections).await;
        bed.fake.set(Call::Check, Answer::Manual);
        pass(SECOND).await;
        let status = bed.pool.status();
        assert_eq!(
            (status.checking, status.idle),
            (checked, connections - checked)
        );
        // The others are checked in their turn.
        bed.fake.set(Call::Check, Answer::Ok);
        for _ in 0..checked {
            bed.fake.next(Call::Check).await.succeed();
        }
        pass(SECOND).await;
        assert_eq!(bed.pool.status().checking, 0);
        assert!(bed.fake.counts().check.succeeded >= connections);
        bed.finish().await;
    }
}

/// Two checks that hang do not keep the others from being checked.
#[tokio::test(start_paused = true)]
async fn checks_that_hang_do_not_hold_up_the_checks_of_others() {
    let bed = Bed::with(4, |builder| {
        builder.check_interval(10 * SECOND).check_timeout(MINUTE)
    });
    bed.idle(4).await;
    bed.fake.queue(Call::Check, [Answer::Never, Answer::Never]);
    pass(12 * SECOND).await;
    let counts = bed.fake.counts();
    assert_eq!(counts.check.running(), 2);
    assert!(counts.check.succeeded >= 2, "the others");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_in_use_is_not_checked() {
    let bed = Bed::with(3, |builder| builder.check_interval(10 * SECOND));
    let lent = bed.lease().await;
    for _ in 0..20 {
        let leases = (bed.lease().await, bed.lease().await);
        drop(leases);
        pass(4 * SECOND).await;
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
        let bed = Bed::with(2, |builder| {
            builder
                .check_interval(10 * SECOND)
                .check_timeout(3 * SECOND)
        });
        bed.fake.set(Call::Check, answer);
        bed.idle(2).await;
        pass(10 * SECOND + TICK).await;
        if answer == Answer::Never {
            pass(3 * SECOND).await;
            assert_eq!(bed.fake.counts().check.aborted, 1);
        }
        assert_eq!(bed.pool.status().size(), 1, "the last one is not checked");
        assert_eq!(bed.reasons(), [CloseReason::CheckFailed], "{answer:?}");
        let failed = |kind: &EventKind| matches!(kind, EventKind::CheckFailed { .. });
        assert_eq!(bed.ledger.count_events(failed), 1);
        bed.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn check_does_not_restart_the_idle_timeout() {
    let bed = Bed::with(2, |builder| {
        builder.check_interval(10 * SECOND).idle_timeout(MINUTE)
    });
    bed.idle(2).await;
    pass(MINUTE + 2 * TICK).await;
    assert_eq!(bed.reasons(), [CloseReason::Idle; 2]);
    assert!(bed.fake.counts().check.started >= 10);
    bed.finish().await;
}

/// The connection that was used last is lent first, not the one that was checked last.
#[tokio::test(start_paused = true)]
async fn check_does_not_change_the_order_of_the_idle() {
    let bed = Bed::with(2, |builder| builder.check_interval(10 * SECOND));
    let (older, newer) = (bed.lease().await, bed.lease().await);
    let used_last = PooledConnection::id(&newer);
    let used_first = PooledConnection::id(&older);
    drop(older);
    pass(4 * SECOND).await;
    drop(newer);
    pass(4 * SECOND).await;
    while checks_of(&bed, used_first) == 0 {
        pass(TICK).await;
    }
    let lease = bed.lease().await;
    assert_eq!(PooledConnection::id(&lease), used_last);
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_dies_or_expires_in_its_check_is_closed() {
    for (kills, reason) in [(true, CloseReason::Died), (false, CloseReason::Lifetime)] {
        let bed = Bed::with(2, |builder| {
            builder
                .check_interval(10 * SECOND)
                .max_lifetime(MINUTE)
                .check_timeout(5 * MINUTE)
        });
        bed.fake.set(Call::Check, Answer::Manual);
        bed.idle(2).await;
        let check = bed.fake.next(Call::Check).await;
        let id = check.id();
        if kills {
            bed.fake.kill(id);
            quiesce().await;
        } else {
            pass(MINUTE).await;
        }
        check.succeed();
        quiesce().await;
        assert!(bed.fake.closes().contains(&(id, reason)), "{reason}");
        bed.fake.set(Call::Check, Answer::Ok);
        bed.finish().await;
    }
}
