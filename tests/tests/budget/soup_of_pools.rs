//! Random operations on several pools of one budget, with failures, hung closes, resizes and closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::PooledConnection;
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{MINUTE, Pool, SECOND, pass, start};
use pool_tests::random::SplitMix64;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::pools::{Member, Pools, RESIDENCE};

const SEEDS: u64 = 40;
const POOLS: usize = 6;
const LIMIT: usize = 4;
const STEPS: u64 = 60;

/// Leases, drops, discards, detaches and abandons connections of one pool.
fn actor(pool: Pool, seed: u64, ends: Arc<AtomicBool>) -> JoinHandle<u64> {
    start(async move {
        let mut random = SplitMix64::new(seed);
        let mut served = 0;
        let mut steps = 0;
        while steps < STEPS && !ends.load(Ordering::Relaxed) {
            steps += 1;
            let patience = Duration::from_millis(random.below(400));
            let Ok(lease) = pool.acquire_within(patience).await else {
                sleep(Duration::from_millis(1)).await;
                continue;
            };
            served += 1;
            sleep(Duration::from_millis(random.below(60))).await;
            match random.below(10) {
                0 => PooledConnection::discard(lease),
                1 => drop(PooledConnection::detach(lease)),
                _ => drop(lease),
            }
            if random.below(3) == 0 {
                sleep(Duration::from_millis(random.below(300))).await;
            }
        }
        served
    })
}

/// Some connects fail or are slow; some closes are slow, or so slow that they are stuck for a while.
fn misbehave(member: &Member, slow: Duration) {
    member
        .fake
        .set_with(Call::Connect, move |site| match site.number % 7 {
            3 => Answer::Transient,
            5 => Answer::After(slow),
            _ => Answer::Ok,
        });
    member
        .fake
        .set_with(Call::Close, move |site| match site.number % 5 {
            // Longer than the close timeout.
            2 => Answer::After(Duration::from_millis(200)),
            4 => Answer::After(slow),
            _ => Answer::Ok,
        });
}

async fn run(seed: u64) -> u64 {
    let mut random = SplitMix64::new(seed);
    let pools = Pools::with(|budget| {
        budget
            .max_connections(LIMIT)
            .max_connecting(2)
            .min_residence(RESIDENCE / 10)
    });
    let mut members = Vec::new();
    for n in 0..POOLS {
        let min_idle = usize::from(n == 0);
        let share = [1, 2, 3][n % 3];
        let member = pools.add_with(&n.to_string(), |builder| {
            let builder = builder.min_idle(min_idle).budget_share(share);
            let builder = builder.close_timeout(Duration::from_millis(50));
            match n {
                0 => builder.reserve_min_idle(),
                _ => builder,
            }
        });
        let slow = Duration::from_millis(1 + random.below(40));
        misbehave(&member, slow);
        members.push(member);
    }
    let ends = Arc::new(AtomicBool::new(false));
    let mut actors = Vec::new();
    for member in &members {
        for _ in 0..4 {
            actors.push(actor(
                member.pool.clone(),
                random.next_u64(),
                Arc::clone(&ends),
            ));
        }
    }
    for limit in [LIMIT - 2, LIMIT, 1, LIMIT] {
        pass(Duration::from_millis(random.below(700))).await;
        pools.resize(limit);
    }
    // One pool goes in the middle of it all.
    let closed = members.remove(2);
    assert!(closed.pool.close(MINUTE).await.is_complete());
    members.push(closed);
    let mut served = 0;
    for actor in actors {
        served += actor.await.expect("no panic");
    }
    ends.store(true, Ordering::Relaxed);
    pass(20 * SECOND).await;
    for member in &members {
        member.fake.set(Call::Connect, Answer::Ok);
    }
    // Invariant 7 with a budget: every pool can have what the others do not use.
    let last = members.len() - 2;
    let held = members[last].leases(LIMIT - 1).await;
    assert_eq!(members[0].pool.status().size(), 1, "it has its reserve");
    drop(held);
    pools.finish(members).await;
    served
}

#[tokio::test(start_paused = true)]
async fn pools_of_one_budget_keep_its_limit_and_recover() {
    for seed in 0..SEEDS {
        let served = run(seed).await;
        assert!(served > 30, "seed {seed}: {served} leases");
    }
}
