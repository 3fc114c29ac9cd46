//! Checks of connections that were idle for long, before they are lent: the caller that draws one waits
//! for its check, keeps its turn if that fails, and never waits for longer than its timeout.

use std::time::Duration;

use pool_core::{AcquireError, CloseReason, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, SECOND, TICK, pass, quiesce};

/// A pool that checks nothing in the background.
fn bed(max_size: usize) -> Bed {
    Bed::with(max_size, |builder| {
        builder
            .check_interval(None)
            .check_after_idle(10 * SECOND)
            .check_timeout(5 * SECOND)
    })
}

#[tokio::test(start_paused = true)]
async fn connection_that_was_idle_for_long_is_checked_before_it_is_lent() {
    let bed = bed(1);
    let ids = bed.idle(1).await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(9 * SECOND).await;
    drop(
        HandPolled::new(bed.pool.acquire())
            .ready()
            .expect("at once"),
    );
    pass(11 * SECOND).await;
    let mut waiting = HandPolled::waiting(bed.pool.acquire());
    let check = bed.fake.next(Call::Check).await;
    assert_eq!((check.id(), bed.pool.status().checking), (ids[0], 1));
    check.succeed();
    quiesce().await;
    let lease = waiting.ready().expect("it passed");
    assert_eq!(PooledConnection::id(&lease), ids[0]);
    assert_eq!(
        bed.fake.counts().connect.started,
        1,
        "nothing else was opened"
    );
    drop((waiting, lease));
    bed.finish().await;
}

/// It is before all others, since its turn had come.
#[tokio::test(start_paused = true)]
async fn caller_whose_check_fails_gets_the_next_connection() {
    let bed = bed(1);
    let ids = bed.idle(1).await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(11 * SECOND).await;
    let mut first = HandPolled::waiting(bed.pool.acquire());
    let mut second = HandPolled::waiting(bed.pool.acquire());
    bed.fake.next(Call::Check).await.fail("half open");
    quiesce().await;
    let lease = first.ready().expect("another was opened for it");
    assert!(second.poll().is_pending());
    assert_ne!(PooledConnection::id(&lease), ids[0]);
    assert_eq!(bed.reasons(), [CloseReason::CheckFailed]);
    drop(lease);
    drop(second.ready().expect("it is next"));
    drop((first, second));
    bed.finish().await;
}

