//! The limit changes while the pool is in use.

use std::time::Duration;

use pool_core::{CloseReason, EventKind, ResizeError};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, pass, quiesce};

#[tokio::test(start_paused = true)]
async fn growth_keeps_all_connections_and_serves_waiters() {
    let bed = Bed::new(2);
    let leases = bed.leases(2).await;
    let mut waiters: Vec<_> = (0..3)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    bed.pool.resize(4).expect("the pool is open");
    quiesce().await;
    let woken: Vec<_> = waiters.iter().map(HandPolled::wakes).collect();
    assert_eq!(woken, [1, 1, 0]);
    let more: Vec<_> = waiters.iter_mut().take(2).map(HandPolled::ready).collect();
    assert!(more.iter().all(Result::is_ok));
    drop(leases);
    drop(waiters[2].ready().expect("a lease was returned"));
    drop((more, waiters));
    assert_eq!(bed.pool.status().idle, 4);
    assert!(bed.fake.closes().is_empty());
    bed.finish_with(4, 0).await;
}

#[tokio::test(start_paused = true)]
async fn shrink_closes_the_longest_unused_first() {
    let bed = Bed::new(5);
    let ids = bed.idle(5).await;
    bed.pool.resize(2).expect("the pool is open");
    quiesce().await;
    assert_eq!(bed.fake.alive(), ids[..2]);
    assert_eq!(bed.reasons(), [CloseReason::Shrunk; 3]);
    let resized = |kind: &EventKind| matches!(kind, EventKind::Resized { from: 5, to: 2 });
    assert_eq!(bed.ledger.count_events(resized), 1);
    bed.finish().await;
}

/// Leases are not cut short. Connections beyond the limit are closed when they are returned.
#[tokio::test(start_paused = true)]
async fn shrink_while_lent_takes_effect_on_return() {
    let bed = Bed::new(4);
    let mut leases = bed.leases(4).await;
    bed.pool.resize(2).expect("the pool is open");
    assert_eq!(bed.pool.status().leased, 4);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    for left in (2..4).rev() {
        drop(leases.pop());
        quiesce().await;
        assert_eq!(bed.pool.status().size(), left);
        assert!(waiter.poll().is_pending(), "these are too many");
    }
    drop(leases.pop());
    drop(waiter.ready().expect("this one may stay"));
    drop((leases, waiter));
    assert_eq!(bed.pool.status().idle, 2);
    assert_eq!(bed.reasons(), [CloseReason::Shrunk; 2]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn pool_of_size_zero_lends_nothing_until_it_grows() {
    let bed = Bed::new(2);
    bed.idle(2).await;
    bed.pool.resize(0).expect("the pool is open");
    quiesce().await;
    assert_eq!(bed.pool.status().size(), 0);
    bed.pool
        .acquire_within(MINUTE)
        .await
        .expect_err("it is suspended");
    bed.pool.try_acquire().expect_err("it is suspended");
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 2);
    bed.pool.resize(5).expect("the pool is open");
    quiesce().await;
    drop(waiter.ready().expect("it grew"));
    let leases = bed.leases(5).await;
    drop((leases, waiter));
    bed.finish_with(5, 0).await;
}

#[tokio::test(start_paused = true)]
async fn shrink_to_zero_and_growth_again_while_lent_keeps_the_capacity() {
    let bed = Bed::new(3);
    let leases = bed.leases(3).await;
    for size in [0, 5, 1, 4, 0, 3] {
        bed.pool.resize(size).expect("the pool is open");
        assert_eq!(bed.pool.status().max_size, size);
    }
    drop(leases);
    assert_eq!(bed.pool.status().idle, 3);
    let leases = bed.leases(3).await;
    bed.pool
        .acquire_within(SECOND)
        .await
        .expect_err("three and not one more");
    drop(leases);
    bed.finish().await;
}

/// It succeeds after the limit fell.
#[tokio::test(start_paused = true)]
async fn connection_that_was_being_opened_at_a_shrink_is_closed() {
    let bed = Bed::new(2);
    bed.fake.set(Call::Connect, Answer::Manual);
    let waiter = HandPolled::waiting(bed.pool.acquire());
    let connect = bed.fake.next(Call::Connect).await;
    bed.pool.resize(0).expect("the pool is open");
    connect.succeed();
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    assert_eq!(bed.pool.status().size(), 0);
    drop(waiter);
    bed.finish().await;
}

/// A connect may fail, or hang as long as it may: what works is not closed in its favour.
#[tokio::test(start_paused = true)]
async fn shrinking_keeps_open_connections_and_closes_those_that_are_being_opened() {
    let bed = Bed::new(4);
    let mut leases = bed.leases(2).await;
    bed.fake.set(Call::Connect, Answer::Manual);
    let waiting = [(); 2].map(|()| HandPolled::waiting(bed.pool.acquire()));
    let connects = [
        bed.fake.next(Call::Connect).await,
        bed.fake.next(Call::Connect).await,
    ];
    drop(waiting);
    leases.truncate(1);
    bed.pool.resize(2).expect("the pool is open");
    drop(leases);
    quiesce().await;
    assert_eq!((bed.pool.status().idle, bed.reasons()), (2, vec![]));
    for connect in connects {
        connect.succeed();
    }
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk; 2]);
    let ids: Vec<_> = bed.fake.alive().iter().map(|id| id.as_u64()).collect();
    assert_eq!(ids, [0, 1], "the old ones");
    bed.finish().await;
}

/// Slow closes hold their slots under the smaller limit too.
#[tokio::test(start_paused = true)]
async fn closing_connections_count_after_a_shrink() {
    let bed = Bed::new(3);
    bed.fake.set(Call::Close, Answer::Manual);
    bed.idle(3).await;
    bed.pool.resize(1).expect("the pool is open");
    let lease = bed.lease().await;
    let waiter = HandPolled::waiting(bed.pool.acquire());
    bed.pool.resize(2).expect("the pool is open");
    pass(SECOND).await;
    assert_eq!(
        bed.fake.counts().connect.started,
        3,
        "both closing ones still live"
    );
    bed.fake.next(Call::Close).await.succeed();
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 3, "two of two are taken");
    bed.fake.next(Call::Close).await.succeed();
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 4);
    drop((lease, waiter));
    bed.fake.set(Call::Close, Answer::Ok);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn resize_beyond_the_largest_limit_is_refused() {
    let bed = Bed::new(2);
    let error = bed
        .pool
        .resize(usize::MAX)
        .expect_err("it is beyond the largest limit");
    let ResizeError::TooLarge { max_size, limit } = error else {
        panic!("{error}");
    };
    assert_eq!(max_size, usize::MAX);
    assert_eq!(bed.pool.status().max_size, 2);
    bed.pool.resize(limit).expect("it is the largest limit");
    bed.pool.resize(2).expect("the pool is open");
    drop(bed.leases(2).await);
    bed.pool
        .acquire_within(Duration::ZERO)
        .await
        .expect("two are idle")
        .mark_dirty();
    bed.finish().await;
}

/// Each resize makes the maintenance task look for connects to start, on another thread. A connect that
/// starts takes its permit and looks at the limit in one step. So a resize always finds the permits that
/// it must take away.
#[test]
fn resize_finds_the_permits_of_all_free_slots_while_connects_begin() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build();
    let runtime = runtime.expect("a runtime can be built");
    let bed = runtime.block_on(async { Bed::new(1) });
    let sizes = [1, 0].into_iter().cycle().take(100_000);
    for size in sizes {
        bed.pool.resize(size).expect("the pool is open");
    }
}
