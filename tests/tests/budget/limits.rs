//! What holds for all pools of a budget together.

use pool_core::{
    AcquireError, AcquirePhase, BuildError, CloseReason, PooledConnection, ResizeError,
};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, MINUTE, SECOND, pass, quiesce};

use crate::pools::Pools;

/// Invariant B1.
#[tokio::test(start_paused = true)]
async fn connection_counts_until_its_close_has_ended() {
    let pools = Pools::new(2);
    let (one, other) = (pools.add("one"), pools.add("other"));
    one.fake.set(Call::Close, Answer::Manual);
    for lease in one.leases(2).await {
        PooledConnection::discard(lease);
    }
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    quiesce().await;
    assert!(waiting.poll().is_pending(), "two are being closed");
    assert_eq!(pools.budget.status().used, 2);

    one.fake.next(Call::Close).await.succeed();
    quiesce().await;
    drop(waiting.ready().expect("one is gone"));
    one.fake.next(Call::Close).await.succeed();
    one.fake.set(Call::Close, Answer::Ok);
    drop(waiting);
    pools.finish([one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn detached_connection_leaves_the_budget() {
    let pools = Pools::new(1);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let detached = PooledConnection::detach(one.lease().await);
    assert_eq!(pools.budget.status().used, 0);
    let lease = other.lease().await;
    drop((detached, lease));
    pools.finish([one, other]).await;
}

/// Invariant B2.
#[tokio::test(start_paused = true)]
async fn connects_in_flight_are_limited_for_all_pools_together() {
    let pools = Pools::with(|budget| budget.max_connections(10).max_connecting(2));
    let members = ["a", "b", "c"].map(|name| pools.add(name));
    for member in &members {
        member.fake.set(Call::Connect, Answer::Manual);
    }
    let mut waiting = members
        .each_ref()
        .map(|member| HandPolled::waiting(member.pool.acquire()));
    quiesce().await;
    let started = || {
        members
            .each_ref()
            .map(|member| member.fake.counts().connect.started)
    };
    assert_eq!(started(), [1, 1, 0]);
    assert_eq!(pools.budget.status().connecting, 2);
    members[0].fake.next(Call::Connect).await.succeed();
    quiesce().await;
    assert_eq!(started(), [1, 1, 1]);
    members[1].fake.next(Call::Connect).await.fail("not now");
    members[2].fake.next(Call::Connect).await.succeed();
    quiesce().await;
    drop(waiting[0].ready().expect("it is open"));
    drop(waiting[2].ready().expect("it is open"));
    drop(waiting);
    members[1].fake.set(Call::Connect, Answer::Ok);
    pools.finish(members).await;
}

#[tokio::test(start_paused = true)]
async fn connect_that_hangs_keeps_no_other_pool_from_connecting() {
    let pools = Pools::with(|budget| budget.max_connections(10).max_connecting(1));
    let (hung, other) = (pools.add("hung"), pools.add("other"));
    hung.fake.set(Call::Connect, Answer::Never);
    let mut stuck = HandPolled::waiting(hung.pool.acquire());
    quiesce().await;
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    quiesce().await;
    assert!(waiting.poll().is_pending(), "one connect at a time");
    pass(SECOND).await;
    drop(waiting.ready().expect("the first is overdue"));
    assert!(stuck.poll().is_pending());
    drop((waiting, stuck));
    pools.finish([hung, other]).await;
}

#[tokio::test(start_paused = true)]
async fn timeout_names_the_limit_that_was_reached() {
    let pools = Pools::new(3);
    let (one, other, third) = (pools.add("one"), pools.add("other"), pools.add("third"));
    let held = (one.leases(2).await, other.lease().await);
    let mut waiting = HandPolled::waiting(one.pool.acquire());
    let error = third.pool.acquire_within(2 * SECOND).await.unwrap_err();
    let expected = "no connection of pool `third` within 2s: budget `children` is full: 3 of 3, held by 2 pools; 2 pools wait; 0 of 1000 leased";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(matches!(error, AcquireError::Timeout { .. }));
    assert_eq!(error.context().phase, AcquirePhase::Budget);
    let usage = error.context().budget.as_ref().expect("the budget is full");
    assert_eq!((usage.used, usage.limit, usage.waiting), (3, 3, 2));
    assert!(waiting.poll().is_pending());
    drop((waiting, held));
    pools.finish([one, other, third]).await;
}

#[tokio::test(start_paused = true)]
async fn status_says_who_holds_what_and_who_waits_for_how_long() {
    let pools = Pools::new(2);
    let (one, other) = (
        pools.add_with("one", |builder| builder.budget_share(3)),
        pools.add("other"),
    );
    let held = one.leases(2).await;
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    pass(SECOND).await;
    let (holder, asker) = (pools.account("one"), pools.account("other"));
    assert_eq!((holder.held, holder.share, holder.asks), (2, 3, 0));
    assert_eq!((holder.waiting_for, asker.held, asker.asks), (None, 0, 1));
    let waited = asker.waiting_for.expect("it waits");
    assert!(waited >= SECOND && waited < 2 * SECOND, "{waited:?}");
    let status = pools.budget.status().to_string();
    assert_eq!(status, "2 of 2, held by 1 pool; 1 pool waits");
    drop(held);
    quiesce().await;
    drop(waiting.ready().expect("one was given up"));
    assert_eq!(pools.account("one").reclaimed, 1);
    assert_eq!(pools.account("other").waiting_for, None);
    drop(waiting);
    pools.finish([one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn smaller_budget_closes_idle_connections_first_and_leased_ones_at_their_return() {
    let pools = Pools::new(4);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let held = one.leases(3).await;
    other.idle().await;
    pools.resize(2);
    quiesce().await;
    assert_eq!(other.reasons(), [CloseReason::Reclaimed]);
    assert_eq!(pools.budget.status().used, 3, "leases are not cut short");
    drop(held);
    quiesce().await;
    assert_eq!(one.reasons(), [CloseReason::Reclaimed]);
    assert_eq!(pools.budget.status().used, 2);
    pools.resize(4);
    drop(other.leases(2).await);
    assert_eq!(one.reasons().len(), 1, "there is room again");
    pools.finish([one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn smaller_budget_closes_what_was_unused_for_longest_whichever_pool_has_it() {
    let pools = Pools::new(3);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let mut held = one.leases(2).await;
    drop(held.pop());
    pass(SECOND).await;
    other.idle().await;
    pass(SECOND).await;
    drop(held);
    pass(SECOND).await;
    pools.resize(1);
    quiesce().await;
    let reclaimed = [CloseReason::Reclaimed];
    assert_eq!(
        (one.reasons(), other.reasons()),
        (reclaimed.into(), reclaimed.into())
    );
    pools.finish([one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn reserve_beyond_the_limit_is_refused() {
    let pools = Pools::new(4);
    let one = pools.add_with("one", |builder| builder.min_idle(3).reserve_min_idle());
    let refused = pool_core::ConnectionPool::builder(pool_core::connector_fn(async |_| Ok(())))
        .min_idle(2)
        .budget(&pools.budget)
        .reserve_min_idle()
        .build();
    let error = refused.expect_err("one is left");
    assert!(matches!(
        error,
        BuildError::Unreservable {
            wanted: 2,
            left: 1,
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "budget `children` cannot reserve 2 connections, 1 are not reserved yet"
    );
    assert_eq!(
        pools.budget.resize(2),
        Err(ResizeError::Reserved {
            limit: 2,
            reserved: 3
        })
    );
    pools.finish([one]).await;
}

#[tokio::test(start_paused = true)]
async fn closed_pool_gives_its_reserve_and_its_turn_back() {
    let pools = Pools::new(2);
    let reserving = pools.add_with("reserving", |builder| {
        builder.min_idle(1).reserve_min_idle()
    });
    let (holder, next) = (pools.add("holder"), pools.add("next"));
    let held = holder.lease().await;
    quiesce().await;
    let mut waiting = HandPolled::waiting(next.pool.acquire());
    quiesce().await;
    assert!(waiting.poll().is_pending(), "one is leased, one reserved");
    let report = reserving.pool.close(MINUTE).await;
    assert!(report.is_complete());
    quiesce().await;
    drop(waiting.ready().expect("the reserve is free"));
    drop((waiting, held));
    pools.finish([reserving, holder, next]).await;
}
