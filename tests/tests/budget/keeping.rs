//! What a pool need not give up: what it asks for itself, and what it uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::{CloseReason, ConnectionPool, PooledConnection, WarmUpError};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, pair};
use pool_tests::bed::{HandPolled, MINUTE, SECOND, TICK, pass, quiesce, start};
use tokio::time::sleep;

use crate::pools::{Pools, RESIDENCE};

fn pools(max_connections: usize) -> Pools {
    Pools::with(|budget| {
        budget
            .max_connections(max_connections)
            .min_residence(RESIDENCE)
    })
}

#[tokio::test(start_paused = true)]
async fn pool_does_not_take_its_own_idle_connection() {
    let pools = pools(1);
    let one = pools.add("one");
    let error = one.pool.warm_up(2).await.unwrap_err();
    assert!(matches!(error, WarmUpError::Timeout { .. }), "{error}");
    assert_eq!(one.fake.counts().connect.started, 1, "it is not replaced");
    assert_eq!(one.reasons(), []);
    assert_eq!(one.pool.status().idle, 1);
    pools.finish([one]).await;
}

#[tokio::test(start_paused = true)]
async fn pool_does_not_take_its_own_connection_for_callers_that_have_gone() {
    let pools = pools(1);
    let one = pools.add("one");
    let lease = one.lease().await;
    let waiting = HandPolled::waiting(one.pool.acquire());
    quiesce().await;
    assert_eq!(pools.account("one").asks, 1);
    drop(waiting);
    // Its task has not told the budget yet.
    drop(lease);
    quiesce().await;
    assert_eq!((one.pool.status().idle, one.reasons()), (1, vec![]));
    pools.finish([one]).await;
}

/// One caller after the other, beside a pool that wants everything.
#[tokio::test(start_paused = true)]
async fn sequential_caller_beside_a_greedy_pool_keeps_its_connection() {
    let pools = pools(4);
    let (steady, greedy) = (pools.add("steady"), pools.add("greedy"));
    let ends = Arc::new(AtomicBool::new(false));
    for _ in 0..20 {
        let (pool, ends) = (greedy.pool.clone(), Arc::clone(&ends));
        drop(start(async move {
            while !ends.load(Ordering::Relaxed) {
                let held = pool.acquire_within(10 * MINUTE).await;
                sleep(Duration::from_millis(7)).await;
                drop(held);
            }
        }));
    }
    pass(5 * SECOND).await;
    for _ in 0..1000 {
        drop(steady.lease().await);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(steady.fake.counts().connect.started, 1);
    assert_eq!(pools.account("greedy").held, 3);
    // What is not used any more goes to the other.
    pass(RESIDENCE + 3 * TICK).await;
    assert_eq!(steady.reasons(), [CloseReason::Reclaimed]);
    quiesce().await;
    assert_eq!(pools.account("greedy").held, 4);
    ends.store(true, Ordering::Relaxed);
    pass(MINUTE).await;
    pools.finish([steady, greedy]).await;
}

/// The same if the greedy one begins to ask when the other has been quiet for a moment.
#[tokio::test(start_paused = true)]
async fn connection_of_a_quiet_pool_is_free_after_the_minimum_residence() {
    let pools = pools(2);
    let (quiet, greedy) = (pools.add("quiet"), pools.add("greedy"));
    quiet.idle().await;
    pass(RESIDENCE / 2).await;
    let held = greedy.lease().await;
    let mut waiting = HandPolled::waiting(greedy.pool.acquire());
    pass(RESIDENCE / 4).await;
    assert!(waiting.poll().is_pending(), "it was used a moment ago");
    pass(RESIDENCE / 2).await;
    drop(waiting.ready().expect("it was not used again"));
    assert_eq!(quiet.reasons(), [CloseReason::Reclaimed]);
    drop((held, waiting));
    pools.finish([quiet, greedy]).await;
}

#[tokio::test(start_paused = true)]
async fn reserved_number_stays_idle_beside_what_is_leased() {
    let pools = pools(4);
    let guarded = pools.add_with("guarded", |builder| builder.min_idle(1).reserve_min_idle());
    let held = guarded.leases(2).await;
    pass(2 * TICK).await;
    let other = pools.add("other");
    let first = other.lease().await;
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    pass(10 * SECOND).await;
    assert!(waiting.poll().is_pending());
    assert_eq!(
        (guarded.pool.status().idle, guarded.pool.status().leased),
        (1, 2)
    );
    drop((held, first, waiting));
    pools.finish([guarded, other]).await;
}

/// Nobody runs the tasks of a pool whose runtime does not run.
#[tokio::test(start_paused = true)]
async fn claim_on_a_pool_that_does_not_run_is_given_to_another_pool() {
    let pools = pools(2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let (connector, fake) = pair();
    let stopped = ConnectionPool::builder(connector)
        .name("stopped")
        .budget(&pools.budget)
        .runtime(runtime.handle().clone())
        .build()
        .expect("the settings are valid");
    // It runs only here.
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| runtime.block_on(async { drop(stopped.acquire().await) }));
        opened.join().expect("no panic");
    });
    assert_eq!(stopped.status().idle, 1);
    let (other, asker) = (pools.add("other"), pools.add("asker"));
    pass(2 * TICK).await;
    other.idle().await;
    let mut waiting = HandPolled::waiting(asker.pool.acquire_within(10 * MINUTE));
    pass(29 * SECOND).await;
    assert!(waiting.poll().is_pending());
    assert_eq!((stopped.status().closing, other.reasons().len()), (1, 0));
    pass(2 * SECOND).await;
    let lease = waiting.ready().expect("the other one was closed");
    assert_eq!(other.reasons(), [CloseReason::Reclaimed]);
    drop((lease, waiting));
    drop(stopped);
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| {
            let counts = runtime.block_on(fake.until(|counts| counts.alive == 0));
            assert_eq!(counts.dropped_unclosed, 0);
            drop(runtime);
        });
        ended.join().expect("no panic");
    });
    pools.finish([other, asker]).await;
}

