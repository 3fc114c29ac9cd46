//! Scenes that need a host process of their own: because they change what belongs to the whole
//! process, or because the host is to end in them.
//!
//! A test starts the program `pool-host` with the name of a scene and its words. The scene prints one
//! `name=value` line for each fact, and the test compares them.

mod containers;
mod death;
mod fact;
mod guarding;
mod looks;
mod sandbox;
mod starts;
mod threads;

use std::env;
use std::process::ExitCode;

pub(crate) use fact::tell;

/// Plays the scene that the arguments name.
///
/// # Panics
///
/// If there is no such scene, or if it goes wrong.
#[must_use]
pub fn main() -> ExitCode {
    if env::var_os("POOL_TESTS_GUARD_MAIN").is_some() || env::var_os("POOL_STDIO_GUARD").is_some() {
        pool_stdio::guard_main();
    }
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["end-of-a-wrapper", scope, condition] => looks::end_of_a_wrapper(scope, condition),
        ["many-ends", count] => looks::many_ends(count.parse().expect("a number")),
        ["sink-drop", what] => threads::sink_drop(what),
        ["slow-waker"] => threads::slow_waker(),
        ["blocking-descriptor"] => threads::blocking_descriptor(),
        ["noisy-child"] => threads::noisy_child(),
        ["traced-child"] => threads::traced_child(),
        ["idle-children", count] => threads::idle_children(count.parse().expect("a number")),
        ["large-tails"] => threads::large_tails(),
        ["clean-start"] => starts::clean_start(),
        ["first-start"] => starts::first_start(),
        ["leased-programs"] => starts::leased_programs(),
        ["fork-of-the-host"] => starts::fork_of_the_host(),
        ["end-of-the-host", ending, scope, script] => {
            death::end_of_the_host(ending, scope, script);
        }
        ["refused-pidfds", calls, error] => sandbox::refused_pidfds(calls, error),
        ["first-process", count] => containers::first_process(count.parse().expect("a number")),
        ["subreaper", count] => containers::subreaper(count.parse().expect("a number")),
        ["other-user"] => guarding::other_user(),
        ["idle-other-user"] => guarding::idle_other_user(),
        ["lost-guardian"] => guarding::lost_guardian(),
        ["stopped-guardian"] => guarding::stopped_guardian(),
        ["reused-number"] => guarding::reused_number(),
        ["many-children"] => guarding::many_children(),
        ["without-a-shell"] => containers::without_a_shell(),
        other => panic!("no such scene: {other:?}"),
    }
    ExitCode::SUCCESS
}
