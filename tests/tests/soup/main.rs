//! Whole pools under a random mix of operations, faults, panics and cancellations.
//!
//! Each run draws a pool, a fault plan and the actions of several actors from one seed, and ends in one
//! of four ways. The ledger checks every event of the pool, and the actors check what they get. At the
//! end everything that was opened must have been closed or detached once, the full capacity must be
//! lendable, and nothing of the pool may be left in memory.
//!
//! Exclusive and shared pools are used by the same actors. In a shared pool connections are also
//! suspected to hang, and cleared of that, and leases outlive the reason to close their connection.
//!
//! A failure names its seed: `POOL_TESTKIT_SEED=7` runs only that one. `POOL_SOUP_SEEDS=5000` runs that
//! many seeds instead of the few that every build runs.

mod actor;
mod ending;
mod exclusive;
mod kind;
mod planned_panics;
mod polling;
mod scenario;
mod share_book;
mod share_ledger;
mod shared;
mod tally;
mod traced;
mod world;

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use pool_testkit::fault::FaultPlan;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use actor::Actor;
use exclusive::ExclusivePool;
use kind::SoupPool;
use scenario::{Ending, RuntimeKind, Scenario};
use shared::MultiplexedPool;
use tally::Tally;
use world::World;

#[test]
fn a_busy_pool_recovers_and_closes_without_leftovers() {
    run_seeds::<ExclusivePool>(RuntimeKind::Paused, Ending::Close, 400);
}

#[test]
fn a_pool_that_is_closed_while_busy_leaves_nothing() {
    run_seeds::<ExclusivePool>(RuntimeKind::Paused, Ending::CloseAmid, 200);
}

#[test]
fn a_pool_whose_last_handle_is_dropped_closes_what_is_returned() {
    run_seeds::<ExclusivePool>(RuntimeKind::Paused, Ending::LastHandle, 200);
}

#[test]
fn a_pool_whose_runtime_is_dropped_drops_everything_at_once() {
    run_seeds::<ExclusivePool>(RuntimeKind::Paused, Ending::RuntimeGone, 200);
}

#[test]
fn a_busy_pool_recovers_and_closes_without_leftovers_on_threads() {
    run_seeds::<ExclusivePool>(RuntimeKind::Threads, Ending::Close, 20);
}

#[test]
fn a_pool_that_is_closed_while_busy_leaves_nothing_on_threads() {
    run_seeds::<ExclusivePool>(RuntimeKind::Threads, Ending::CloseAmid, 20);
}

#[test]
fn a_pool_whose_last_handle_is_dropped_closes_what_is_returned_on_threads() {
    run_seeds::<ExclusivePool>(RuntimeKind::Threads, Ending::LastHandle, 20);
}

#[test]
fn a_pool_whose_runtime_is_dropped_drops_everything_at_once_on_threads() {
    run_seeds::<ExclusivePool>(RuntimeKind::Threads, Ending::RuntimeGone, 20);
}

#[test]
fn a_busy_shared_pool_recovers_and_closes_without_leftovers() {
    run_seeds::<MultiplexedPool>(RuntimeKind::Paused, Ending::Close, 400);
}

#[test]
fn a_shared_pool_that_is_closed_while_busy_leaves_nothing() {
    run_seeds::<MultiplexedPool>(RuntimeKind::Paused, Ending::CloseAmid, 200);
}

#[test]
fn a_shared_pool_whose_last_handle_is_dropped_closes_what_is_returned() {
    run_seeds::<MultiplexedPool>(RuntimeKind::Paused, Ending::LastHandle, 200);
}

#[test]
fn a_shared_pool_whose_runtime_is_dropped_drops_everything_at_once() {
    run_seeds::<MultiplexedPool>(RuntimeKind::Paused, Ending::RuntimeGone, 200);
}

#[test]
fn a_busy_shared_pool_recovers_and_closes_without_leftovers_on_threads() {
    run_seeds::<MultiplexedPool>(RuntimeKind::Threads, Ending::Close, 20);
}

#[test]
fn a_shared_pool_that_is_closed_while_busy_leaves_nothing_on_threads() {
    run_seeds::<MultiplexedPool>(RuntimeKind::Threads, Ending::CloseAmid, 20);
}

