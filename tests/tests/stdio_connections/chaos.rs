//! Many callers, and children that are killed at random, for a short while. The soak does it for longer, and looks at the
//! throughput, too.

use std::time::Duration;

use pool_testkit::fixture::Behaviour;
use pool_tests::chaos::{Plan, play};

use crate::bed::on_both_runtimes;

/// Killing 50 times a second.
fn plan(callers: u64) -> Plan {
    Plan {
        callers,
        children: 4,
        calm: Duration::from_millis(500),
        killing: Duration::from_millis(500),
        gap: Duration::from_millis(20),
        given_up_one_in: None,
        seed: seed(),
    }
}

/// `POOL_CHAOS_SEED` tries another one.
fn seed() -> u64 {
    let text = std::env::var("POOL_CHAOS_SEED");
    text.map_or(1, |text| text.parse().expect("it is a number"))
}

#[test]
fn requests_to_children_that_are_killed_at_random_end_once_and_the_pool_is_whole_afterwards() {
    check(plan(64));
}

#[test]
fn requests_that_are_given_up_while_children_are_killed_disturb_nobody() {
    check(Plan {
        given_up_one_in: Some(500),
        ..plan(16)
    });
}

#[track_caller]
fn check(plan: Plan) {
    show(&format!("{plan:?}"));
    on_both_runtimes(async |bed| {
        let connector = || bed.connector(&Behaviour::echo());
        let outcome = play(connector(), connector(), plan).await;
        show(&outcome.to_string());
        outcome.assert_right();
    });
}

#[expect(clippy::print_stdout, reason = "shown if the test fails")]
fn show(text: &str) {
    println!("{text}");
}
