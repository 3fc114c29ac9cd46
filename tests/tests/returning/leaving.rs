//! Connections that leave the pool, and what their holder can see of them before.

use std::time::Duration;

use pool_core::{CloseReason, ConnectionStats, PooledConnection};
use pool_tests::bed::{Bed, HandPolled, SECOND, pass, quiesce};

/// The slot is free at once, and the connection lives on.
#[tokio::test(start_paused = true)]
async fn detached_connection_frees_its_slot_and_is_not_closed() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    let connection = PooledConnection::detach(lease);
    assert_eq!(bed.pool.status().size(), 0);
    quiesce().await;
    let lease = waiter.ready().expect("a new one was opened");
    assert_ne!(PooledConnection::id(&lease), id);
    assert_eq!(connection.id(), id);
    assert!(bed.fake.closes().is_empty());
    assert_eq!(
        bed.fake.counts().watchers,
        1,
        "the detached one is not watched any more"
    );
    drop((lease, waiter));
    drop(connection);
    // The detached one was still alive beside the new one: the limit does not count it.
    bed.finish_with(2, 1).await;
}

#[tokio::test(start_paused = true)]
async fn detached_connection_is_replaced_for_the_minimum() {
    let bed = Bed::with(2, |builder| builder.min_idle(2));
    quiesce().await;
    let connection = PooledConnection::detach(bed.lease().await);
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 2);
    drop(connection);
    bed.finish_with(3, 1).await;
}

#[tokio::test(start_paused = true)]
async fn detach_from_a_closing_pool_ends_its_wait() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut close = HandPolled::waiting(bed.pool.close(10 * SECOND));
    let connection = PooledConnection::detach(lease);
    quiesce().await;
    let report = close.ready();
    assert!(report.is_complete());
    assert_eq!(report.closed, 0);
    drop((connection, close));
    bed.finish_with(1, 1).await;
}

#[tokio::test(start_paused = true)]
async fn discarded_connection_is_closed_as_discarded() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    PooledConnection::discard(lease);
    quiesce().await;
    assert_eq!(bed.fake.closes(), [(id, CloseReason::Discarded)]);
    assert_eq!(bed.pool.status().size(), 0);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn holder_can_see_the_id_the_age_and_the_uses() {
    let bed = Bed::new(1);
    drop(bed.lease().await);
    pass(Duration::from_millis(2_999)).await;
    let lease = bed.lease().await;
    let ConnectionStats {
        id,
        age,
        uses,
        idle_for,
        ..
    } = PooledConnection::stats(&lease);
    assert_eq!(id, lease.id());
    assert_eq!((age, uses, idle_for), (3 * SECOND, 2, None));
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_is_the_same_value_from_lease_to_lease() {
    let bed = Bed::new(1);
    let id = bed.lease().await.id();
    for _ in 0..10 {
        assert_eq!(bed.lease().await.id(), id);
    }
    assert_eq!(bed.fake.counts().connect.succeeded, 1);
    bed.finish().await;
}

/// A request that is cancelled halfway leaves the connection dirty, so no later caller gets it.
#[tokio::test(start_paused = true)]
async fn reply_to_a_cancelled_request_reaches_nobody() {
    let bed = Bed::new(1);
    for step in 0..4 {
        let lease = bed.lease().await;
        let id = PooledConnection::id(&lease);
        let request = async {
            lease.mark_dirty();
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        };
        let mut request = HandPolled::new(request);
        for _ in 0..step {
            assert!(request.poll().is_pending());
        }
        drop(request);
        drop(lease);
        quiesce().await;
        let reused = bed.fake.alive().contains(&id);
        assert_eq!(reused, step == 0, "cancelled at step {step}");
    }
    bed.finish().await;
}