#[test]
fn a_shared_pool_whose_last_handle_is_dropped_closes_what_is_returned_on_threads() {
    run_seeds::<MultiplexedPool>(RuntimeKind::Threads, Ending::LastHandle, 20);
}

#[test]
fn a_shared_pool_whose_runtime_is_dropped_drops_everything_at_once_on_threads() {
    run_seeds::<MultiplexedPool>(RuntimeKind::Threads, Ending::RuntimeGone, 20);
}

fn run_seeds<P: SoupPool>(runtime_kind: RuntimeKind, ending: Ending, seeds: u64) {
    planned_panics::silence_planned_panics();
    if std::env::var_os("POOL_TESTKIT_SEED").is_some() {
        drop(run::<P>(runtime_kind, ending, FaultPlan::from_env_or(0)));
        return;
    }
    let seeds = match std::env::var("POOL_SOUP_SEEDS") {
        Ok(count) => count.parse().expect("POOL_SOUP_SEEDS is a number"),
        Err(_) => seeds,
    };
    let mut seen = Tally::default();
    for seed in 0..seeds {
        seen.add(run::<P>(runtime_kind, ending, FaultPlan::new(seed)));
    }
    seen.assert_enough::<P>(runtime_kind, ending, seeds);
}

fn run<P: SoupPool>(runtime_kind: RuntimeKind, ending: Ending, plan: FaultPlan) -> Tally {
    let scenario = Scenario::draw(runtime_kind, ending, plan);
    let replay = scenario.to_string();
    let mut seen = Tally::default();
    let _watchdog = Watchdog::start(replay.clone());
    ending::with_replay(&replay, || seen = play::<P>(&scenario));
    seen
}

fn play<P: SoupPool>(scenario: &Scenario) -> Tally {
    let runtime = runtime(scenario.runtime_kind);
    let (world, pool) = runtime.block_on(async { World::<P>::new(scenario) });
    let world = Arc::new(world);
    let actors = (0..scenario.actors).map(|number| Actor::new(&world, &pool, number));
    let actors: Vec<_> = actors.map(|actor| runtime.spawn(actor.run())).collect();
    // On a paused clock an hour passes as soon as nothing else can happen.
    let deadline = match scenario.runtime_kind {
        RuntimeKind::Paused => Duration::from_secs(3600),
        RuntimeKind::Threads => Duration::from_secs(60),
    };
    let ended = match scenario.ending {
        Ending::Close => runtime.block_on(within(deadline, ending::close(&world, pool, actors))),
        Ending::CloseAmid => {
            runtime.block_on(within(deadline, ending::close_amid(&world, pool, actors)))
        }
        Ending::LastHandle => {
            runtime.block_on(within(deadline, ending::last_handle(&world, pool, actors)))
        }
        Ending::RuntimeGone => {
            ending::runtime_gone(&world, runtime, pool, actors);
            true
        }
    };
    assert!(ended, "the run hangs{}", world.latest());
    Tally::of(&world)
}

/// Whether `body` ends by the deadline.
async fn within(deadline: Duration, body: impl Future<Output = ()>) -> bool {
    timeout(deadline, body).await.is_ok()
}

fn runtime(runtime_kind: RuntimeKind) -> Runtime {
    match runtime_kind {
        RuntimeKind::Paused => ending::paused(),
        RuntimeKind::Threads => {
            let mut builder = Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_time().build();
            runtime.expect("two threads can be started")
        }
    }
}

/// Aborts the process and names the scenario, if a run neither ends nor waits for the clock.
struct Watchdog(#[expect(dead_code, reason = "its drop ends the watch")] mpsc::Sender<()>);

impl Watchdog {
    fn start(replay: String) -> Self {
        let (alive, dropped) = mpsc::channel();
        std::thread::spawn(move || {
            let limit = Duration::from_secs(120);
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                use std::io::Write;
                let mut out = std::io::stderr().lock();
                let _lost = writeln!(out, "the run spins or blocks; replay it with {replay}");
                std::process::abort();
            }
        });
        Self(alive)
    }
}
