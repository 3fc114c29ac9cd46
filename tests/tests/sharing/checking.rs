//! Checks of shared connections, which run while the connections serve.

use std::time::Duration;

use pool_core::CloseReason;
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, MINUTE, SECOND, TICK, pass, quiesce};

use crate::bed::{SharedBed, id, ids};

#[tokio::test(start_paused = true)]
async fn check_runs_while_the_connection_serves() {
    let bed = SharedBed::with(2, |builder| builder.check_interval(SECOND));
    let lease = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(2 * SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    let other = bed.lease().await;
    assert_eq!(id(&other), id(&lease), "it serves while it is checked");
    check.succeed();
    quiesce().await;
    pass(2 * SECOND).await;
    // The other connection, which was opened beside it, is checked as well.
    let checks = [
        bed.fake.next(Call::Check).await,
        bed.fake.next(Call::Check).await,
    ];
    for check in checks {
        if check.id() == id(&lease) {
            check.fail("no answer");
        } else {
            check.succeed();
        }
    }
    quiesce().await;
    let new = bed.lease().await;
    assert_ne!(id(&new), id(&lease), "it takes no new leases");
    assert_eq!(bed.reasons(), []);
    drop((lease, other));
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::CheckFailed]);
    bed.fake.set(Call::Check, Answer::Ok);
    drop(new);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_is_not_closed_before_its_check_has_ended() {
    let bed = SharedBed::with(1, |builder| builder.check_interval(SECOND));
    let lease = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(2 * SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    bed.fake.kill(id(&lease));
    drop(lease);
    quiesce().await;
    assert_eq!(bed.reasons(), [], "its check still uses it");
    check.succeed();
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Died]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_is_checked_by_one_check_at_a_time() {
    let bed = SharedBed::with(1, |builder| {
        builder.check_interval(SECOND).check_timeout(60 * SECOND)
    });
    let lease = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(2 * SECOND).await;
    // The sweep looks at it again because the pool is in use.
    let others = bed.leases(2).await;
    pass(2 * SECOND).await;
    assert_eq!(bed.fake.counts().check.running(), 1);
    bed.fake.next(Call::Check).await.succeed();
    drop((lease, others));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn hung_check_ends_at_its_deadline() {
    let bed = SharedBed::with(1, |builder| {
        builder.check_interval(SECOND).check_timeout(SECOND)
    });
    let lease = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(4 * SECOND).await;
    drop(lease);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::CheckFailed]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn every_connection_is_checked_in_each_interval() {
    const CONNECTIONS: usize = 10;
    let bed = SharedBed::with(CONNECTIONS, |builder| {
        builder.check_interval(SECOND).check_timeout(MINUTE)
    });
    bed.pool.warm_up(CONNECTIONS).await.unwrap();
    bed.fake.set(Call::Check, Answer::Manual);
    pass(SECOND).await;
    // They serve meanwhile, so however many there are, none has to wait for another.
    let mut seen = Vec::new();
    for _ in 0..CONNECTIONS {
        let check = bed.fake.next(Call::Check).await;
        seen.push(check.id());
        check.succeed();
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), CONNECTIONS, "each is checked once");
    bed.fake.set(Call::Check, Answer::Ok);
    bed.finish().await;
}

/// A pool that checks nothing in the background.
fn checked_before_lease(max_size: usize) -> SharedBed {
    SharedBed::with(max_size, |builder| {
        builder
            .check_interval(None)
            .check_after_idle(10 * SECOND)
            .check_timeout(5 * SECOND)
    })
}

#[tokio::test(start_paused = true)]
async fn connection_that_was_idle_for_long_is_checked_before_it_is_lent() {
    let bed = checked_before_lease(2);
    drop(bed.lease().await);
    bed.fake.set(Call::Check, Answer::Manual);
    pass(11 * SECOND).await;
    // Both wait for one check, and nothing is opened for them.
    let mut callers = [(); 2].map(|()| HandPolled::waiting(bed.pool.acquire()));
    let check = bed.fake.next(Call::Check).await;
    quiesce().await;
    assert_eq!(bed.fake.counts().check.started, 1);
    assert_eq!(bed.fake.counts().connect.started, 1);
    check.succeed();
    quiesce().await;
    let leases = callers.each_mut().map(|caller| caller.ready().unwrap());
    assert_eq!(ids(&leases), [0; 2]);
    drop((callers, leases));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_with_leases_needs_no_check_before_the_next() {
    let bed = checked_before_lease(1);
    let held = bed.lease().await;
    pass(MINUTE).await;
    let other = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect("at once");
    assert_eq!(bed.fake.counts().check.started, 0);
    drop((held, other));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn caller_whose_check_fails_gets_another_connection() {
    let bed = checked_before_lease(1);
    drop(bed.lease().await);
    bed.fake.set(Call::Check, Answer::Manual);
    pass(11 * SECOND).await;
    let mut waiting = HandPolled::waiting(bed.pool.acquire());
    bed.fake.next(Call::Check).await.fail("half open");
    quiesce().await;
    let lease = waiting.ready().expect("another was opened");
    assert_eq!(id(&lease).as_u64(), 1);
    assert_eq!(bed.reasons(), [CloseReason::CheckFailed]);
    drop((waiting, lease));
    bed.finish().await;
}

/// A peer that vanished answers nothing, so the check lasts as long as it may.
#[tokio::test(start_paused = true)]
async fn caller_gets_a_new_connection_a_second_after_its_check_began() {
    let bed = checked_before_lease(2);
    drop(bed.lease().await);
    bed.fake.set(Call::Check, Answer::Never);
    pass(11 * SECOND).await;
    let mut waiting = HandPolled::waiting(bed.pool.acquire());
    pass(SECOND + TICK).await;
    let lease = waiting.ready().expect("there is room for another");
    assert_eq!(id(&lease).as_u64(), 1);
    assert_eq!(bed.fake.counts().check.running(), 1);
    drop((waiting, lease));
    bed.fake.set(Call::Check, Answer::Ok);
    bed.finish().await;
}

/// While several are checked, the first that passes takes its share of the callers only.
#[tokio::test(start_paused = true)]
async fn callers_that_wait_for_checks_are_spread_over_what_passes() {
    let bed = checked_before_lease(2);
    drop(bed.leases(3).await);
    bed.fake.set(Call::Check, Answer::Manual);
    pass(11 * SECOND).await;
    let mut callers = [(); 4].map(|()| HandPolled::waiting(bed.pool.acquire()));
    for _ in 0..2 {
        bed.fake.next(Call::Check).await.succeed();
        quiesce().await;
    }
    let leases = callers.each_mut().map(|caller| caller.ready().unwrap());
    let mut ids = ids(&leases);
    ids.sort_unstable();
    assert_eq!(ids, [0, 0, 1, 1]);
    drop((callers, leases));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn caller_that_does_not_wait_is_lent_it_unchecked() {
    let bed = checked_before_lease(1);
    drop(bed.lease().await);
    pass(11 * SECOND).await;
    drop(bed.pool.try_acquire().expect("it is open"));
    pass(11 * SECOND).await;
    let mut acquire = HandPolled::new(bed.pool.acquire_within(Duration::ZERO));
    drop(acquire.ready().expect("it is open"));
    assert_eq!(bed.fake.counts().check.started, 0);
    drop(acquire);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn evicted_connection_that_only_its_check_uses_is_not_replaced() {
    let bed = SharedBed::with(1, |builder| {
        builder.check_interval(SECOND).check_timeout(MINUTE)
    });
    drop(bed.lease().await);
    bed.fake.set(Call::Check, Answer::Manual);
    // Shortly after its last lease it would be replaced.
    pass(20 * SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    assert_eq!(bed.pool.evict_all(), 1);
    quiesce().await;
    assert_eq!(
        bed.fake.counts().connect.started,
        1,
        "no caller needs another"
    );
    check.succeed();
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    assert_eq!(bed.pool.status().size(), 0);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn evicted_connection_that_only_its_check_uses_still_serves_a_caller() {
    let bed = SharedBed::with(1, |builder| builder.check_interval(SECOND));
    drop(bed.lease().await);
    bed.fake.set(Call::Check, Answer::Manual);
    pass(SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    bed.pool.evict_all();
    let old = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect("a connection can serve it");
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 2, "now it is replaced");
    let new = bed.lease().await;
    assert_eq!(ids(&[old, new]), [0, 1]);
    check.succeed();
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.finish().await;
}
