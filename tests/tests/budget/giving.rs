//! What a pool gives up for another one.

use pool_core::CloseReason;
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, SECOND, TICK, pass, quiesce};

use crate::pools::{Member, Pools, RESIDENCE};

fn pools(max_connections: usize) -> Pools {
    Pools::with(|budget| {
        budget
            .max_connections(max_connections)
            .min_residence(RESIDENCE)
    })
}

#[tokio::test(start_paused = true)]
async fn least_recently_used_idle_connection_is_reclaimed() {
    let pools = pools(3);
    let members = ["a", "b", "c", "d"].map(|name| pools.add(name));
    // The order of their last uses: b, c, a.
    for place in [1, 2, 0] {
        members[place].idle().await;
        pass(2 * TICK).await;
    }
    let mut leases = Vec::new();
    for expected in [[0, 1, 0], [0, 1, 1], [1, 1, 1]] {
        leases.push(members[3].lease().await);
        let closed = [0, 1, 2].map(|place| members[place].reasons().len());
        assert_eq!(closed, expected);
    }
    assert_eq!(members[1].reasons(), [CloseReason::Reclaimed]);
    drop(leases);
    pools.finish(members).await;
}

/// Invariant B4.
#[tokio::test(start_paused = true)]
async fn connection_that_becomes_idle_goes_to_the_pool_that_waits() {
    let pools = pools(1);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let lease = one.lease().await;
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    quiesce().await;
    assert!(waiting.poll().is_pending(), "a lease is not cut short");
    drop(lease);
    quiesce().await;
    drop(waiting.ready().expect("nobody else waits for it"));
    assert_eq!(one.reasons(), [CloseReason::Reclaimed]);
    drop(waiting);
    pools.finish([one, other]).await;
}

/// Invariant B5.
#[tokio::test(start_paused = true)]
async fn no_more_are_given_up_than_are_wanted() {
    let pools = pools(8);
    let members: Vec<_> = (0..8).map(|n| pools.add(&n.to_string())).collect();
    let asker = pools.add("asker");
    let mut leases = Vec::new();
    for member in &members {
        leases.push(member.lease().await);
    }
    let mut waiting = HandPolled::waiting(asker.pool.acquire());
    quiesce().await;
    // All come home before any task runs.
    leases.clear();
    quiesce().await;
    drop(waiting.ready().expect("one was given up"));
    let closed: usize = members.iter().map(|member| member.reasons().len()).sum();
    assert_eq!(closed, 1);
    drop(waiting);
    pools.finish(members.into_iter().chain([asker])).await;
}

/// Invariant 3 with a budget.
///
/// Invariant B6.
#[tokio::test(start_paused = true)]
async fn busy_pool_above_its_share_gives_way_after_the_minimum_residence() {
    let pools = pools(1);
    let (busy, starved) = (pools.add("busy"), pools.add("starved"));
    let mut lease = busy.lease().await;
    let mut own = HandPolled::waiting(busy.pool.acquire());
    let mut waiting = HandPolled::waiting(starved.pool.acquire());
    quiesce().await;
    drop(lease);
    lease = own.ready().expect("it has not served for long enough");
    own = HandPolled::waiting(busy.pool.acquire());
    pass(RESIDENCE + TICK).await;
    assert!(waiting.poll().is_pending(), "a lease is not cut short");
    drop(lease);
    assert!(own.poll().is_pending(), "its own caller is passed over");
    quiesce().await;
    let lease = waiting.ready().expect("the busy pool gave way");
    assert_eq!(busy.reasons(), [CloseReason::Reclaimed]);
    drop(lease);
    quiesce().await;
    drop(own.ready().expect("and gets it back"));
    drop((own, waiting));
    pools.finish([busy, starved]).await;
}

#[tokio::test(start_paused = true)]
async fn pool_within_its_share_serves_its_own_callers() {
    let pools = pools(2);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let (mut first, second) = (one.lease().await, other.lease().await);
    let mut own = HandPolled::waiting(one.pool.acquire());
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    pass(RESIDENCE + TICK).await;
    drop(first);
    first = own.ready().expect("one of two is its share");
    assert!(waiting.poll().is_pending());
    drop(second);
    drop(waiting.ready().expect("the same for the other"));
    assert_eq!((one.reasons(), other.reasons()), (vec![], vec![]));
    drop((first, own, waiting));
    pools.finish([one, other]).await;
}

/// Otherwise other pools would close connections for nobody.
#[tokio::test(start_paused = true)]
async fn cancelled_wait_takes_nothing_from_others() {
    let pools = pools(1);
    let (one, other) = (pools.add("one"), pools.add("other"));
    let lease = one.lease().await;
    let waiting = HandPolled::waiting(other.pool.acquire());
    quiesce().await;
    drop(waiting);
    quiesce().await;
    assert_eq!(pools.account("other").asks, 0);
    drop(lease);
    quiesce().await;
    assert_eq!(one.pool.status().idle, 1);
    pools.finish([one, other]).await;
}

