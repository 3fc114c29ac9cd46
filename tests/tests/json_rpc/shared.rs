//! A few children behind a shared pool serve many callers, whatever becomes of the children.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{AcquireError, SharedBuilder, SharedPool};
use pool_stdio::{Children, JsonRpcConnection, Protocol, RpcError};
use pool_tests::children::eager;
use pool_tests::random::Chance;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bed::{Bed, kill, on_both_runtimes};
use crate::{AMPLE, connector, server};

type Pool = SharedPool<JsonRpcConnection>;

fn pool(
    bed: &Bed,
    tune: impl FnOnce(SharedBuilder<JsonRpcConnection>) -> SharedBuilder<JsonRpcConnection>,
) -> (Pool, Children) {
    let connector = connector(bed, &server(), Protocol::Mcp);
    let children = connector.children();
    let builder = eager(SharedPool::builder(connector));
    (tune(builder).build().unwrap(), children)
}

#[test]
fn one_child_serves_a_crowd() {
    on_both_runtimes(async |bed| {
        let (pool, children) = pool(bed, |builder| builder.target_leases(1_000));
        let mut calls = JoinSet::new();
        for number in 0..64 {
            let pool = pool.clone();
            calls.spawn(async move {
                let child = pool.acquire().await.unwrap();
                let reply: Value = child.call("echo", &json!([number])).await.unwrap();
                assert_eq!(reply, json!([number]));
                child.process().pid()
            });
        }
        let mut pids: Vec<_> = calls.join_all().await;
        pids.dedup();
        assert_eq!(pids.len(), 1);
        assert_eq!(children.pids(), pids);
        assert_eq!(pool.status().leases, 0);
    });
}

#[test]
fn an_evicted_child_finishes_its_calls_and_gets_no_new_ones() {
    on_both_runtimes(async |bed| {
        let (pool, children) = pool(bed, |builder| builder.max_size(1));
        let old = pool.acquire().await.unwrap();
        let held = {
            let pool = pool.clone();
            pool_tests::bed::start(async move {
                let child = pool.acquire().await.unwrap();
                child.call::<Value>("hold", &json!(["mine"])).await
            })
        };
        while old.status().pending < 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.evict_all(), 1);
        // Until its replacement is open it goes on.
        let new = loop {
            let child = pool.acquire().await.unwrap();
            if child.process().pid() != old.process().pid() {
                break child;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(old.call::<u32>("release", &()).await.unwrap(), 1);
        assert_eq!(held.await.unwrap().unwrap(), json!(["mine"]));
        drop(old);
        while children.pids().len() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(children.pids(), [new.process().pid()]);
    });
}

const CALLERS: u64 = 256;
const CHILDREN: usize = 4;
const KILLING: Duration = Duration::from_millis(600);
const KILL_EACH: Duration = Duration::from_millis(20);
/// After that, for a machine on which a child lives too short a time to answer anything.
const KILL_EACH_THEN: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    is_over: AtomicBool,
}

/// 256 callers, four children, one of which is killed fifty times a second.
#[test]
fn calls_to_children_that_are_killed_at_random_end_right_or_with_an_error() {
    on_both_runtimes(async |bed| {
        let (pool, children) = pool(bed, |builder| builder.max_size(CHILDREN).target_leases(32));
        let tally = Arc::new(Tally::default());
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(ask(pool.clone(), Arc::clone(&tally), caller));
        }
        destroy(&children, &tally).await;
        while let Some(ended) = callers.join_next().await {
            ended.expect("no caller has seen anything wrong");
        }
        // Afterwards it is as if nothing had been.
        for number in 0..CALLERS {
            let is_last_corpse = number < CHILDREN as u64;
            let child = pool.acquire().await.unwrap();
            let outcome = child.call::<Value>("echo", &json!([number])).await;
            assert!(is_last_corpse || outcome.is_ok(), "{outcome:?}");
        }
        assert!(pool.status().size() <= CHILDREN + 1);
        assert_eq!(pool.status().leases, 0);
    });
}

async fn ask(pool: Pool, tally: Arc<Tally>, caller: u64) {
    let chance = Chance {
        seed: 7,
        actor: caller,
    };
    for number in 0.. {
        if tally.is_over.load(Ordering::Relaxed) {
            return;
        }
        let child = match pool.acquire().await {
            Ok(child) => child,
            Err(error) => {
                assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let mine = json!([caller, number]);
        let call = child.call::<Value>("echo", &mine);
        if chance.is_one_in(16, number) {
            // Given up after one poll; its late reply must meet nobody.
            pool_tests::children::poll_times(call, 1).await;
            continue;
        }
        match timeout(AMPLE, call).await.expect("no call is lost") {
            Ok(reply) => {
                assert_eq!(reply, mine, "somebody else's reply");
                tally.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let is_a_death = matches!(
                    error,
                    RpcError::ProcessExited { .. }
                        | RpcError::OutputClosed { .. }
                        | RpcError::StdinClosed { .. }
                );
                assert!(is_a_death, "{error}");
                tally.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Kills for a while, and until a call was answered and one has failed.
async fn destroy(children: &Children, tally: &Tally) {
    let chance = Chance {
        seed: 7,
        actor: CALLERS,
    };
    let until = Instant::now() + KILLING;
    for number in 0.. {
        let is_longer = Instant::now() >= until;
        let has_seen = |count: &AtomicU64| count.load(Ordering::Relaxed) > 0;
        if is_longer && has_seen(&tally.answered) && has_seen(&tally.failed) {
            tally.is_over.store(true, Ordering::Relaxed);
            return;
        }
        sleep(if is_longer { KILL_EACH_THEN } else { KILL_EACH }).await;
        let pids = children.pids();
        if !pids.is_empty() {
            let which = chance.number(number) % pids.len() as u64;
            kill(pids[usize::try_from(which).unwrap()]);
        }
    }
}
