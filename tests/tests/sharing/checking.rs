//! Checks of shared connections, which run while the connections serve.

use pool_core::CloseReason;
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, MINUTE, SECOND, pass, quiesce, start};

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
    bed.fake.next(Call::Check).await.fail("no answer");
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
async fn few_connections_are_checked_at_the_same_time_and_all_in_turn() {
    const CONNECTIONS: usize = 10;
    let bed = SharedBed::with(CONNECTIONS, |builder| builder.check_interval(SECOND));
    bed.pool.warm_up(CONNECTIONS).await.unwrap();
    bed.fake.set(Call::Check, Answer::Manual);
    let pool = bed.pool.clone();
    let mut seen = Vec::new();
    pass(2 * SECOND).await;
    while seen.len() < CONNECTIONS {
        assert!(bed.fake.counts().check.running() <= 4);
        let check = bed.fake.next(Call::Check).await;
        seen.push(check.id());
        check.succeed();
        quiesce().await;
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), CONNECTIONS, "each is checked once");
    let closing = start(async move { pool.close(MINUTE).await });
    pass(MINUTE).await;
    drop(closing);
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
    pass(2 * SECOND).await;
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