/// Invariant B3.
#[tokio::test(start_paused = true)]
async fn permit_of_a_caller_that_left_goes_to_the_next_pool() {
    let pools = pools(1);
    let (one, other, third) = (pools.add("one"), pools.add("other"), pools.add("third"));
    let lease = one.lease().await;
    let first = HandPolled::waiting(other.pool.acquire());
    quiesce().await;
    let mut second = HandPolled::waiting(third.pool.acquire());
    quiesce().await;
    // The permit is granted when the close has ended; by then its caller has gone.
    one.fake.set(Call::Close, Answer::Manual);
    drop(lease);
    let close = one.fake.next(Call::Close).await;
    close.succeed();
    drop(first);
    quiesce().await;
    drop(second.ready().expect("the permit went on"));
    one.fake.set(Call::Close, Answer::Ok);
    drop(second);
    pools.finish([one, other, third]).await;
}

#[tokio::test(start_paused = true)]
async fn spare_connections_are_not_taken_from_others() {
    let pools = pools(1);
    let (one, other) = (
        pools.add_with("one", |builder| builder.min_idle(1)),
        pools.add_with("other", |builder| builder.min_idle(1)),
    );
    pass(10 * SECOND).await;
    let opened = [&one, &other].map(|member| member.fake.counts().connect.started);
    assert_eq!(opened, [1, 0], "none is closed and opened in turns");
    pools.finish([one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn reserved_connections_are_never_reclaimed() {
    let pools = pools(3);
    let guarded = pools.add_with("guarded", |builder| builder.min_idle(2).reserve_min_idle());
    let other = pools.add("other");
    quiesce().await;
    let held = other.lease().await;
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    pass(10 * SECOND).await;
    assert!(waiting.poll().is_pending());
    assert_eq!(guarded.pool.status().idle, 2);
    assert_eq!(guarded.reasons(), []);
    drop(waiting);
    drop(held);
    pools.finish([guarded, other]).await;
}

#[tokio::test(start_paused = true)]
async fn reserve_is_asked_back_from_those_that_hold_it() {
    let pools = pools(2);
    let one = pools.add("one");
    let held = one.leases(2).await;
    let guarded = pools.add_with("guarded", |builder| builder.min_idle(1).reserve_min_idle());
    quiesce().await;
    assert_eq!(guarded.pool.status().idle, 0);
    drop(held);
    quiesce().await;
    assert_eq!(guarded.pool.status().idle, 1);
    assert_eq!(one.reasons(), [CloseReason::Reclaimed]);
    pools.finish([one, guarded]).await;
}

/// A close that hangs is no reason to wait as long as others have idle connections.
#[tokio::test(start_paused = true)]
async fn another_connection_is_reclaimed_if_the_close_of_the_first_is_stuck() {
    let pools = pools(2);
    let (one, other, asker) = (pools.add("one"), pools.add("other"), pools.add("asker"));
    one.idle().await;
    pass(2 * TICK).await;
    other.idle().await;
    one.fake.set(Call::Close, Answer::Manual);
    let mut waiting = HandPolled::waiting(asker.pool.acquire());
    pass(19 * SECOND).await;
    assert!(waiting.poll().is_pending());
    assert_eq!((one.reasons().len(), other.reasons().len()), (1, 0));
    pass(2 * SECOND).await;
    drop(waiting.ready().expect("the other one was closed"));
    assert_eq!(other.reasons(), [CloseReason::Reclaimed]);
    one.fake.next(Call::Close).await.succeed();
    drop(waiting);
    pools.finish([one, other, asker]).await;
}

/// Neither can have all that it wants, as long as the other has a connection.
#[tokio::test(start_paused = true)]
async fn warm_ups_do_not_take_a_connection_from_each_other_for_ever() {
    for (max_connections, wanted) in [(3, 4), (2, 3)] {
        let pools = pools(max_connections);
        let members = ["one", "other"].map(|name| pools.add(name));
        for member in &members {
            member.fake.set(Call::Connect, Answer::After(TICK));
        }
        let pool_of = |member: &Member| member.pool.clone();
        let warm_ups = members
            .each_ref()
            .map(pool_of)
            .map(|pool| HandPolled::waiting(async move { pool.warm_up(wanted).await }));
        pass(10 * SECOND).await;
        let counts = members.each_ref().map(|member| member.fake.counts());
        let opened: usize = counts.iter().map(|counts| counts.connect.started).sum();
        assert_eq!(opened, max_connections, "as many as there may be");
        // A caller that waits has one at once.
        let third = pools.add("third");
        drop(third.lease().await);
        drop(warm_ups);
        pools.finish(members.into_iter().chain([third])).await;
    }
}

#[tokio::test(start_paused = true)]
async fn warm_up_takes_what_other_pools_do_not_need() {
    let pools = pools(3);
    let (one, other) = (pools.add("one"), pools.add("other"));
    one.pool.warm_up(3).await.expect("there is room");
    other.pool.warm_up(2).await.expect("the other one is over");
    assert_eq!(one.reasons(), [CloseReason::Reclaimed; 2]);
    pools.finish([one, other]).await;
}
