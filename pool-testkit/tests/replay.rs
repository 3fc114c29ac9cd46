//! `POOL_TESTKIT_SEED` replays a run. The test starts itself again with the seed in the environment.

#![expect(clippy::print_stdout, reason = "what is printed is what is compared")]

use std::process::Command;
use std::time::Duration;

use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_testkit::Call;
use pool_testkit::connector::pair;
use pool_testkit::fault::{FaultPlan, FaultyConnector, Odds};
use tokio::time::Instant;

/// A run with faults. It prints how each call ended, and when.
#[tokio::test(start_paused = true)]
async fn a_run_under_faults() {
    let odds = Odds::none()
        .transient(300)
        .slow(500, Duration::from_secs(1));
    let plan = FaultPlan::from_env_or(1)
        .call_odds(Call::Connect, odds.permanent(100))
        .call_odds(Call::Check, odds);
    println!("TAPE {plan}");
    let faulty = FaultyConnector::new(pair().0, plan);
    let begun = Instant::now();
    for number in 0..50 {
        let id = ConnectionId::from_u64(number);
        let connected = faulty.connect(&ConnectContext::new(id, 1, begun)).await;
        let failure = connected.as_ref().err();
        let is_permanent = failure.map(pool_core::ConnectError::is_permanent);
        println!(
            "TAPE {id} failed: {is_permanent:?} at {:?}",
            begun.elapsed()
        );
        if let Ok(mut connection) = connected {
            let is_ok = faulty.check(&mut connection).await.is_ok();
            println!("TAPE {id} passed: {is_ok} at {:?}", begun.elapsed());
        }
    }
}

/// What the run above prints with this seed in the environment.
fn tape(seed: &str) -> Vec<String> {
    let program = std::env::current_exe().expect("a test has a file");
    let output = Command::new(program)
        .args(["--exact", "a_run_under_faults", "--nocapture"])
        .env("POOL_TESTKIT_SEED", seed)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| line.contains("TAPE"));
    lines
        .map(|line| line[line.find("TAPE").expect("found")..].to_owned())
        .collect()
}

#[test]
fn the_seed_in_the_environment_replays_the_run() {
    let first = tape("0x2a");
    assert!(first.len() > 50, "{first:#?}");
    assert!(first[0].contains("POOL_TESTKIT_SEED=42,"), "{}", first[0]);
    assert_eq!(first, tape("42"));
    assert_ne!(first[1..], tape("43")[1..]);
}
