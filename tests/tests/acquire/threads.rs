//! Many callers on several threads in real time, cancellations at every moment, and random operations.
//! Nothing is measured: everything must end, and the ledger must find no breach.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{CloseReason, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, MINUTE, Pool, SECOND, quiesce, start};
use pool_tests::random::SplitMix64;
use tokio::task::{JoinSet, yield_now};
async fn many_waiters() {
    const WAITERS: usize = 25_000;
    let bed = Bed::with(3, |builder| builder.acquire_timeout(10 * MINUTE));
    let served = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..WAITERS {
        let (pool, served) = (bed.pool.clone(), Arc::clone(&served));
        tasks.spawn(async move {
            let lease = pool.acquire().await.expect("all are served");
            yield_now().await;
            drop(lease);
            served.fetch_add(1, Ordering::Relaxed);
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("the task does not panic");
    }
    assert_eq!(served.load(Ordering::Relaxed), WAITERS);
    let counts = bed.fake.counts();
    assert!(counts.connect.started <= 3, "{counts:?}");
    bed.finish().await;
}

#[tokio::test]
async fn twenty_five_thousand_waiters_are_served_on_one_thread() {
    many_waiters().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_five_thousand_waiters_are_served_on_several_threads() {
    many_waiters().await;
}

/// A counter for each connection shows that no two callers hold it at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_lease_at_a_time_per_connection() {
    const TASKS: usize = 100;
    const ROUNDS: usize = 50;
    let bed = Bed::new(3);
    let holders: Arc<[AtomicUsize; 3]> = Arc::default();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (pool, holders) = (bed.pool.clone(), Arc::clone(&holders));
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                let lease = pool.acquire().await.expect("all are served");
                let place = usize::try_from(lease.id().as_u64()).expect("the ids are 0, 1 and 2");
                let others = holders[place].fetch_add(1, Ordering::SeqCst);
                yield_now().await;
                holders[place].fetch_sub(1, Ordering::SeqCst);
                assert_eq!(others, 0, "it was lent to somebody else");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("the task does not panic");
    }
    bed.finish().await;
}

/// All combinations of the answers of connect, reset and close and of the number of polls after which
/// the acquires are dropped. The whole capacity can be lent afterwards, and was never exceeded.
#[tokio::test(start_paused = true)]
async fn cancellation_after_any_poll_with_any_answers_keeps_the_capacity() {
    const ANSWERS: [Answer; 4] = [
        Answer::Ok,
        Answer::Transient,
        Answer::Panic,
        Answer::After(Duration::from_millis(3)),
    ];
    for case in 0..256_usize {
        let (connect, reset) = (ANSWERS[case % 4], ANSWERS[case / 4 % 4]);
        let (close, polls) = (ANSWERS[case / 16 % 4], case / 64);
        let bed = Bed::with(2, |builder| {
            let least = Duration::from_millis(1);
            builder.retry_delay(least, least).fail_fast_after(1_000)
        });
        bed.fake.queue(Call::Connect, [connect; 2]);
        bed.fake.queue(Call::Reset, [reset; 2]);
        bed.fake.queue(Call::Close, [close; 2]);
        let mut callers: Vec<_> = (0..6)
            .map(|_| HandPolled::new(bed.pool.acquire()))
            .collect();
        for round in 0..=polls {
            for caller in &mut callers {
                if let Poll::Ready(Ok(lease)) = caller.poll() {
                    lease.mark_needs_reset();
                    *caller = HandPolled::new(bed.pool.acquire());
                }
            }
            if round < polls {
                quiesce().await;
            }
        }
        drop(callers);
        let leases = bed.leases(2).await;
        assert_eq!(bed.pool.status().size(), 2, "case {case}");
        drop(leases);
        bed.finish().await;
    }
}

/// Everything that callers can do, in a random order from a seed, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_operations_on_several_threads_break_no_rule() {
    const TASKS: u64 = 8;
    const ROUNDS: usize = 2_000;
    let bed = Bed::with(4, |builder| {
        let least = Duration::from_micros(100);
        builder
            .retry_delay(least, least)
            .fail_fast_after(1_000_000)
            .max_uses(50)
            .min_idle(1)
            .min_uptime(Duration::ZERO)
    });
    bed.fake
        .set_with(Call::Connect, |site| match site.number % 7 {
            3 => Answer::Transient,
            5 => Answer::Panic,
            _ => Answer::Ok,
        });
    let detached = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (pool, detached) = (bed.pool.clone(), Arc::clone(&detached));
        tasks.spawn(async move {
            let mut random = SplitMix64::new(task);
            for _ in 0..ROUNDS {
                do_something(&pool, &mut random, &detached).await;
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("the task does not panic");
    }
    let leases = bed.leases(4).await;
    assert_eq!(bed.pool.status().leased, 4, "the capacity is whole");
    drop(leases);
    let detached = detached.load(Ordering::Relaxed);
    assert!(bed.reasons().contains(&CloseReason::Discarded));
    // Detached connections are dropped without a close, and rightly.
    bed.finish_with(
        4 + usize::try_from(TASKS).expect("it is a small number"),
        detached,
    )
    .await;
}

/// One of the things that a caller can do.
async fn do_something(pool: &Pool, random: &mut SplitMix64, detached: &AtomicUsize) {
    match random.next_u64() % 16 {
        0 => drop(pool.try_acquire()),
        1 => {
            let mut acquire = Box::pin(pool.acquire());
            let poll = acquire
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            yield_now().await;
            drop((poll, acquire));
        }
        2 => drop(pool.acquire_within(Duration::from_micros(50)).await),
        3 => PooledConnection::discard(pool.acquire().await.expect("a connection can serve it")),
        4 => {
            drop(PooledConnection::detach(
                pool.acquire().await.expect("a connection can serve it"),
            ));
            detached.fetch_add(1, Ordering::Relaxed);
        }
        5 => pool
            .acquire()
            .await
            .expect("a connection can serve it")
            .mark_dirty(),
        6 => pool
            .acquire()
            .await
            .expect("a connection can serve it")
            .mark_needs_reset(),
        7 => pool
            .acquire()
            .await
            .expect("a connection can serve it")
            .die(),
        8 => assert!(pool.status().size() <= 4),
        9 if random.next_u64().is_multiple_of(16) => drop(pool.evict_all()),
        10 if random.next_u64().is_multiple_of(16) => {
            pool.retain(|stats| stats.uses % 2 == 0);
        }
        _ => {
            let lease = pool.acquire().await.expect("a connection can serve it");
            yield_now().await;
            drop(lease);
        }
    }
}

/// The limit holds at every moment, and the whole capacity can be lent afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn resizes_race_connects_and_returns() {
    const ROUNDS: usize = 5_000;
    // A discard is no failure here.
    let bed = Bed::with(8, |builder| builder.min_uptime(Duration::ZERO));
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let pool = bed.pool.clone();
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                let lease = pool
                    .acquire_within(10 * SECOND)
                    .await
                    .expect("it grows again");
                PooledConnection::discard(lease);
            }
        });
    }
    let pool = bed.pool.clone();
    let resizer = start(async move {
        let mut size = 0;
        loop {
            size = (size + 3) % 9;
            pool.resize(size).expect("the pool is open");
            yield_now().await;
        }
    });
    while let Some(task) = tasks.join_next().await {
        task.expect("the task does not panic");
    }
    resizer.abort();
    let end = resizer.await.expect_err("it never ends by itself");
    assert!(end.is_cancelled(), "{end}");
    bed.pool.resize(8).expect("the pool is open");
    let leases = bed.leases(8).await;
    assert_eq!(bed.pool.status().leased, 8, "the capacity is whole");
    drop(leases);
    bed.finish().await;
}
