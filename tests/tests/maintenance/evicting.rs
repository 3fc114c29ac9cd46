//! `evict_all` and `retain` close connections that are in order.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pool_core::{CloseReason, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, SECOND, pass, quiesce};

#[tokio::test(start_paused = true)]
async fn evicted_connection_does_not_reach_a_waiter_that_was_served_it() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    assert_eq!(waiter.wakes(), 1, "it was served, and is not polled yet");
    assert_eq!(bed.pool.evict_all(), 1);
    assert!(waiter.poll().is_pending(), "it waits for another one");
    quiesce().await;
    let lease = waiter.ready().expect("a new one was opened");
    assert_ne!(PooledConnection::id(&lease), id);
    drop((lease, waiter));
    bed.finish().await;
}

/// Idle connections are closed now, leased ones when they are returned, and those being opened once they
/// are open.
#[tokio::test(start_paused = true)]
async fn evict_all_closes_every_connection() {
    let bed = Bed::new(4);
    let lent = bed.lease().await;
    bed.idle(2).await;
    bed.fake.set(Call::Connect, Answer::Manual);
    let taken = bed.leases(2).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    let connect = bed.fake.next(Call::Connect).await;
    drop(taken);
    drop(waiter.ready().expect("a return serves it"));
    assert_eq!(bed.pool.status().idle, 2);
    assert_eq!(bed.pool.evict_all(), 4);
    assert_eq!(bed.pool.evict_all(), 0, "all are to be closed already");
    quiesce().await;
    assert_eq!(bed.fake.closes().len(), 2);
    assert_eq!(
        (bed.pool.status().leased, bed.pool.status().opening),
        (1, 1)
    );
    drop(lent);
    connect.succeed();
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted; 4]);
    assert_eq!(bed.pool.status().size(), 0);
    drop(waiter);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waiter_is_served_when_the_connection_of_another_caller_was_evicted() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    bed.pool.evict_all();
    drop(lease);
    quiesce().await;
    let lease = waiter.ready().expect("a new one was opened");
    assert_ne!(PooledConnection::id(&lease), id);
    drop((lease, waiter));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waiter_is_served_when_its_connect_was_evicted() {
    let bed = Bed::new(1);
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    let connect = bed.fake.next(Call::Connect).await;
    assert_eq!(bed.pool.evict_all(), 1);
    connect.succeed();
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    drop(waiter.ready().expect("the second connect serves it"));
    drop(waiter);
    bed.finish().await;
}

/// The predicate sees age, uses and idle time.
#[tokio::test(start_paused = true)]
async fn retain_closes_the_connections_that_the_predicate_refuses() {
    let bed = Bed::new(3);
    let old = bed.idle(1).await;
    pass(10 * SECOND).await;
    let taken = bed.lease().await;
    let young = bed.lease().await;
    drop((taken, young));
    let mut seen = Vec::new();
    let evicted = bed.pool.retain(|stats| {
        seen.push((stats.id, stats.uses, stats.idle_for.is_some()));
        stats.age < SECOND
    });
    seen.sort_unstable();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], (old[0], 2, true));
    assert_eq!(evicted, 1);
    quiesce().await;
    assert_eq!(bed.fake.closes(), [(old[0], CloseReason::Evicted)]);
    bed.finish().await;
}

/// The predicate sees leased connections as well.
#[tokio::test(start_paused = true)]
async fn predicate_of_retain_can_keep_state() {
    let bed = Bed::new(6);
    let leases = bed.leases(6).await;
    let mut count = 0;
    let evicted = bed.pool.retain(|stats| {
        assert!(stats.idle_for.is_none());
        count += 1;
        count % 2 == 0
    });
    assert_eq!((count, evicted), (6, 3));
    drop(leases);
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 3);
    bed.finish().await;
}

/// And later drops of leases do not panic.
#[tokio::test(start_paused = true)]
async fn retain_whose_predicate_panics_changes_nothing() {
    let bed = Bed::new(2);
    let lease = bed.lease().await;
    bed.idle(1).await;
    let unwinding = catch_unwind(AssertUnwindSafe(|| {
        bed.pool
            .retain(|_| panic!("the predicate was told to panic"))
    }));
    unwinding.expect_err("the panic is the caller's");
    drop(lease);
    assert_eq!(bed.pool.status().idle, 2);
    bed.finish().await;
}

/// The predicate takes the connections that it is asked about.
#[tokio::test(start_paused = true)]
async fn retain_whose_predicate_uses_the_pool_does_not_hang() {
    let bed = Bed::new(3);
    bed.idle(2).await;
    let mut taken = Vec::new();
    let evicted = bed.pool.retain(|_| {
        taken.push(bed.pool.try_acquire().expect("two are idle"));
        if taken.len() == 2 {
            bed.pool.evict_all();
        }
        false
    });
    assert_eq!(evicted, 0, "they are to be closed already");
    drop(taken);
    quiesce().await;
    assert_eq!(bed.pool.status().size(), 0);
    bed.finish().await;
}
