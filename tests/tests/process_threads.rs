//! What users' code and other children cannot do to the threads of the process layer.

#![cfg(target_os = "linux")]

mod common;

use common::{Facts, HOST, has_program};

/// Another child ended soon, though no report was waited for, and after it one more.
#[track_caller]
fn assert_others_end(scene: &[&str]) {
    let is_good = |facts: &Facts| facts.one("is_soon") == "true";
    let facts = Facts::of_a_good_play(HOST, scene, is_good);
    let ends = ["ended", "is_soon", "rung"].map(|name| facts.one(name));
    assert_eq!(ends, ["true", "true", "Eof"], "{scene:?}");
}

#[test]
fn a_sink_that_panics_or_blocks_when_it_is_dropped_delays_nobodys_end() {
    assert_others_end(&["sink-drop", "panics"]);
    assert_others_end(&["sink-drop", "blocks"]);
}

#[test]
fn a_waker_that_blocks_delays_nobodys_end() {
    assert_others_end(&["slow-waker"]);
}

#[test]
fn a_descriptor_that_blocks_delays_nobodys_end() {
    assert_others_end(&["blocking-descriptor"]);
}

#[test]
fn a_noisy_child_with_a_sink_does_not_hold_up_the_others() {
    assert_no_end_is_late(&["noisy-child"]);
}

#[test]
fn an_event_of_one_child_costs_the_same_beside_many_idle_ones() {
    if cfg!(pool_stdio_portable) {
        return;
    }
    // The least of a few, and far below the thirty times that a look at each child for each event would cost: on a
    // busy machine both cost more, and not equally. The benches compare them exactly.
    let runs: Vec<Facts> = (0..5)
        .map(|_| Facts::of(HOST, &["idle-children", "300"]))
        .collect();
    let least = |name| runs.iter().map(|facts| number(facts, name)).min().unwrap();
    let (alone, beside_many) = (least("alone_micros"), least("beside_many_micros"));
    assert!(beside_many < 10 * alone, "{runs:?}");
}

#[test]
fn a_dead_child_whose_status_a_tracer_has_is_ended_and_reaped_later() {
    if cfg!(pool_stdio_portable) || !has_program("perl") {
        return;
    }
    let is_good = |facts: &Facts| ["is_soon", "is_idle"].map(|name| facts.one(name)) == ["true"; 2];
    let facts = Facts::of_a_good_play(HOST, &["traced-child"], is_good);
    let names = ["rung", "exit", "is_soon", "is_idle", "is_reaped"];
    let ends = names.map(|name| facts.one(name));
    assert_eq!(ends, ["Kill", "Lost", "true", "true", "true"]);
}

#[test]
fn megabytes_of_stderr_that_are_asked_for_do_not_hold_up_the_others() {
    assert_no_end_is_late(&["large-tails"]);
}

/// Ends beside the noise take about as long as without it, in one of a few runs: on a busy machine they are late for other
/// reasons.
fn assert_no_end_is_late(scene: &[&str]) {
    let is_soon = |facts: &Facts| {
        let [quiet, noisy] = ["quiet_micros", "noisy_micros"].map(|name| number(facts, name));
        noisy < 20 * quiet + 5_000
    };
    let facts = Facts::of_a_good_play(HOST, scene, is_soon);
    assert!(is_soon(&facts), "{facts:?}");
}

fn number(facts: &Facts, name: &str) -> u64 {
    facts.one(name).parse().expect("it is a number")
}