#[tokio::test(start_paused = true)]
async fn permit_that_is_granted_to_a_pool_that_does_not_run_is_given_to_another_pool() {
    let pools = pools(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let (connector, fake) = pair();
    let stopped = ConnectionPool::builder(connector)
        .name("stopped")
        .budget(&pools.budget)
        .runtime(runtime.handle().clone())
        .build()
        .expect("the settings are valid");
    let (other, asker) = (pools.add("other"), pools.add("asker"));
    let lease = other.pool.acquire().await.expect("it opens");
    let mut first = HandPolled::new(stopped.acquire_within(60 * MINUTE));
    // It runs until it has asked.
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            runtime.block_on(async {
                assert!(first.poll().is_pending());
                while pools.account("stopped").asks == 0 {
                    tokio::task::yield_now().await;
                }
            });
        });
        asked.join().expect("no panic");
    });
    let mut waiting = HandPolled::waiting(asker.pool.acquire_within(10 * MINUTE));
    quiesce().await;
    PooledConnection::discard(lease);
    pass(20 * SECOND).await;
    assert_eq!(pools.account("stopped").held, 1, "it was the first to ask");
    assert!(waiting.poll().is_pending());
    pass(MINUTE).await;
    drop(waiting.ready().expect("the other pool did not take it"));
    assert_eq!(asker.fake.counts().connect.started, 1);
    drop(waiting);
    // It runs again, and is served after all.
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| {
            runtime.block_on(async {
                while pools.account("stopped").asks == 0 {
                    tokio::task::yield_now().await;
                }
            });
        });
        ended.join().expect("no panic");
    });
    quiesce().await;
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| {
            drop(runtime.block_on(first.finish()).expect("it is served"));
            assert!(runtime.block_on(stopped.close(MINUTE)).is_complete());
            assert_eq!(fake.counts().dropped_unclosed, 0);
            drop(runtime);
        });
        ended.join().expect("no panic");
    });
    drop(stopped);
    pools.finish([other, asker]).await;
}

