//! Closes that take long, or never end, in a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::{CloseReason, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, MINUTE, SECOND, TICK, pass, quiesce};

use crate::fairness::keep_busy;
use crate::pools::{Pools, RESIDENCE};

fn pools(max_connections: usize) -> Pools {
    Pools::with(|budget| {
        budget
            .max_connections(max_connections)
            .min_residence(RESIDENCE)
    })
}

/// What hangs is nothing that a pool has.
#[tokio::test(start_paused = true)]
async fn pool_whose_only_connection_is_stuck_has_its_turn() {
    let pools = pools(2);
    let unlucky = pools.add("unlucky");
    unlucky.fake.set(Call::Close, Answer::Manual);
    PooledConnection::discard(unlucky.lease().await);
    pass(21 * SECOND).await;
    assert_eq!(pools.account("unlucky").stuck, 1);
    let busy = ["one", "other"].map(|name| pools.add(name));
    let ends = Arc::new(AtomicBool::new(false));
    for member in &busy {
        keep_busy(member, 3, Duration::from_millis(10), &ends);
    }
    pass(SECOND).await;
    let mut waiting = HandPolled::waiting(unlucky.pool.acquire());
    pass(2 * RESIDENCE + 3 * TICK).await;
    drop(waiting.ready().expect("the others have had their time"));
    ends.store(true, Ordering::Relaxed);
    unlucky.fake.next(Call::Close).await.succeed();
    unlucky.fake.set(Call::Close, Answer::Ok);
    pass(SECOND).await;
    assert_eq!(pools.budget.status().stuck, 0);
    drop(waiting);
    pools.finish(busy.into_iter().chain([unlucky])).await;
}

#[tokio::test(start_paused = true)]
async fn status_and_errors_say_what_is_stuck() {
    let pools = pools(2);
    let (one, other) = (pools.add("one"), pools.add("other"));
    one.fake.set(Call::Close, Answer::Manual);
    let leases = one.leases(2).await;
    leases.into_iter().for_each(PooledConnection::discard);
    let mut waiting = HandPolled::waiting(other.pool.acquire_within(MINUTE));
    let text = || pools.budget.status().to_string();
    pass(19 * SECOND).await;
    assert_eq!(text(), "2 of 2, held by 1 pool; 1 pool waits");
    // It is told again and again, and counted once.
    for _ in 0..2 {
        pass(20 * SECOND).await;
        let status = pools.budget.status();
        assert_eq!((status.stuck, pools.account("one").stuck), (2, 2));
        assert_eq!(
            text(),
            "2 of 2 (2 stuck in their close), held by 1 pool; 1 pool waits"
        );
    }
    pass(2 * SECOND).await;
    let error = waiting.ready().expect_err("both hang");
    let expected = "budget `children` is full: 2 of 2 (2 stuck in their close), held by 1 pool;";
    assert!(error.to_string().contains(expected), "{error}");
    let usage = error.context().budget.as_ref().expect("it is full");
    assert_eq!(usage.stuck, 2);
    for _ in 0..2 {
        one.fake.next(Call::Close).await.succeed();
    }
    quiesce().await;
    assert_eq!(
        (pools.budget.status().stuck, text().as_str()),
        (0, "0 of 2, held by 0 pools; 0 pools wait")
    );
    one.fake.set(Call::Close, Answer::Ok);
    drop(waiting);
    pools.finish([one, other]).await;
}

/// With a long `close_timeout` it is not stuck for a long time, but nobody waits for it for so long.
#[tokio::test(start_paused = true)]
async fn pool_with_a_close_that_takes_long_gives_up_another_connection() {
    let pools = pools(2);
    let slow = pools.add_with("slow", |builder| builder.close_timeout(5 * MINUTE));
    let asker = pools.add("asker");
    drop(slow.leases(2).await);
    pass(RESIDENCE + TICK).await;
    slow.fake.set(Call::Close, Answer::Manual);
    let mut waiting = HandPolled::waiting(asker.pool.acquire_within(10 * MINUTE));
    pass(29 * SECOND).await;
    let first = slow.fake.next(Call::Close).await;
    slow.fake.set(Call::Close, Answer::Ok);
    assert!(waiting.poll().is_pending());
    assert_eq!(slow.reasons().len(), 1);
    pass(2 * SECOND).await;
    drop(waiting.ready().expect("the other one was closed"));
    assert_eq!(slow.reasons(), [CloseReason::Reclaimed; 2]);
    first.succeed();
    drop(waiting);
    pools.finish([slow, asker]).await;
}

