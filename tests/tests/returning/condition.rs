//! What becomes of a returned connection, according to the connector's answers.

use pool_core::{CloseReason, EventKind, PooledConnection};
use pool_testkit::connector::{Answer, QueryAnswer};
use pool_testkit::{Call, Query};
use pool_tests::bed::{Bed, HandPolled, Lease, QUERIES, SECOND, pass, quiesce};

type Ruin = fn(Lease);

/// Each way to end a lease so that its connection must not be used again.
const RUINS: [(CloseReason, Ruin); 4] = [
    (CloseReason::Dirty, |lease| lease.mark_dirty()),
    (CloseReason::Died, |lease| lease.die()),
    (CloseReason::Discarded, PooledConnection::discard),
    (CloseReason::ResetFailed, |lease| lease.mark_needs_reset()),
];

/// Invariants 2 and 5.
#[tokio::test(start_paused = true)]
async fn ruined_connection_is_closed_and_never_lent_again() {
    for (reason, ruin) in RUINS {
        let bed = Bed::new(1);
        bed.fake.set(Call::Reset, Answer::Transient);
        let lease = bed.lease().await;
        let id = PooledConnection::id(&lease);
        pass(2 * SECOND).await;
        ruin(lease);
        let lease = bed.lease().await;
        assert_ne!(PooledConnection::id(&lease), id);
        assert_eq!(bed.fake.closes(), [(id, reason)]);
        drop(lease);
        bed.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn end_of_a_ruined_connection_serves_the_waiter() {
    for (reason, ruin) in RUINS {
        let bed = Bed::new(1);
        bed.fake.set(Call::Reset, Answer::Transient);
        let lease = bed.lease().await;
        pass(2 * SECOND).await;
        let mut waiter = HandPolled::waiting(bed.pool.acquire());
        ruin(lease);
        quiesce().await;
        drop(waiter.ready().expect("a new one was opened"));
        assert_eq!(bed.reasons(), [reason]);
        drop(waiter);
        bed.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn broken_connections_do_not_starve_the_pool() {
    let bed = Bed::new(5);
    let leases = bed.leases(5).await;
    let waiters: Vec<_> = (0..10).map(|_| bed.acquirer()).collect();
    quiesce().await;
    for lease in leases {
        lease.mark_dirty();
    }
    for waiter in waiters {
        drop(
            waiter
                .await
                .expect("the task does not panic")
                .expect("it is served"),
        );
    }
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn every_end_is_an_event_with_its_reason() {
    let bed = Bed::new(4);
    bed.fake.set(Call::Reset, Answer::Transient);
    let leases = bed.leases(4).await;
    for (lease, (_, ruin)) in leases.into_iter().zip(RUINS) {
        ruin(lease);
    }
    quiesce().await;
    for (reason, _) in RUINS {
        let closing = bed.ledger.count_events(
            |kind| matches!(kind, EventKind::Closing { reason: told, .. } if *told == reason),
        );
        let closed = bed.ledger.count_events(
            |kind| matches!(kind, EventKind::Closed { reason: told, .. } if *told == reason),
        );
        assert_eq!((closing, closed), (1, 1), "{reason}");
    }
    let died = bed
        .ledger
        .count_events(|kind| matches!(kind, EventKind::Died { .. }));
    assert_eq!(died, 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connection_that_dies_is_closed_without_a_query() {
    let bed = Bed::new(3);
    let ids = bed.idle(3).await;
    let asked = bed.fake.asked(Query::IsAlive);
    for id in ids {
        bed.fake.kill(id);
    }
    quiesce().await;
    assert_eq!(bed.pool.status().size(), 0);
    assert_eq!(bed.reasons(), [CloseReason::Died; 3]);
    assert_eq!(bed.fake.asked(Query::IsAlive), asked);
    bed.finish().await;
}

/// `died` does not report it.
#[tokio::test(start_paused = true)]
async fn connection_that_just_died_is_not_handed_out() {
    let bed = Bed::new(2);
    let ids = bed.idle(2).await;
    pass(2 * SECOND).await;
    bed.fake.kill_silently(ids[0]);
    let lease = bed.lease().await;
    assert_eq!(
        PooledConnection::id(&lease),
        ids[1],
        "the dead one is passed over"
    );
    assert_eq!(bed.fake.counts().connect.started, 2);
    drop(lease);
    bed.finish().await;
}

/// The death is an event at once.
#[tokio::test(start_paused = true)]
async fn leased_connection_that_died_is_closed_when_it_is_returned() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    pass(2 * SECOND).await;
    // After `died` resolved, `is_alive` does not matter any more.
    bed.fake.set_query(Query::IsAlive, QueryAnswer::Yes);
    bed.fake.kill(id);
    quiesce().await;
    let died = |kind: &EventKind| matches!(kind, EventKind::Died { .. });
    assert_eq!(bed.ledger.count_events(died), 1);
    assert_eq!(bed.pool.status().leased, 1, "a lease is not cut short");
    drop(lease);
    quiesce().await;
    assert_eq!(bed.fake.closes(), [(id, CloseReason::Died)]);
    assert_eq!(bed.ledger.count_events(died), 1);
    bed.finish().await;
}

/// The connection counts as dead, and the caller gets another one.
#[tokio::test(start_paused = true)]
async fn query_that_panics_at_hand_out_only_costs_its_connection() {
    let bed = Bed::new(1);
    let ids = bed.idle(1).await;
    pass(2 * SECOND).await;
    bed.fake.queue_query(Query::IsAlive, [QueryAnswer::Panic]);
    let lease = bed.lease().await;
    assert_ne!(PooledConnection::id(&lease), ids[0]);
    assert_eq!(bed.reasons(), [CloseReason::Died]);
    drop(lease);
    bed.finish().await;
}

/// The connection is not trusted again.
#[tokio::test(start_paused = true)]
async fn query_that_panics_on_return_only_costs_its_connection() {
    for query in QUERIES {
        let bed = Bed::new(1);
        let lease = bed.lease().await;
        pass(2 * SECOND).await;
        let mut waiter = HandPolled::waiting(bed.pool.acquire());
        bed.fake.queue_query(query, [QueryAnswer::Panic]);
        drop(lease);
        quiesce().await;
        drop(waiter.ready().expect("a new one was opened"));
        assert_eq!(
            bed.reasons(),
            [CloseReason::Dirty],
            "after a panic of {query}"
        );
        drop(waiter);
        bed.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn queries_are_made_before_each_hand_out_and_on_each_return() {
    let bed = Bed::new(1);
    drop(bed.lease().await);
    let before = QUERIES.map(|query| bed.fake.asked(query));
    drop(bed.lease().await);
    let after = QUERIES.map(|query| bed.fake.asked(query));
    let asked: Vec<_> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(asked, [2, 1, 1], "`is_alive` twice, the others once");
    bed.finish().await;
}
