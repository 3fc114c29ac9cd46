//! Random histories.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tokio::runtime;

use crate::op::{Op, histories};
use crate::world::World;
use pool_tests::bed::Watchdog;

/// How many histories a run plays.
const CASES: u32 = 64;

/// The seed of the histories.
const SEED: u64 = 1;

/// How many events are shown before one that was not allowed.
const EVENTS_SHOWN: usize = 40;

/// Invariants 1 to 4, 11, 1a to 3a, B1 to B6 and W1 to W4.
#[test]
fn budgets_keys_and_weights_agree_with_a_naive_model() {
    let others = Config::default();
    // The same histories in each run, unless a seed is given (`PROPTEST_RNG_SEED`).
    let rng_seed = match others.rng_seed {
        RngSeed::Random => RngSeed::Fixed(SEED),
        RngSeed::Fixed(seed) => RngSeed::Fixed(seed),
    };
    let config = Config {
        cases: CASES,
        rng_seed,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..others
    };
    let result = TestRunner::new(config).run(&histories(), |history| {
        play(&history).map_err(TestCaseError::fail)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn play(history: &[Op]) -> Result<(), String> {
    let _watchdog = Watchdog::start();
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut world = World::start().await?;
        for (number, op) in history.iter().enumerate() {
            let stepped = world.step(op).await;
            stepped.map_err(|what| told(&world, number, op, &what))?;
        }
        let finished = world.finish().await;
        finished.map_err(|what| told(&world, history.len(), &Op::Close(0), &what))
    })
}

fn told(world: &World, number: usize, op: &Op, what: &str) -> String {
    let recent = &world.recent[world.recent.len().saturating_sub(EVENTS_SHOWN)..];
    let lines = recent
        .iter()
        .map(|fact| format!("\n  pool {} {:?}", fact.pool, fact.kind));
    let lines: String = lines.collect();
    format!("operation {number}, {op:?}: {what}{lines}")
}
