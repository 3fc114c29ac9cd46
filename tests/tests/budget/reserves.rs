//! What is reserved after others have taken it is asked back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::{CloseReason, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{MINUTE, SECOND, TICK, pass, quiesce, start};

use crate::fairness::keep_busy;
use crate::pools::{Pools, RESIDENCE};

fn pools(max_connections: usize) -> Pools {
    Pools::with(|budget| {
        budget
            .max_connections(max_connections)
            .min_residence(RESIDENCE)
    })
}

#[tokio::test(start_paused = true)]
async fn reserve_is_asked_back_from_a_busy_pool_before_a_caller_needs_it() {
    let pools = pools(64);
    let batch = pools.add_with("batch", |builder| builder.budget_share(5));
    let ends = Arc::new(AtomicBool::new(false));
    keep_busy(&batch, 200, Duration::from_millis(10), &ends);
    pass(10 * SECOND).await;
    assert_eq!(pools.account("batch").held, 64);
    let interactive = pools.add_with("interactive", |builder| {
        builder.min_idle(40).reserve_min_idle()
    });
    pass(RESIDENCE + 10 * SECOND).await;
    assert_eq!(interactive.pool.status().idle, 40);
    assert_eq!(pools.account("batch").held, 24);
    assert_eq!(pools.account("batch").reclaimed, 40);
    ends.store(true, Ordering::Relaxed);
    pass(MINUTE).await;
    pools.finish([batch, interactive]).await;
}

/// By all that have more than their part, not by the first.
#[tokio::test(start_paused = true)]
async fn reserve_is_asked_back_from_busy_pools_in_equal_parts() {
    let pools = pools(16);
    let busy = ["one", "other"].map(|name| pools.add(name));
    let ends = Arc::new(AtomicBool::new(false));
    for member in &busy {
        keep_busy(member, 50, Duration::from_millis(10), &ends);
    }
    pass(10 * SECOND).await;
    let guarded = pools.add_with("guarded", |builder| builder.min_idle(6).reserve_min_idle());
    pass(10 * SECOND).await;
    let held = ["one", "other", "guarded"].map(|name| pools.account(name).held);
    assert_eq!(held, [5, 5, 6]);
    ends.store(true, Ordering::Relaxed);
    pass(MINUTE).await;
    pools.finish(busy.into_iter().chain([guarded])).await;
}

#[tokio::test(start_paused = true)]
async fn smaller_budget_is_kept_beside_a_reserve_though_the_busy_pool_has_a_large_share() {
    let pools = pools(4);
    let guarded = pools.add_with("guarded", |builder| builder.min_idle(2).reserve_min_idle());
    let busy = pools.add_with("busy", |builder| builder.budget_share(10));
    let ends = Arc::new(AtomicBool::new(false));
    keep_busy(&busy, 5, Duration::from_millis(10), &ends);
    pass(SECOND).await;
    assert_eq!(pools.budget.status().used, 4);
    pools.resize(3);
    pass(RESIDENCE + 2 * TICK).await;
    let held = ["guarded", "busy"].map(|name| pools.account(name).held);
    assert_eq!(held, [2, 1]);
    ends.store(true, Ordering::Relaxed);
    pass(SECOND).await;
    pools.finish([guarded, busy]).await;
}

/// No caller waits, so nobody else looks for one.
#[tokio::test(start_paused = true)]
async fn idle_connection_of_a_quiet_pool_is_closed_when_a_pool_with_a_reserve_is_built() {
    let pools = pools(2);
    let quiet = pools.add("quiet");
    drop(quiet.leases(2).await);
    pass(SECOND).await;
    let guarded = pools.add_with("guarded", |builder| builder.min_idle(1).reserve_min_idle());
    quiesce().await;
    assert_eq!(quiet.reasons(), [CloseReason::Reclaimed]);
    assert_eq!(guarded.pool.status().idle, 1);
    pools.finish([quiet, guarded]).await;
}

#[tokio::test(start_paused = true)]
async fn full_budget_says_what_is_reserved() {
    let pools = pools(3);
    let guarded = pools.add_with("guarded", |builder| builder.min_idle(1).reserve_min_idle());
    quiesce().await;
    let held = guarded.leases(1).await;
    let other = pools.add("other");
    let others = other.lease().await;
    guarded.fake.set(Call::Connect, Answer::Transient);
    held.into_iter().for_each(PooledConnection::discard);
    quiesce().await;
    let more = other.lease().await;
    let error = other.pool.acquire_within(SECOND).await.unwrap_err();
    let expected = "2 of 3 (1 more reserved), held by 1 pool; 1 pool waits";
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(
        pools.budget.status().to_string(),
        expected.replace("1 pool waits", "0 pools wait")
    );
    drop((others, more));
    guarded.fake.set(Call::Connect, Answer::Ok);
    pools.finish([guarded, other]).await;
}

/// It gives what it has for its callers, but not before each connection has had one of them.
#[tokio::test(start_paused = true)]
async fn without_a_minimum_residence_each_connection_serves_a_lease() {
    let pools = Pools::with(|budget| budget.max_connections(1).min_residence(Duration::ZERO));
    let members = ["one", "other"].map(|name| pools.add(name));
    for member in &members {
        let slow = Answer::After(3 * TICK);
        member.fake.set(Call::Connect, slow);
    }
    let calls = members.each_ref().map(|member| {
        let pool = member.pool.clone();
        start(async move { pool.acquire_within(2 * SECOND).await.map(drop) })
    });
    for call in calls {
        call.await.expect("no panic").expect("it is served");
    }
    let opened = members
        .each_ref()
        .map(|member| member.fake.counts().connect.started);
    assert_eq!(opened, [1, 1], "both were served");
    pools.finish(members).await;
}
