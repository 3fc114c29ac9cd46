//! Whole pools under a random soup of operations, faults, panics and cancellations.
//!
//! Each run draws a pool, a fault plan and what a crowd of actors does from one seed, lets them
//! loose, and ends in one of four ways. All along the ledger checks every event of the pool and
//! the actors check what they get; at the end everything that was opened must have been closed or
//! detached once, full capacity must be lendable, and nothing may be left in memory.
//!
//! A failure names its seed: `POOL_TESTKIT_SEED=7` runs only that one. `POOL_SOUP_SEEDS=5000`
//! runs so many instead of the few that every build runs.

mod actor;
mod ending;
mod quiet;
mod scenario;
mod seen;
mod witness;
mod world;

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use pool_testkit::fault::{FaultPlan, SEED_VARIABLE};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use actor::Actor;
use scenario::{Ending, Flavour, Scenario};
use seen::Seen;
use world::World;

#[test]
fn a_busy_pool_recovers_and_closes_without_a_trace() {
    run_seeds(Flavour::Paused, Ending::Close, 400);
}

#[test]
fn a_pool_closed_amid_everything_lets_go_of_everything() {
    run_seeds(Flavour::Paused, Ending::CloseAmid, 200);
}

#[test]
fn a_pool_whose_last_handle_goes_closes_what_comes_home() {
    run_seeds(Flavour::Paused, Ending::LastHandle, 200);
}

#[test]
fn a_pool_whose_runtime_goes_drops_everything_in_place() {
    run_seeds(Flavour::Paused, Ending::RuntimeGone, 200);
}

#[test]
fn a_busy_pool_recovers_and_closes_without_a_trace_on_threads() {
    run_seeds(Flavour::Threads, Ending::Close, 20);
}

#[test]
fn a_pool_closed_amid_everything_lets_go_of_everything_on_threads() {
    run_seeds(Flavour::Threads, Ending::CloseAmid, 20);
}

#[test]
fn a_pool_whose_last_handle_goes_closes_what_comes_home_on_threads() {
    run_seeds(Flavour::Threads, Ending::LastHandle, 20);
}

#[test]
fn a_pool_whose_runtime_goes_drops_everything_in_place_on_threads() {
    run_seeds(Flavour::Threads, Ending::RuntimeGone, 20);
}

fn run_seeds(flavour: Flavour, ending: Ending, seeds: u64) {
    quiet::silence_planned_panics();
    if std::env::var_os(SEED_VARIABLE).is_some() {
        drop(run(flavour, ending, FaultPlan::from_env_or(0)));
        return;
    }
    let seeds = match std::env::var("POOL_SOUP_SEEDS") {
        Ok(count) => count.parse().expect("POOL_SOUP_SEEDS is a number"),
        Err(_) => seeds,
    };
    let mut seen = Seen::default();
    for seed in 0..seeds {
        seen.add(run(flavour, ending, FaultPlan::new(seed)));
    }
    seen.assert_enough(flavour, ending, seeds);
}

fn run(flavour: Flavour, ending: Ending, plan: FaultPlan) -> Seen {
    let scenario = Scenario::draw(flavour, ending, plan);
    let replay = scenario.to_string();
    let mut seen = Seen::default();
    let _watchdog = Watchdog::start(replay.clone());
    ending::with_replay(&replay, || seen = play(&scenario));
    seen
}

fn play(scenario: &Scenario) -> Seen {
    let runtime = runtime(scenario.flavour);
    let (world, pool) = runtime.block_on(async { World::new(scenario) });
    let world = Arc::new(world);
    let actors = (0..scenario.actors).map(|number| Actor::new(&world, &pool, number));
    let actors: Vec<_> = actors.map(|actor| runtime.spawn(actor.run())).collect();
    // With a paused clock an hour passes as soon as nothing else can happen.
    let deadline = match scenario.flavour {
        Flavour::Paused => Duration::from_secs(3600),
        Flavour::Threads => Duration::from_secs(60),
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
    assert!(ended, "it hangs: {:?}", world.ledger.counts());
    Seen::of(&world)
}

/// Whether `body` ends by the deadline.
async fn within(deadline: Duration, body: impl Future<Output = ()>) -> bool {
    timeout(deadline, body).await.is_ok()
}

fn runtime(flavour: Flavour) -> Runtime {
    match flavour {
        Flavour::Paused => ending::paused(),
        Flavour::Threads => {
            let mut builder = Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_time().build();
            runtime.expect("two threads can be started")
        }
    }
}

/// Ends the process, with the scenario, if a run neither ends nor waits for a clock.
struct Watchdog(#[expect(dead_code, reason = "its drop calls the dog off")] mpsc::Sender<()>);

impl Watchdog {
    fn start(replay: String) -> Self {
        let (leash, dropped) = mpsc::channel();
        std::thread::spawn(move || {
            let limit = Duration::from_secs(120);
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                use std::io::Write;
                let mut out = std::io::stderr().lock();
                let _lost = writeln!(out, "it spins or blocks; replay with {replay}");
                std::process::abort();
            }
        });
        Self(leash)
    }
}
