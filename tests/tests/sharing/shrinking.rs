//! A smaller limit, and which connections it ends.

use pool_core::{CloseReason, ResizeError};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, quiesce};

use crate::bed::{SharedBed, id, ids};

#[tokio::test(start_paused = true)]
async fn shrinking_ends_the_connections_with_the_fewest_leases() {
    let bed = SharedBed::new(2);
    let mut leases = bed.leases(5).await;
    assert_eq!(ids(&leases), [0, 0, 1, 1, 0]);
    bed.pool.resize(1).unwrap();
    drop(leases.pop());
    let next = bed.lease().await;
    assert_eq!(id(&next).as_u64(), 0);
    drop(next);
    leases.truncate(2);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    bed.pool.resize(2).unwrap();
    drop(leases);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_keeps_open_connections_and_closes_the_one_being_opened() {
    let bed = SharedBed::new(2);
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut first = HandPolled::waiting(bed.pool.acquire());
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    let served = first.ready().expect("a connection can serve it");
    drop(first);
    let second = bed.lease().await;
    let connect = bed.fake.next(Call::Connect).await;
    bed.pool.resize(1).unwrap();
    let third = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect("it serves on");
    connect.succeed();
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    assert_eq!(ids(&[served, second, third]), [0; 3]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_ends_connections_that_are_to_be_replaced_first() {
    let bed = SharedBed::with(2, |builder| builder.max_surge(0));
    let leases = bed.leases(5).await;
    assert_eq!(ids(&leases), [0, 0, 1, 1, 0]);
    bed.pool
        .retain(|connection| connection.id != id(&leases[0]));
    bed.pool.resize(1).unwrap();
    let next = bed.lease().await;
    assert_eq!(id(&next).as_u64(), 1, "the one that is not evicted");
    drop((leases, next));
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_does_not_close_a_replacement() {
    let bed = SharedBed::with(2, |builder| builder.max_surge(0));
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.pool.evict_all();
    let connect = bed.fake.next(Call::Connect).await;
    bed.pool.resize(1).unwrap();
    connect.succeed();
    quiesce().await;
    let new = bed.lease().await;
    assert_eq!(id(&new).as_u64(), 1);
    drop((old, new));
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn resize_to_the_same_limit_does_not_end_a_connection_that_is_being_replaced() {
    let bed = SharedBed::new(1);
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.pool.evict_all();
    let connect = bed.fake.next(Call::Connect).await;
    bed.pool.resize(1).unwrap();
    let more = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect("it serves on");
    connect.succeed();
    quiesce().await;
    drop((old, more));
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    assert_eq!(bed.pool.status().idle, 1, "its replacement is there");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn limit_and_surge_together_are_bounded() {
    let bed = SharedBed::with(1, |builder| builder.max_surge(10));
    let error = bed.pool.resize(u32::MAX as usize - 5).unwrap_err();
    assert!(matches!(error, ResizeError::TooLarge { .. }), "{error}");
    bed.pool.resize(u32::MAX as usize - 20).unwrap();
    bed.finish().await;
}
