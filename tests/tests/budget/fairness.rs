//! Who gets how much of a budget, and how long the others wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{MINUTE, SECOND, TICK, pass, start};
use tokio::time::{Instant, sleep};

use crate::pools::{Member, Pools, RESIDENCE};

/// Keeps this many callers busy until `ends`, each with leases of this length.
pub(crate) fn keep_busy(member: &Member, callers: usize, lease: Duration, ends: &Arc<AtomicBool>) {
    for _ in 0..callers {
        let (pool, ends) = (member.pool.clone(), Arc::clone(ends));
        drop(start(async move {
            while !ends.load(Ordering::Relaxed) {
                let held = pool.acquire_within(10 * MINUTE).await;
                if held.is_err() {
                    return;
                }
                sleep(lease).await;
            }
        }));
    }
}

#[tokio::test(start_paused = true)]
async fn two_greedy_pools_settle_at_their_shares() {
    let pools = Pools::with(|budget| budget.max_connections(64).min_residence(RESIDENCE));
    let large = pools.add_with("large", |builder| builder.budget_share(3));
    let small = pools.add("small");
    let ends = Arc::new(AtomicBool::new(false));
    let lease = Duration::from_millis(10);
    keep_busy(&large, 200, lease, &ends);
    pass(10 * SECOND).await;
    assert_eq!(pools.account("large").held, 64, "nobody else wants any");
    keep_busy(&small, 200, lease, &ends);
    pass(10 * SECOND).await;
    for _ in 0..20 {
        let held = ["large", "small"].map(|name| pools.account(name).held);
        assert_eq!(held, [48, 16]);
        pass(Duration::from_millis(50)).await;
    }
    let reclaimed = pools.account("large").reclaimed;
    assert_eq!(reclaimed, 16, "no connection was passed back and forth");
    assert_eq!(pools.account("small").reclaimed, 0);
    ends.store(true, Ordering::Relaxed);
    pass(MINUTE).await;
    pools.finish([large, small]).await;
}

/// What others have and do not want more of is no part of what greedy pools divide.
#[tokio::test(start_paused = true)]
async fn two_greedy_pools_have_equally_much_beside_pools_that_want_little() {
    let pools = Pools::with(|budget| budget.max_connections(64).min_residence(RESIDENCE));
    let first = pools.add("first");
    let ends = Arc::new(AtomicBool::new(false));
    let lease = Duration::from_millis(10);
    keep_busy(&first, 100, lease, &ends);
    pass(10 * SECOND).await;
    let mut lights = Vec::new();
    let mut sessions = Vec::new();
    for name in 0..30 {
        let light = pools.add(&name.to_string());
        sessions.push(light.lease().await);
        lights.push(light);
    }
    assert_eq!(pools.account("first").held, 34, "the others have one each");
    let second = pools.add("second");
    keep_busy(&second, 100, lease, &ends);
    pass(10 * SECOND).await;
    for _ in 0..20 {
        let held = ["first", "second"].map(|name| pools.account(name).held);
        assert_eq!(held, [17, 17]);
        pass(Duration::from_millis(50)).await;
    }
    let reclaimed = ["first", "second"].map(|name| pools.account(name).reclaimed);
    assert_eq!(reclaimed, [47, 0], "none was passed back and forth");
    ends.store(true, Ordering::Relaxed);
    drop(sessions);
    pass(MINUTE).await;
    pools
        .finish(lights.into_iter().chain([first, second]))
        .await;
}

