//! Limits on a child: they hold before the program can start another process, and nothing else changes.

#![cfg(unix)]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use common::read_lines;
use nix::sys::resource::{Resource, getrlimit};
use pool_stdio::{Child, CommandError, CommandSpec, ProcessLimits, Stop};
use pool_tests::children::block_on;

fn limited(set: impl FnOnce(&mut ProcessLimits), script: &str) -> CommandSpec {
    let mut limits = ProcessLimits::default();
    set(&mut limits);
    CommandSpec::new("sh").args(["-c", script]).limits(limits)
}

fn spawn(spec: CommandSpec) -> Child {
    let command = spec.build().expect("the shell is there");
    block_on(command.spawn()).expect("it starts")
}

#[test]
fn a_limit_holds_for_the_child_and_for_what_it_starts() {
    let set = |limits: &mut ProcessLimits| {
        limits.open_files = Some(64);
        limits.cpu_time = Some(Duration::from_millis(6_500));
        limits.address_space_bytes = Some((1 << 30) + 1000);
    };
    // Neither of them can raise it.
    let script = "ulimit -n; ulimit -t; ulimit -v; sh -c 'ulimit -n 65 || ulimit -Hn'; exec cat";
    let mut child = spawn(limited(set, script));
    assert_eq!(read_lines(&mut child, 4), "64\n7\n1048576\n64\n");
    block_on(child.terminate(Stop::Orderly));
}

#[test]
fn the_child_is_the_program_itself_with_its_arguments() {
    let set = |limits: &mut ProcessLimits| limits.open_files = Some(64);
    let strange = ["a b", "$HOME", "'\"", "*", "-n", ""];
    let script = "echo $$ $#; for word; do echo \"[$word]\"; done; exec cat";
    let spec = limited(set, script).arg("zero").args(strange);
    let mut child = spawn(spec);
    let said = read_lines(&mut child, 7);
    let expected = strange.map(|word| format!("[{word}]\n")).concat();
    assert_eq!(said, format!("{} 6\n{expected}", child.pid()));
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!(end.exit.status().and_then(|status| status.code()), Some(0));
}

#[test]
fn a_child_that_computes_for_too_long_is_killed() {
    let set = |limits: &mut ProcessLimits| limits.cpu_time = Some(Duration::from_millis(1));
    let child = spawn(limited(set, "while :; do :; done"));
    let status = block_on(child.exited()).status().unwrap();
    assert!(status.signal().is_some(), "{status:?}");
}

#[test]
fn what_cannot_work_is_said_before_a_start() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let too_many = limited(|limits| limits.open_files = Some(hard + 1), "");
    let error = too_many.build().unwrap_err();
    assert!(
        matches!(error, CommandError::LimitTooHigh { limit, .. } if limit == hard),
        "{error}"
    );
    let renamed = limited(|limits| limits.open_files = Some(64), "").arg0("other");
    let error = renamed.build().unwrap_err();
    let text = "arg0 cannot be combined with limits or a control group";
    assert_eq!(error.to_string(), text);
}

#[test]
fn every_variable_reaches_a_limited_child_whatever_its_name() {
    let variables = [
        ("my.var", "a b"),
        ("1st-name", "$HOME 'x' \"y\"\n\\z"),
        ("with space", ""),
        ("-u", "no option"),
        ("BASH_FUNC_f%%", "() { echo hi; }"),
        ("IFS", "x"),
        // Some shells do not even start with it.
        ("OPTIND", "abc"),
        ("PLAIN", "kept"),
    ];
    let mut limits = ProcessLimits::default();
    limits.open_files = Some(64);
    let mut spec = CommandSpec::new("env")
        .arg("-0")
        .env_only([""; 0])
        .limits(limits);
    for (name, value) in variables {
        spec = spec.env(name, value);
    }
    let mut child = spawn(spec);
    let said = read_lines(&mut child, usize::MAX);
    let seen: Vec<_> = said.split_terminator('\0').collect();
    for (name, value) in variables {
        assert!(
            seen.contains(&format!("{name}={value}").as_str()),
            "{name}: {seen:?}"
        );
    }
    let added = seen.iter().filter(|entry| {
        let known = ["PWD=", "SHLVL=", "_=", "OLDPWD=", "POOL_STDIO_COOKIE="];
        known.iter().all(|name| !entry.starts_with(name))
    });
    assert_eq!(added.count(), variables.len(), "{seen:?}");
    block_on(child.terminate(Stop::Orderly));
}
