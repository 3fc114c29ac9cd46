//! Idle timeout, lifetime and the number of uses.

use std::collections::BTreeSet;
use std::time::Duration;

use pool_core::{CloseReason, EventKind, IdleOrder, PooledConnection};
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, TICK, pass, quiesce};
use tokio::time::Instant;

/// So that the others can expire.
#[tokio::test(start_paused = true)]
async fn most_recently_used_connection_is_lent_first() {
    let bed = Bed::new(3);
    let ids = bed.idle(3).await;
    for id in &ids {
        let lease = bed.lease().await;
        assert_eq!(PooledConnection::id(&lease), ids[0], "not {id}");
    }
    bed.finish().await;
}

/// A leased connection is closed once it has been idle for as long.
#[tokio::test(start_paused = true)]
async fn unused_connections_are_closed_after_the_idle_timeout() {
    let bed = Bed::with(5, |builder| builder.idle_timeout(MINUTE));
    let mut leases = bed.leases(5).await;
    let kept = leases.pop().expect("five were leased");
    drop(leases);
    pass(MINUTE - SECOND).await;
    assert_eq!(bed.pool.status().idle, 4);
    pass(SECOND + 2 * TICK).await;
    assert_eq!((bed.pool.status().idle, bed.pool.status().leased), (0, 1));
    drop(kept);
    pass(MINUTE - SECOND).await;
    assert_eq!(bed.pool.status().idle, 1);
    pass(SECOND + 2 * TICK).await;
    assert_eq!(bed.pool.status().size(), 0);
    assert_eq!(bed.reasons(), [CloseReason::Idle; 5]);
    let expired = |kind: &EventKind| matches!(kind, EventKind::Expired { .. });
    assert_eq!(bed.ledger.count_events(expired), 5);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn use_restarts_the_idle_timeout() {
    let bed = Bed::with(1, |builder| builder.idle_timeout(MINUTE).max_lifetime(None));
    for _ in 0..20 {
        drop(bed.lease().await);
        pass(MINUTE / 2).await;
    }
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

/// The connections that stay are the same all the time.
#[tokio::test(start_paused = true)]
async fn idle_timeout_stops_at_the_minimum_and_keeps_the_recently_used() {
    let bed = Bed::with(5, |builder| {
        builder.min_idle(2).idle_timeout(MINUTE).max_lifetime(None)
    });
    let mut order = Vec::new();
    for lease in bed.leases(5).await {
        // The pool's coarse clock has a resolution of a tick.
        pass(2 * TICK).await;
        order.push(PooledConnection::id(&lease));
    }
    let last: BTreeSet<_> = order.into_iter().skip(3).collect();
    pass(10 * MINUTE).await;
    assert_eq!(bed.pool.status().idle, 2);
    let kept = bed.fake.alive();
    assert_eq!(
        kept,
        last.into_iter().collect::<Vec<_>>(),
        "the last to be used"
    );
    let connects = bed.fake.counts().connect.started;
    pass(60 * MINUTE).await;
    assert_eq!(bed.fake.alive(), kept);
    assert_eq!(bed.fake.counts().connect.started, connects);
    bed.finish().await;
}

/// The lifetime bounds what leaks inside a peer, so `min_idle` does not stop it.
#[tokio::test(start_paused = true)]
async fn lifetime_applies_below_min_idle_too() {
    let bed = Bed::with(3, |builder| builder.min_idle(3).max_lifetime(MINUTE));
    quiesce().await;
    let first: BTreeSet<_> = bed.fake.alive().into_iter().collect();
    pass(MINUTE).await;
    let second: BTreeSet<_> = bed.fake.alive().into_iter().collect();
    assert_eq!((first.len(), second.len()), (3, 3));
    assert!(first.is_disjoint(&second), "all are new");
    assert_eq!(bed.reasons(), [CloseReason::Lifetime; 3]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn lifetimes_are_shortened_at_random_by_up_to_a_tenth() {
    let lifetime = 1_000 * SECOND;
    let bed = Bed::with(100, |builder| {
        builder
            .max_lifetime(lifetime)
            .idle_timeout(None)
            .check_interval(None)
    });
    bed.pool.warm_up(100).await.expect("all connect");
    let born = Instant::now();
    let mut ends = BTreeSet::new();
    pass(lifetime * 9 / 10 - 2 * TICK).await;
    assert_eq!(bed.pool.status().idle, 100, "none ends early");
    while bed.pool.status().idle > 0 {
        let before = bed.pool.status().idle;
        pass(SECOND).await;
        if bed.pool.status().idle < before {
            ends.insert(born.elapsed().as_secs());
        }
    }
    assert!(born.elapsed() <= lifetime + SECOND, "none ends late");
    assert!(
        ends.len() > 40,
        "a hundred ends in {} of a hundred seconds",
        ends.len()
    );
    bed.finish().await;
}

/// It is checked at hand-out, on return and in the sweep.
#[tokio::test(start_paused = true)]
async fn lifetime_ends_busy_leased_and_unused_connections_alike() {
    let bed = Bed::with(3, |builder| builder.max_lifetime(MINUTE).min_uptime(SECOND));
    let lent = bed.lease().await;
    let ids = bed.idle(2).await;
    let began = Instant::now();
    let mut hot = BTreeSet::new();
    while began.elapsed() < 2 * MINUTE {
        hot.insert(PooledConnection::id(&bed.lease().await));
        pass(Duration::from_millis(10)).await;
    }
    let ended = hot.len();
    assert!(
        (3..=4).contains(&ended),
        "{ended} hot connections lived for a minute each"
    );
    let ended: BTreeSet<_> = bed.fake.closes().into_iter().map(|(id, _)| id).collect();
    assert!(ended.contains(&ids[0]) && ended.contains(&ids[1]));
    let old = PooledConnection::id(&lent);
    assert!(lent.is_alive(), "a lease is not cut short");
    assert!(!ended.contains(&old));
    drop(lent);
    quiesce().await;
    assert!(
        bed.fake.closes().contains(&(old, CloseReason::Lifetime)),
        "closed on return"
    );
    bed.finish().await;
}

/// Not even before the next sweep.
#[tokio::test(start_paused = true)]
async fn expired_connection_is_not_lent() {
    let bed = Bed::with(1, |builder| builder.max_lifetime(MINUTE));
    let ids = bed.idle(1).await;
    pass(SECOND).await;
    tokio::time::advance(MINUTE).await;
    let lease = bed.lease().await;
    assert_ne!(PooledConnection::id(&lease), ids[0]);
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waiter_is_served_when_the_connection_of_another_caller_expired() {
    let bed = Bed::with(1, |builder| builder.max_lifetime(MINUTE));
    let lease = bed.lease().await;
    pass(2 * MINUTE).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    quiesce().await;
    drop(waiter.ready().expect("a new one was opened"));
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    drop(waiter);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_is_lent_as_often_as_allowed() {
    let bed = Bed::with(1, |builder| builder.max_uses(3));
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(bed.lease().await.id().as_u64());
    }
    assert_eq!(ids, [0, 0, 0, 1, 1, 1, 2]);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::MaxUses; 2]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_without_limits_stays() {
    let bed = Bed::with(2, |builder| {
        let builder = builder.max_lifetime(None).idle_timeout(None).max_uses(None);
        builder.check_interval(None)
    });
    let ids = bed.idle(2).await;
    pass(365 * 24 * 60 * MINUTE).await;
    assert_eq!(bed.fake.alive().len(), ids.len());
    assert_eq!(bed.fake.counts().connect.started, 2);
    bed.finish().await;
}

/// All are used in turn, so those that are not needed are not closed either.
#[tokio::test(start_paused = true)]
async fn connection_that_was_idle_for_longest_is_lent_first_if_so_ordered() {
    for (order, expected) in [
        (IdleOrder::Lifo, [0, 0, 0, 0]),
        (IdleOrder::Fifo, [2, 1, 0, 2]),
    ] {
        let bed = Bed::with(3, |builder| builder.idle_order(order));
        let ids = bed.idle(3).await;
        let mut lent = Vec::new();
        for _ in 0..4 {
            let lease = bed.lease().await;
            let id = PooledConnection::id(&lease);
            lent.extend(ids.iter().position(|other| *other == id));
        }
        assert_eq!(lent, expected, "{order:?}");
        bed.finish().await;
    }
}