/// The bound that `docs/design.md` states: for n busy pools of equal share and a budget of b, n / b
/// rounded up times the sum of the minimum residence, the longest lease, a close, the connects that
/// wait for each other, and two ticks.
async fn no_pool_waits_longer_than_the_bound(connecting: usize, connect: Duration) {
    const BUDGET: usize = 8;
    const POOLS: usize = 30;
    const LEASE: Duration = Duration::from_millis(300);
    const CLOSE: Duration = Duration::from_millis(20);
    let turns = u32::try_from(POOLS.div_ceil(BUDGET)).expect("it is small");
    let connects = u32::try_from(BUDGET.div_ceil(connecting)).expect("it is small");
    let bound = (RESIDENCE + LEASE + CLOSE + connect * connects + 2 * TICK) * turns;
    let pools = Pools::with(|budget| {
        budget
            .max_connections(BUDGET)
            .max_connecting(connecting)
            .min_residence(RESIDENCE)
    });
    let members: Vec<_> = (0..POOLS).map(|n| pools.add(&n.to_string())).collect();
    let ends = Arc::new(AtomicBool::new(false));
    for member in &members {
        member.fake.set(Call::Connect, Answer::After(connect));
        member.fake.set(Call::Close, Answer::After(CLOSE));
        keep_busy(member, 5, LEASE, &ends);
    }
    let end = Instant::now() + 2 * MINUTE;
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        let status = pools.budget.status();
        assert!(status.used <= BUDGET);
        let starved = status.members.iter().filter(|member| member.held == 0);
        longest = longest.max(
            starved
                .filter_map(|member| member.waiting_for)
                .max()
                .unwrap_or_default(),
        );
        sleep(Duration::from_millis(10)).await;
    }
    assert!(longest <= bound, "{longest:?} > {bound:?}");
    assert!(longest * 2 > bound, "{longest:?}: the bound says something");
    ends.store(true, Ordering::Relaxed);
    pass(MINUTE).await;
    pools.finish(members).await;
}

#[tokio::test(start_paused = true)]
async fn no_pool_waits_longer_than_the_bound_for_its_turn() {
    no_pool_waits_longer_than_the_bound(8, Duration::from_millis(50)).await;
}

#[tokio::test(start_paused = true)]
async fn no_pool_waits_longer_than_the_bound_where_few_may_connect_at_once() {
    no_pool_waits_longer_than_the_bound(2, Duration::from_millis(200)).await;
}

/// One pool has 500 callers with long and short leases, each of a thousand others one now and then.
#[tokio::test(start_paused = true)]
async fn greedy_pool_does_not_starve_a_thousand_others() {
    const BUDGET: usize = 32;
    const LONG: Duration = Duration::from_secs(2);
    const CONNECT: Duration = Duration::from_millis(2);
    let pools = Pools::with(|budget| budget.max_connections(BUDGET).min_residence(RESIDENCE));
    let greedy = pools.add("greedy");
    let ends = Arc::new(AtomicBool::new(false));
    keep_busy(&greedy, 250, LONG, &ends);
    keep_busy(&greedy, 250, Duration::from_millis(5), &ends);
    pass(5 * SECOND).await;
    assert_eq!(pools.account("greedy").held, BUDGET);
    let others: Vec<_> = (0..1000).map(|n| pools.add(&n.to_string())).collect();
    for other in &others {
        other.fake.set(Call::Connect, Answer::After(CONNECT));
        other.fake.set(Call::Close, Answer::After(CONNECT));
    }
    let calls: Vec<_> = others
        .iter()
        .enumerate()
        .map(|(place, member)| {
            let pool = member.pool.clone();
            start(async move {
                // Some at once, some later.
                sleep(Duration::from_millis(place as u64)).await;
                let asked = Instant::now();
                let held = pool
                    .acquire_within(10 * MINUTE)
                    .await
                    .expect("it is served");
                let waited = asked.elapsed();
                sleep(Duration::from_millis(5)).await;
                drop(held);
                waited
            })
        })
        .collect();
    let mut longest = Duration::ZERO;
    for call in calls {
        longest = longest.max(call.await.expect("no panic"));
    }
    // They are idle most of the time, so the greedy pool has given up what they need after one round.
    let bound = RESIDENCE + LONG + 2 * CONNECT + 2 * TICK;
    assert!(longest <= bound, "{longest:?} > {bound:?}");
    ends.store(true, Ordering::Relaxed);
    pass(MINUTE).await;
    pools.finish(others.into_iter().chain([greedy])).await;
}
