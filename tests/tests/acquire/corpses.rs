//! Connections that die where nobody looks: idle, or between the hand-out and the holder's eyes.

use pool_core::{CloseReason, EventKind, PooledConnection};
use pool_testkit::connector::{Answer, QueryAnswer};
use pool_testkit::{Call, Query};
use pool_tests::bed::{Bed, HandPolled, SECOND, pass, quiesce};

/// A connection that died between service and poll costs the waiter nothing but the time: it
/// stays before those who came later.
#[tokio::test(start_paused = true)]
async fn waiter_that_drew_a_corpse_goes_to_the_head() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    pass(2 * SECOND).await;
    let mut first = HandPolled::waiting(bed.pool.acquire());
    let mut second = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    bed.fake.kill_silently(id);
    assert!(first.poll().is_pending(), "it drew a corpse");
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

/// Also when the death is told by `died` and not seen by `is_alive`.
#[tokio::test(start_paused = true)]
async fn connection_that_told_its_death_after_service_is_not_handed_out() {
    let bed = Bed::new(1);
    bed.fake.set_query(Query::IsAlive, QueryAnswer::Yes);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    pass(2 * SECOND).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    bed.fake.kill(id);
    quiesce().await;
    assert!(waiter.poll().is_pending(), "it drew a corpse");
    quiesce().await;
    let lease = waiter.ready().expect("a new one was opened");
    assert_ne!(PooledConnection::id(&lease), id);
    drop((lease, waiter));
    bed.finish().await;
}

/// Several corpses in a row: those who drew them keep their order among each other.
#[tokio::test(start_paused = true)]
async fn waiters_that_drew_corpses_keep_their_order() {
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
    assert!(waiters[0].poll().is_pending(), "it drew a corpse");
    assert!(waiters[1].poll().is_pending(), "it drew a corpse");
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

/// A waiter whose place in the queue was given to another in the moment in which it drew a corpse
/// is not turned away: its turn had come.
#[tokio::test(start_paused = true)]
async fn waiter_that_drew_a_corpse_is_not_refused_for_a_full_queue() {
    let bed = Bed::with(1, |builder| builder.max_waiters(1));
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    pass(2 * SECOND).await;
    let mut first = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    bed.fake.kill_silently(id);
    let mut second = HandPolled::waiting(bed.pool.acquire());
    assert!(first.poll().is_pending(), "it drew a corpse");
    quiesce().await;
    drop(first.ready().expect("a new one was opened"));
    drop(second.ready().expect("its turn came"));
    drop((first, second));
    bed.finish().await;
}

/// After a night of deaths nobody walks through the dead at the price of a connect each.
#[tokio::test(start_paused = true)]
async fn corpses_among_the_idle_cost_one_connect() {
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
