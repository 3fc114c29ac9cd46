//! `min_idle`.

use pool_core::PooledConnection;
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, MINUTE, SECOND, TICK, pass, quiesce};

/// As far as the limit leaves room.
#[tokio::test(start_paused = true)]
async fn minimum_is_kept_beside_the_leased_connections() {
    let bed = Bed::with(6, |builder| builder.min_idle(2));
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 2);
    let leases = bed.leases(3).await;
    pass(TICK).await;
    assert_eq!((bed.pool.status().leased, bed.pool.status().idle), (3, 2));
    drop(leases);
    assert_eq!(bed.pool.status().idle, 5);
    let all = bed.leases(6).await;
    pass(TICK).await;
    assert_eq!(bed.pool.status().idle, 0, "there is no room for more");
    drop(all);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn minimum_is_refilled_after_every_kind_of_loss() {
    let bed = Bed::with(5, |builder| builder.min_idle(3));
    pass(2 * SECOND).await;
    assert_eq!(bed.pool.evict_all(), 3);
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 3);
    pass(2 * SECOND).await;
    for id in bed.fake.alive() {
        bed.fake.kill(id);
    }
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 3);
    pass(2 * SECOND).await;
    PooledConnection::discard(bed.lease().await);
    pass(TICK).await;
    assert_eq!(bed.pool.status().idle, 3);
    assert_eq!(bed.fake.counts().connect.started, 10);
    bed.finish().await;
}

/// The peer cannot be reached, so the pacer delays each connect.
#[tokio::test(start_paused = true)]
async fn minimum_is_refilled_at_the_pace_of_the_pacer() {
    let bed = Bed::with(4, |builder| builder.min_idle(4));
    bed.fake.set(Call::Connect, Answer::Transient);
    pass(10 * MINUTE).await;
    let connects = bed.fake.counts().connect.started;
    // A refusal costs nothing, so the delay is a quarter of a second in the mean.
    assert!(
        (2_000..3_000).contains(&connects),
        "{connects} connects in ten minutes"
    );
    bed.fake.set(Call::Connect, Answer::Ok);
    pass(11 * SECOND).await;
    assert_eq!(bed.pool.status().idle, 4);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn minimum_yields_to_a_smaller_limit() {
    let bed = Bed::with(4, |builder| builder.min_idle(3).check_interval(None));
    quiesce().await;
    bed.pool.resize(1).expect("the pool is open");
    pass(MINUTE).await;
    assert_eq!(bed.pool.status().idle, 1);
    assert_eq!(bed.fake.counts().connect.started, 3, "no churn");
    bed.pool.resize(4).expect("the pool is open");
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 3);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn build_does_not_wait_for_the_minimum() {
    let bed = Bed::with(2, |builder| builder.min_idle(2));
    assert_eq!(bed.pool.status().size(), 0);
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 2);
    bed.finish().await;
}
