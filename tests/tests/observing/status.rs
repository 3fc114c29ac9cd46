//! `status`: one consistent snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pool_core::{PoolStatus, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, SECOND, TICK, quiesce};
use tokio::task::{JoinSet, yield_now};

#[tokio::test(start_paused = true)]
async fn status_counts_every_state() {
    let bed = Bed::with(7, |builder| {
        builder
            .check_interval(10 * SECOND)
            .close_timeout(5 * SECOND)
            .check_timeout(60 * SECOND)
    });
    bed.fake.set(Call::Check, Answer::Manual);
    bed.fake.set(Call::Reset, Answer::Manual);
    bed.fake.set(Call::Close, Answer::Manual);
    let mut leases = bed.leases(6).await;
    PooledConnection::discard(leases.pop().expect("six were leased"));
    drop(leases.pop());
    bed.begin_check(10 * SECOND).await;
    drop(leases.pop());
    leases.pop().expect("six were leased").mark_needs_reset();
    PooledConnection::discard(leases.pop().expect("six were leased"));
    bed.fake.set(Call::Connect, Answer::Manual);
    let idle = bed.lease().await;
    let waiter = HandPolled::waiting(bed.pool.acquire());
    drop(bed.fake.next(Call::Connect).await);
    let status = bed.pool.status();
    assert_eq!((status.opening, status.idle, status.leased), (1, 0, 2));
    assert_eq!((status.checking, status.returning), (1, 1));
    assert_eq!((status.closing, status.stuck, status.waiting), (1, 1, 1));
    assert_eq!((status.size(), status.max_size), (7, 7));
    assert_eq!(
        status.to_string(),
        "2 of 7 leased, 0 idle, 1 opening, 1 being checked, 1 returning, 1 closing, 1 stuck, \
         1 waiting"
    );
    assert_eq!(
        format!("{:?}", bed.pool),
        format!("ConnectionPool {{ name: \"pool\", status: {status:?} }}")
    );
    for _ in 0..2 {
        bed.fake.next(Call::Close).await.succeed();
    }
    bed.fake.set(Call::Close, Answer::Ok);
    bed.fake.next(Call::Check).await.succeed();
    bed.fake.next(Call::Reset).await.succeed();
    drop((leases, idle, waiter));
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_sample_of_a_busy_pool_is_consistent() {
    let bed = Bed::with(4, |builder| builder.max_uses(20));
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (pool, over) = (bed.pool.clone(), Arc::clone(&over));
        tasks.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                drop(pool.acquire().await.expect("all are served"));
                yield_now().await;
            }
        });
    }
    for _ in 0..20_000 {
        let status = bed.pool.status();
        assert!(status.size() <= 4, "{status}");
        assert!(status.waiting <= 8, "{status}");
        assert!(status.idle == 0 || status.waiting == 0, "{status}");
    }
    over.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.expect("the task does not panic");
    }
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn status_of_an_unused_pool_is_zero() {
    let bed = Bed::new(3);
    let empty = PoolStatus::default();
    let status = bed.pool.status();
    assert_eq!(
        (status.size(), status.waiting, status.is_closed),
        (empty.size(), 0, false)
    );
    quiesce().await;
    assert_eq!(bed.pool.status(), status);
    bed.finish().await;
}

/// The coarse clock measures the last use, the exact clock the time of opening.
#[tokio::test(start_paused = true)]
async fn connection_is_never_idle_for_longer_than_it_is_old() {
    let bed = Bed::new(1);
    let delay = Answer::After(TICK * 3 / 10);
    bed.fake.set(Call::Connect, delay);
    bed.pool.warm_up(1).await.expect("it connects");
    let evicted = bed
        .pool
        .retain(|stats| stats.idle_for.is_some_and(|idle_for| idle_for <= stats.age));
    assert_eq!(evicted, 0);
    bed.finish().await;
}
