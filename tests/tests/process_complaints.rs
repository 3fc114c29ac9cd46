//! What users of other libraries complained about, and these children do not do.

#![cfg(target_os = "linux")]

mod common;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{AMPLE, BRIEF, FIXTURE, Scene, graces, read_lines};
use pool_stdio::{Child, Children, Exit, KillScope, Signal, SignalError, StderrPolicy, Stop};
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::block_on;

/// How often the threads of the process layer were woken so far.
#[cfg(not(pool_stdio_portable))]
fn wakeups() -> u64 {
    let threads = fs::read_dir("/proc/self/task")
        .expect("Linux has it")
        .flatten();
    let statuses = threads.filter_map(|one| fs::read_to_string(one.path().join("status")).ok());
    let ours = statuses.filter(|status| status.starts_with("Name:\tstdio-"));
    let counts = ours.filter_map(|status| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    counts.sum()
}

/// C16: a client spun on the stderr of an idle server.
#[cfg(not(pool_stdio_portable))]
#[test]
fn idle_children_wake_nobody() {
    let scene = Scene::new();
    let (told, lines) = channel();
    let noisy = Behaviour::new().print_error("up\n").then_echo();
    let children: Vec<Child> = (0..5)
        .map(|_| {
            let told = told.clone();
            let spec = scene.spec(&noisy);
            scene.spawn_spec(spec.stderr_lines(move |_| told.send(()).expect("the test listens")))
        })
        .collect();
    for _ in &children {
        lines.recv_timeout(AMPLE).expect("each says a line");
    }
    // The thread that told the last line goes back to its sleep, which counts.
    let mut before = wakeups();
    let quiet = || lines.recv_timeout(10 * BRIEF).is_err();
    for _ in 0..10 {
        assert!(quiet(), "nobody has more to say");
        let now = wakeups();
        if now == before {
            break;
        }
        before = now;
    }
    assert!(quiet());
    assert_eq!(wakeups(), before);
    drop(children);
    scene.end(Vec::new());
}

/// E3: with several children in a group, the status of one was lost to the wait for another.
#[test]
fn each_of_many_children_has_its_own_exit_code() {
    let scene = Scene::new();
    let children: Vec<Child> = (0..20)
        .map(|code| scene.spawn(&Behaviour::new().read_to_end().exit(code)))
        .collect();
    let mut exits = Vec::new();
    for mut child in children {
        drop(child.take_stdin());
        exits.push((child.exited(), child));
    }
    for (code, (exited, child)) in exits.into_iter().enumerate() {
        let exit = block_on(exited);
        let told = exit.status().and_then(|status| status.code());
        assert_eq!(told, i32::try_from(code).ok());
        assert_eq!(child.try_wait(), Some(exit));
    }
    scene.end(Vec::new());
}

/// E4: a kill after the exit was an error of the system, or hit another process with the same pid.
#[test]
fn a_signal_after_the_end_is_told_and_reaches_nobody() {
    let scene = Scene::new();
    let child = scene.spawn(&Behaviour::new());
    block_on(child.exited());
    block_on(scene.children.terminate_all(AMPLE));
    for signal in [Signal::Terminate, Signal::Kill] {
        let refused = child.signal(signal);
        assert!(matches!(refused, Err(SignalError::Gone)), "{refused:?}");
    }
    let end = block_on(child.terminate(Stop::Force));
    assert!(matches!(end.exit, Exit::Status(_)));
    scene.end(Vec::new());
}

/// C2: the launcher was killed, and the server behind it went on for weeks.
#[test]
fn a_server_behind_two_launchers_ends_with_them_though_it_ignores_sigterm() {
    for stop in [Stop::Orderly, Stop::Force] {
        let scene = Scene::new();
        let server = scene.deaf("server").then_echo().hang();
        let launcher = scene.actor("launcher").start(server).hang();
        let shell = scene.actor("shell").start(launcher).hang();
        let spec = scene.spec(&shell).ladder_times(graces(BRIEF, BRIEF));
        let child = scene.spawn_spec(spec);
        let seen = scene.beacon.expect(3);
        let end = block_on(child.terminate(stop));
        let limit = if cfg!(pool_stdio_portable) {
            AMPLE
        } else {
            Duration::ZERO
        };
        assert!(seen.iter().all(|one| one.dies_within(limit)), "{end:?}");
        scene.end(seen);
    }
}

/// C14 and S16: when the parent is killed its children see the end of their input, and no more.
#[test]
fn children_of_a_parent_that_is_killed_see_the_end_of_their_input() {
    let scene = Scene::new();
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "plays_the_parent", "--nocapture"])
        .env(ROLE, scene.beacon.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut parent = start(&mut command);
    let seen = scene.beacon.expect(1);
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(READY)));
    assert!(ready.is_some(), "it holds the child now");
    assert!(!seen[0].is_dead());
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(seen[0].dies_within(AMPLE));
    drop(lines);
    scene.end(seen);
}

#[expect(
    clippy::disallowed_methods,
    reason = "a parent is no child of the process layer"
)]
fn start(command: &mut Command) -> std::process::Child {
    command.spawn().expect("a program can start itself")
}

/// The parent of the test before, in a process of its own; otherwise nothing.
#[test]
#[expect(clippy::print_stdout, reason = "it tells the test")]
fn plays_the_parent() {
    let Some(beacon) = env::var_os(ROLE) else {
        return;
    };
    let echo = Behaviour::new().announce(beacon, "child").then_echo();
    let command = echo.command(FIXTURE).build().unwrap();
    let child = block_on(Children::new().spawn(&command)).unwrap();
    println!("{READY}");
    block_on(child.exited());
}

/// E5 and S43: of several options together, one was forgotten for a year and a half.
#[test]
fn options_do_not_disturb_each_other() {
    let scene = Scene::new();
    let session = nix::unistd::getsid(None).unwrap();
    let shown = Behaviour::new()
        .then(Step::PrintPlace)
        .then(Step::PrintEnv("ADDED".into()))
        .then(Step::PrintEnv("HOME".into()))
        .read_to_end();
    let ring = StderrPolicy::default();
    let mut combinations = 0;
    for scope in [KillScope::Root, KillScope::Group, KillScope::Tree] {
        for stderr in [ring.clone(), StderrPolicy::Null, StderrPolicy::Inherit] {
            for is_inherited in [true, false] {
                for directory in ["/usr", "/"] {
                    let spec = scene.spec(&shown).env("ADDED", "yes");
                    let spec = if is_inherited {
                        spec
                    } else {
                        spec.env_only([""; 0])
                    };
                    let spec = spec.current_dir(directory);
                    let spec = spec.kill_scope(scope).stderr(stderr.clone());
                    let mut child = scene.spawn_spec(spec);
                    let pid = child.pid();
                    let home = env::var("HOME").ok();
                    let home = home.filter(|_| is_inherited);
                    let home = home.unwrap_or_else(|| "(unset)".to_owned());
                    assert_eq!(
                        read_lines(&mut child, 3),
                        format!(
                            "pid {pid} group {pid} session {session} in {directory}\nyes\n{home}\n"
                        )
                    );
                    combinations += 1;
                }
            }
        }
    }
    assert_eq!(combinations, 36);
    scene.end(Vec::new());
}

const ROLE: &str = "POOL_TESTS_BEACON";
const READY: &str = "the child is there";
