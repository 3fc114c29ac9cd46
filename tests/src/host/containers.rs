//! Hosts in containers: as the first process, with another user, without a shell.

use std::fs;
use std::thread;

use nix::unistd::{Uid, setresuid};
use pool_stdio::{Child, CommandSpec, KillScope, Stop, health};

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
        assert!(end.survivors.is_none(), "{end:?}");
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

/// The host gives up its rights.
pub(super) fn other_user() {
    let first = spawn(CommandSpec::new("cat"));
    let third = spawn(CommandSpec::new("cat"));
    let before = guardians();
    let nobody = Uid::from_raw(65534);
    setresuid(nobody, nobody, nobody).expect("it has the right");
    let second = spawn(CommandSpec::new("cat"));
    // It cannot be killed any more, but its input ends after that.
    tell("killed", block_on(third.terminate(Stop::Force)).exit);
    tell("refusals", health().refused_signals > 0);
    let mut after = guardians();
    while after.len() > 1 {
        thread::yield_now();
        after = guardians();
    }
    tell(
        "before",
        before.iter().map(|(_, user)| *user).collect::<Vec<_>>(),
    );
    tell(
        "after",
        after.iter().map(|(_, user)| *user).collect::<Vec<_>>(),
    );
    tell("is_another", before[0].0 != after[0].0);
    tell("starts", health().guardian_starts);
    block_on(second.terminate(Stop::Force));
    // It cannot be signalled any more, but acts on the end of its input.
    tell("refused", first.signal(pool_stdio::Signal::Kill).is_err());
    tell("rung", block_on(first.terminate(Stop::Orderly)).rung);
}

/// The guardians of this process: pid and user.
fn guardians() -> Vec<(u32, u32)> {
    let all = fs::read_dir("/proc").expect("it is mounted").flatten();
    let ours = all.filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace()
                .nth(usize::from(name == "Uid:"))?
                .parse::<u32>()
                .ok()
        };
        let is_ours = field("PPid:")? == std::process::id() && line.contains("Ends the children");
        is_ours.then_some((field("Pid:")?, field("Uid:")?))
    });
    ours.collect()
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
