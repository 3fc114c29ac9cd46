//! Connections that die while they are idle, or after they served a waiter and before it is polled.

use pool_core::{CloseReason, EventKind, PooledConnection};
use pool_testkit::connector::{Answer, QueryAnswer};
use pool_testkit::{Call, Query};
use pool_tests::bed::{Bed, HandPolled, SECOND, pass, quiesce};

/// A connection died after it served a waiter and before the waiter was polled. The waiter keeps its
/// place before those that came later.
#[tokio::test(start_paused = true)]
async fn waiter_that_was_served_a_dead_connection_goes_to_the_head() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    pass(2 * SECOND).await;
    let mut first = HandPolled::waiting(bed.pool.acquire());
    let mut second = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    bed.fake.kill_silently(id);
    assert!(first.poll().is_pending(), "its connection is dead");
    quiesce().await;
    assert_eq!((first.wakes(), second.wakes()), (2, 0));
    drop(first.ready().expect("a new one was opened"));
    drop(second.ready().expect("its turn came"));
    drop((first, second));
    assert_eq!(bed.reasons(), [CloseReason::Died]);
    let requeued = |kind: &EventKind| matches!(kind, EventKind::Requeued { .. });
    assert_eq!(bed.ledger.count_events(requeued), 1);
    bed.finish().await;
}

/// The same if `died` reports the death and `is_alive` does not see it.
#[tokio::test(start_paused = true)]
async fn connection_whose_death_was_reported_after_it_served_is_not_handed_out() {
    let bed = Bed::new(1);
    bed.fake.set_query(Query::IsAlive, QueryAnswer::Yes);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    pass(2 * SECOND).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    bed.fake.kill(id);
    quiesce().await;
    assert!(waiter.poll().is_pending(), "its connection is dead");
    quiesce().await;
    let lease = waiter.ready().expect("a new one was opened");
    assert_ne!(PooledConnection::id(&lease), id);
    drop((lease, waiter));
    bed.finish().await;
}

/// Several dead connections: the waiters that were served them keep their order.
#[tokio::test(start_paused = true)]
async fn waiters_that_were_served_dead_connections_keep_their_order() {
    let bed = Bed::new(2);
    let leases = bed.leases(2).await;
    pass(2 * SECOND).await;
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiters: Vec<_> = (0..4)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    for lease in leases {
        let id = PooledConnection::id(&lease);
        drop(lease);
        bed.fake.kill_silently(id);
    }
    assert!(waiters[0].poll().is_pending(), "its connection is dead");
    assert!(waiters[1].poll().is_pending(), "its connection is dead");
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    let woken: Vec<_> = waiters.iter().map(HandPolled::wakes).collect();
    assert_eq!(woken, [2, 1, 0, 0], "the oldest is served first");
    bed.fake.set(Call::Connect, Answer::Ok);
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    for waiter in &mut waiters {
        drop(waiter.ready().expect("all are served in turn"));
    }
    drop(waiters);
    bed.finish().await;
}

/// Another caller has taken the waiter's place in the queue. The waiter is not refused all the same,
/// since its turn had come.
#[tokio::test(start_paused = true)]
async fn waiter_that_was_served_a_dead_connection_is_not_refused_for_a_full_queue() {
    let bed = Bed::with(1, |builder| builder.max_waiters(1));
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    pass(2 * SECOND).await;
    let mut first = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    bed.fake.kill_silently(id);
    let mut second = HandPolled::waiting(bed.pool.acquire());
    assert!(first.poll().is_pending(), "its connection is dead");
    quiesce().await;
    drop(first.ready().expect("a new one was opened"));
    drop(second.ready().expect("its turn came"));
    drop((first, second));
    bed.finish().await;
}

/// If all idle connections died, a caller passes over all of them and waits for one connect.
#[tokio::test(start_paused = true)]
async fn dead_idle_connections_cost_a_caller_one_connect() {
    let bed = Bed::with(10, |builder| builder.check_interval(None));
    bed.fake.stop_telling_deaths();
    let ids = bed.idle(10).await;
    pass(2 * SECOND).await;
    for id in ids {
        bed.fake.kill_silently(id);
    }
    drop(bed.lease().await);
    assert_eq!(bed.fake.counts().connect.started, 11);
    assert_eq!(bed.reasons(), [CloseReason::Died; 10]);
    assert_eq!(bed.pool.status().idle, 1);
    bed.finish().await;
}