/// The next stale one is checked at once, without another caller.
#[tokio::test(start_paused = true)]
async fn after_a_failed_check_the_next_connection_is_checked_for_the_caller() {
    let bed = bed(3);
    let ids = bed.idle(3).await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(11 * SECOND).await;
    let mut waiting = HandPolled::waiting(bed.pool.acquire());
    bed.fake.next(Call::Check).await.fail("half open");
    quiesce().await;
    let check = bed.fake.next(Call::Check).await;
    assert_eq!(check.id(), ids[1], "used before the first");
    assert_eq!(bed.pool.status().idle, 1);
    check.succeed();
    quiesce().await;
    drop(waiting.ready().expect("it passed"));
    drop(waiting);
    assert_eq!(bed.fake.counts().connect.started, 3);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn caller_waits_for_a_check_no_longer_than_its_timeout() {
    let bed = bed(1);
    bed.idle(1).await;
    bed.fake.set(Call::Check, Answer::Never);
    pass(11 * SECOND).await;
    let mut waiting = HandPolled::waiting(bed.pool.acquire_within(2 * SECOND));
    pass(2 * SECOND - TICK).await;
    assert!(waiting.poll().is_pending());
    pass(TICK).await;
    let error = waiting.ready().expect_err("the check takes longer");
    assert!(matches!(error, AcquireError::Timeout { .. }), "{error}");
    drop(waiting);
    bed.finish().await;
}

/// A peer that vanished answers nothing, so the check lasts as long as it may.
#[tokio::test(start_paused = true)]
async fn caller_gets_a_new_connection_a_second_after_its_check_began() {
    let bed = bed(2);
    bed.idle(1).await;
    bed.fake.set(Call::Check, Answer::Never);
    pass(11 * SECOND).await;
    let mut waiting = HandPolled::waiting(bed.pool.acquire());
    pass(SECOND + TICK).await;
    let lease = waiting.ready().expect("there is room for another");
    assert_eq!(bed.pool.status().checking, 1);
    drop((waiting, lease));
    bed.finish().await;
}

/// It does not wait for one check after the other of peers that all vanished.
#[tokio::test(start_paused = true)]
async fn caller_whose_check_takes_long_gets_a_new_connection_beside_the_next_check() {
    let bed = bed(4);
    bed.idle(3).await;
    bed.fake.set(Call::Check, Answer::Never);
    pass(11 * SECOND).await;
    let mut waiting = HandPolled::waiting(bed.pool.acquire());
    pass(SECOND + TICK).await;
    let lease = waiting.ready().expect("there is room for another");
    assert_eq!((bed.pool.status().checking, bed.pool.status().idle), (2, 1));
    drop((waiting, lease));
    bed.finish().await;
}

/// Only who draws it waits for its check.
#[tokio::test(start_paused = true)]
async fn connections_that_were_used_lately_are_lent_at_once() {
    let bed = bed(3);
    let ids = bed.idle(3).await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(8 * SECOND).await;
    drop(bed.lease().await);
    pass(3 * SECOND).await;
    // The one that was used again, then the others.
    let used = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect("at once");
    assert_eq!(PooledConnection::id(&used), ids[0]);
    let mut two = [(); 2].map(|()| HandPolled::waiting(bed.pool.acquire()));
    assert_eq!(bed.pool.status().checking, 2, "one for each");
    drop(used);
    let first = two[0].ready().expect("what is returned serves the first");
    assert_eq!(PooledConnection::id(&first), ids[0]);
    for _ in 0..2 {
        bed.fake.next(Call::Check).await.succeed();
    }
    quiesce().await;
    drop(two[1].ready().expect("its check passed"));
    drop((two, first));
    bed.finish().await;
}

/// A check in the background proves it as well as a use.
#[tokio::test(start_paused = true)]
async fn connection_that_was_checked_lately_is_lent_at_once() {
    let bed = Bed::with(2, |builder| {
        builder
            .check_interval(4 * SECOND)
            .check_after_idle(6 * SECOND)
    });
    bed.idle(2).await;
    pass(60 * SECOND).await;
    bed.fake.set(Call::Check, Answer::Manual);
    drop(
        HandPolled::new(bed.pool.acquire())
            .ready()
            .expect("at once"),
    );
    bed.fake.set(Call::Check, Answer::Ok);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn caller_that_does_not_wait_is_lent_it_unchecked() {
    let bed = bed(1);
    let ids = bed.idle(1).await;
    pass(11 * SECOND).await;
    let lease = bed.pool.try_acquire().expect("it is idle");
    assert_eq!(PooledConnection::id(&lease), ids[0]);
    drop(lease);
    pass(11 * SECOND).await;
    let mut acquire = HandPolled::new(bed.pool.acquire_within(Duration::ZERO));
    drop(acquire.ready().expect("it is idle"));
    assert_eq!(bed.fake.counts().check.started, 0);
    drop(acquire);
    bed.finish().await;
}

/// It would overtake the caller that waits for the check of the other one.
#[tokio::test(start_paused = true)]
async fn caller_that_does_not_wait_overtakes_nobody() {
    let bed = bed(2);
    bed.idle(2).await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(11 * SECOND).await;
    let waiting = HandPolled::waiting(bed.pool.acquire());
    bed.pool.try_acquire().expect_err("another caller waits");
    bed.fake.next(Call::Check).await.succeed();
    drop(waiting);
    quiesce().await;
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn check_goes_on_when_its_caller_gives_up() {
    let bed = bed(1);
    bed.idle(1).await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(11 * SECOND).await;
    drop(HandPolled::waiting(bed.pool.acquire()));
    bed.fake.next(Call::Check).await.succeed();
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 1);
    drop(
        HandPolled::new(bed.pool.acquire())
            .ready()
            .expect("at once"),
    );
    bed.finish().await;
}

/// A pool without a queue still lends what is idle.
#[tokio::test(start_paused = true)]
async fn caller_waits_for_a_check_though_nobody_may_wait() {
    let bed = Bed::with(1, |builder| {
        builder
            .max_waiters(0)
            .check_interval(None)
            .check_after_idle(10 * SECOND)
    });
    bed.pool.warm_up(1).await.expect("it connects");
    pass(11 * SECOND).await;
    drop(bed.lease().await);
    assert_eq!(bed.fake.counts().check.succeeded, 1);
    bed.finish().await;
}
