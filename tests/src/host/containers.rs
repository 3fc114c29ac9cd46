//! Hosts in containers: as the first process, without a shell.

use std::fs;
use std::thread;

use pool_stdio::{Child, CommandSpec, KillScope, Stop, Survivors, health};

use super::tell;
use crate::children::block_on;

/// So many children, each with a process that outlives it, are ended by the first process of a
/// container.
pub(super) fn first_process(count: usize) {
    assert_eq!(std::process::id(), 1, "the test makes it the first process");
    adopt(count);
}

/// The same by a process that has made itself the one that adopts.
pub(super) fn subreaper(count: usize) {
    nix::sys::prctl::set_child_subreaper(true).expect("any process may");
    adopt(count);
}

fn adopt(count: usize) {
    // It has exited, and what has started it will ask how.
    #[expect(
        clippy::disallowed_methods,
        reason = "a child that is no business of ours"
    )]
    let other = std::process::Command::new("true").spawn();
    let mut other = other.expect("every Unix has it");
    let scripts = [
        (KillScope::Group, "sleep 300 & echo up >&2; exec cat"),
        (
            KillScope::Tree,
            "setsid sh -c 'echo up >&2; exec sleep 300' </dev/null >/dev/null & exec cat",
        ),
        // A launcher that is killed before what it has started.
        (KillScope::Group, "sh -c 'echo up >&2; sleep 300; :' ; :"),
    ];
    for number in 0..count {
        let (scope, script) = scripts[number % scripts.len()];
        let child = spawn(
            CommandSpec::new("sh")
                .args(["-c", script])
                .kill_scope(scope),
        );
        while !child.stderr_tail().text.contains("up") {
            thread::yield_now();
        }
        let end = block_on(child.terminate(Stop::Force));
        assert!(end.survivors == Survivors::Known(0), "{end:?}");
    }
    let has_status = other.wait().is_ok_and(|status| status.success());
    tell("other_has_status", has_status);
    tell("zombies", zombies());
    tell("adopted", health().adopted_zombies > 0);
    tell("failed_scans", health().failed_scans);
}

fn zombies() -> usize {
    let all = fs::read_dir("/proc").expect("it is mounted").flatten();
    let states = all.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let ours = format!(") Z {} ", std::process::id());
    states.filter(|stat| stat.contains(&ours)).count()
}

/// There may be no shell.
pub(super) fn without_a_shell() {
    let child = spawn(CommandSpec::new("cat"));
    tell("has_guardian", health().has_guardian);
    tell("rung", block_on(child.terminate(Stop::Orderly)).rung);
}

fn spawn(spec: CommandSpec) -> Child {
    let command = spec.build().expect("there is such a program");
    block_on(command.spawn()).expect("it starts")
}