/// What errors and the status say of pools that wait.
#[tokio::test(start_paused = true)]
async fn only_pools_with_callers_wait_and_they_wait_until_they_are_served() {
    let pools = pools(2);
    let one = pools.add("one");
    let held = one.leases(2).await;
    let spare = pools.add_with("spare", |builder| builder.min_idle(1));
    let other = pools.add("other");
    let error = other.pool.acquire_within(3 * SECOND).await.unwrap_err();
    let expected = "2 of 2, held by 1 pool; 1 pool waits";
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(pools.account("spare").waiting_for, None);
    assert_eq!(pools.account("spare").asks, 1);

    let waiting = [one.pool.acquire(), one.pool.acquire()].map(HandPolled::waiting);
    let hung = HandPolled::waiting(other.pool.acquire());
    pass(SECOND / 2).await;
    let before = pools.account("one").waiting_for.expect("it waits");
    let mut held = held.into_iter();
    // One of its connections goes, for good.
    let detached = held.next().map(PooledConnection::detach);
    quiesce().await;
    let after = pools
        .account("one")
        .waiting_for
        .expect("another pool got it");
    assert!(after >= before, "{after:?} after {before:?}");
    drop((detached, held, waiting, hung));
    quiesce().await;
    pools.finish([one, spare, other]).await;
}

/// A connection whose close is stuck was taken for another pool all the same.
#[tokio::test(start_paused = true)]
async fn stuck_connection_counts_as_reclaimed() {
    let pools = pools(1);
    let (one, other) = (pools.add("one"), pools.add("other"));
    one.idle().await;
    one.fake.set(Call::Close, Answer::Manual);
    let waiting = HandPolled::waiting(other.pool.acquire_within(10 * MINUTE));
    pass(25 * SECOND).await;
    one.fake.next(Call::Close).await.succeed();
    quiesce().await;
    assert_eq!(pools.account("one").reclaimed, 1);
    drop(waiting);
    pools.finish([one, other]).await;
}

/// It would spread its leases over another connection, and a warm-up counts on one.
#[tokio::test(start_paused = true)]
async fn pools_without_callers_do_not_wait() {
    let pools = pools(1);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let held = one.lease().await;
    let warm_up = HandPolled::waiting(other.pool.warm_up(1));
    quiesce().await;
    assert_eq!(pools.account("other").asks, 1);
    assert_eq!(pools.account("other").waiting_for, None);
    let text = || pools.budget.status().to_string();
    assert_eq!(text(), "1 of 1, held by 1 pool; 0 pools wait");
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    pass(SECOND).await;
    assert_eq!(text(), "1 of 1, held by 1 pool; 1 pool waits");
    let waited = pools.account("other").waiting_for.expect("it waits");
    assert!(waited >= SECOND && waited < SECOND + TICK, "{waited:?}");
    drop(held);
    quiesce().await;
    drop(waiting.ready().expect("it was given up"));
    drop((warm_up, waiting));
    pools.finish([one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_warm_up_name_the_budget_that_is_full() {
    let pools = pools(1);
    let other = pools.add("other");
    let held = other.lease().await;
    let one = pools.add_with("one", |builder| builder.max_waiters(1));
    let usage = "budget `children` is full: 1 of 1, held by 1 pool; ";
    let waiting = HandPolled::waiting(one.pool.acquire());
    quiesce().await;
    let overloaded = one.pool.acquire().await.unwrap_err().to_string();
    assert!(overloaded.contains(usage), "{overloaded}");
    drop(waiting);
    let late = one.pool.warm_up(1).await.unwrap_err().to_string();
    assert!(late.contains(usage), "{late}");
    drop(held);
    let two = other.leases(1).await;
    drop(two);
    pools.finish([one, other]).await;
}
