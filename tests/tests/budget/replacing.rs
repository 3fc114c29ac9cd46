//! `evict_all_within` of a pool that has a budget.

use std::error::Error;

use pool_core::{CloseReason, EvictionReport, Fault};
use pool_tests::bed::{HandPolled, MINUTE, SECOND, pass, quiesce};

use crate::pools::{Member, Pools};

/// Which connections of the pool live, by their numbers.
fn alive(member: &Member) -> Vec<u64> {
    let alive = member.fake.alive().into_iter();
    alive.map(pool_core::ConnectionId::as_u64).collect()
}

fn is_for_want_of_budget(report: &EvictionReport) -> bool {
    let failure = report.failure.as_ref();
    let fault = failure
        .and_then(|failure| failure.source())
        .and_then(|source| source.downcast_ref::<Fault>());
    matches!(fault, Some(Fault::BudgetUsedUp { used: 2, limit: 2, budget }) if &**budget == "children")
}

#[tokio::test(start_paused = true)]
async fn one_goes_ahead_of_its_replacement_if_the_budget_has_no_room_for_both() {
    let pools = Pools::new(2);
    let member = pools.add("one");
    drop(member.leases(2).await);
    let report = member.pool.evict_all_within(10 * SECOND).await;
    assert_eq!((report.replaced, report.left), (2, 0));
    assert!(
        report.is_complete() && report.failure.is_none(),
        "{report:?}"
    );
    assert_eq!(member.reasons(), [CloseReason::Evicted; 2]);
    assert_eq!(alive(&member), [2, 3]);
    pools.finish([member]).await;
}

#[tokio::test(start_paused = true)]
async fn those_in_use_are_replaced_one_after_another_in_a_full_budget() {
    let pools = Pools::new(2);
    let member = pools.add("one");
    let mut leases = member.leases(2).await;
    let mut renewal = HandPolled::waiting(member.pool.evict_all_within(MINUTE));
    pass(10 * SECOND).await;
    assert!(renewal.poll().is_pending());
    assert_eq!(alive(&member), [0, 1], "a lease is not cut short");
    drop(leases.remove(0));
    quiesce().await;
    assert_eq!(alive(&member), [1, 2], "it made room");
    pass(MINUTE / 2).await;
    leases.clear();
    quiesce().await;
    let report = renewal.ready();
    assert_eq!((report.replaced, report.left), (2, 0));
    assert!(
        report.is_complete() && report.failure.is_none(),
        "{report:?}"
    );
    assert_eq!(alive(&member), [2, 3]);
    drop(renewal);
    pools.finish([member]).await;
}

#[tokio::test(start_paused = true)]
async fn all_stay_if_another_pool_waits_for_the_room_and_the_report_says_why() {
    let pools = Pools::new(2);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let leases = one.leases(2).await;
    let mut waiting = HandPolled::waiting(other.pool.acquire_within(10 * MINUTE));
    quiesce().await;
    let report = one.pool.evict_all_within(SECOND).await;
    assert_eq!((report.replaced, report.left), (0, 2));
    assert!(is_for_want_of_budget(&report), "{report:?}");
    assert_eq!(alive(&one), [0, 1]);
    drop(leases);
    quiesce().await;
    drop(waiting.ready().expect("one was given up"));
    drop(waiting);
    pools.finish([one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn report_says_that_the_budget_had_no_room_after_one_went_ahead() {
    let pools = Pools::new(2);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let leases = one.leases(2).await;
    let mut renewal = HandPolled::waiting(one.pool.evict_all_within(MINUTE));
    quiesce().await;
    let waiting = || HandPolled::waiting(other.pool.acquire_within(10 * MINUTE));
    let mut waiting = [waiting(), waiting()];
    quiesce().await;
    // One was evicted already, the other one is given up: the other pool takes the room of both.
    drop(leases);
    quiesce().await;
    let taken = waiting
        .each_mut()
        .map(|it| it.ready().expect("it has none yet"));
    pass(3 * MINUTE).await;
    let report = renewal.ready();
    assert_eq!((report.replaced, report.left), (1, 0));
    assert!(is_for_want_of_budget(&report), "{report:?}");
    assert_eq!(alive(&one), [0; 0]);
    drop((taken, renewal, waiting));
    pools.finish([one, other]).await;
}