/// Nobody waits, so nobody else looks again.
#[tokio::test(start_paused = true)]
async fn close_that_takes_long_keeps_no_surplus_of_a_smaller_budget() {
    let pools = pools(3);
    let slow = pools.add_with("slow", |builder| {
        builder.close_timeout(5 * MINUTE).check_interval(None)
    });
    let other = pools.add_with("other", |builder| builder.check_interval(None));
    drop(slow.leases(2).await);
    pass(RESIDENCE + TICK).await;
    other.idle().await;
    pass(RESIDENCE + TICK).await;
    slow.fake.set(Call::Close, Answer::Manual);
    pools.resize(2);
    pass(29 * SECOND).await;
    let hung = slow.fake.next(Call::Close).await;
    assert_eq!((slow.reasons().len(), other.reasons().len()), (1, 0));
    slow.fake.set(Call::Close, Answer::Ok);
    pass(2 * SECOND).await;
    assert_eq!(slow.reasons(), [CloseReason::Reclaimed; 2]);
    assert_eq!(pools.budget.status().used, 2);
    hung.succeed();
    pools.finish([slow, other]).await;
}

/// What is stuck takes its part of the limit, whoever has it.
#[tokio::test(start_paused = true)]
async fn smaller_budget_is_kept_by_busy_pools_beside_what_is_stuck() {
    let pools = pools(12);
    let stuck = pools.add("stuck");
    stuck.fake.set(Call::Close, Answer::Manual);
    let leases = stuck.leases(2).await;
    leases.into_iter().for_each(PooledConnection::discard);
    pass(21 * SECOND).await;
    let busy = ["one", "other"].map(|name| pools.add(name));
    let ends = Arc::new(AtomicBool::new(false));
    for member in &busy {
        keep_busy(member, 8, Duration::from_millis(10), &ends);
    }
    pass(2 * RESIDENCE).await;
    let held = || ["one", "other"].map(|name| pools.account(name).held);
    assert_eq!((held(), pools.account("stuck").stuck), ([5, 5], 2));
    pools.resize(10);
    pass(2 * RESIDENCE).await;
    assert_eq!((held(), pools.budget.status().used), ([4, 4], 10));
    let newcomer = pools.add("newcomer");
    let mut waiting = HandPolled::waiting(newcomer.pool.acquire());
    pass(2 * RESIDENCE).await;
    drop(waiting.ready().expect("it has none"));
    ends.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        stuck.fake.next(Call::Close).await.succeed();
    }
    stuck.fake.set(Call::Close, Answer::Ok);
    pass(SECOND).await;
    drop(waiting);
    let members = busy.into_iter().chain([stuck, newcomer]);
    pools.finish(members).await;
}

/// Otherwise it would get one after the other, and each would hang.
#[tokio::test(start_paused = true)]
async fn pool_whose_closes_all_hang_leaves_others_what_they_have() {
    let pools = pools(4);
    let hanging = pools.add("hanging");
    hanging.fake.set(Call::Close, Answer::Manual);
    let busy = pools.add("busy");
    let ends = Arc::new(AtomicBool::new(false));
    keep_busy(&busy, 8, Duration::from_millis(10), &ends);
    pass(2 * RESIDENCE).await;
    for _ in 0..6 {
        if let Ok(lease) = hanging.pool.acquire_within(2 * RESIDENCE).await {
            PooledConnection::discard(lease);
        }
        pass(21 * SECOND).await;
    }
    let held = ["hanging", "busy"].map(|name| pools.account(name).held);
    assert_eq!(held, [2, 2]);
    ends.store(true, Ordering::Relaxed);
    hanging.fake.set(Call::Close, Answer::Ok);
    for _ in 0..2 {
        hanging.fake.next(Call::Close).await.succeed();
    }
    pass(SECOND).await;
    pools.finish([hanging, busy]).await;
}
