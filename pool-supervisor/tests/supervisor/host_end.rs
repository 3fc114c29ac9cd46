//! The end of the host, and of the program itself, under trees of every kind.

#![allow(
    clippy::disallowed_methods,
    reason = "a host is no child of the process layer"
)]

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::driver::{Driver, OUTER_DEADLINE, is_told, spawn_params};
use crate::life_line::LifeLine;

/// The rows of the matrix: a name, a script, and how many processes hold the life line. `HOLD` is replaced.
const ROWS: [(&str, &str, usize); 9] = [
    (
        "child and grandchild",
        "HOLD; sh -c 'HOLD; sleep 1000' & wait",
        2,
    ),
    (
        "grandchild that ignores SIGTERM",
        "HOLD; sh -c 'trap \"\" TERM; HOLD; sleep 1000' & wait",
        2,
    ),
    (
        "re-parented",
        "HOLD; sh -c '(trap \"\" TERM; HOLD; sleep 1000) & exit'; sleep 1000",
        2,
    ),
    (
        "late fork",
        "trap '(HOLD; sleep 1000) & exit' TERM; HOLD; while :; do sleep 0.01; done",
        1,
    ),
    (
        "session of its own",
        "HOLD; setsid sh -c 'HOLD; sleep 1000' & wait",
        2,
    ),
    (
        "daemon",
        "HOLD; setsid sh -c '(HOLD; exec sleep 1000) & exit'; sleep 1000",
        2,
    ),
    (
        "root gone first",
        "(trap '' TERM; HOLD; exec sleep 1000) >/dev/null 2>&1 & exec 9>&-; exit 0",
        1,
    ),
    (
        "wide tree",
        "HOLD; i=0; while [ $i -lt 30 ]; do sh -c 'HOLD; sleep 1000' & i=$((i+1)); done; wait",
        31,
    ),
    (
        "chatty pipe holder",
        "HOLD; (HOLD; while echo x; do :; done) & wait",
        2,
    ),
];

/// How the end comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The host is killed, and its end of the pipe with it.
    Input,
    /// The host is killed, and somebody else has its end of the pipe.
    HostPid,
    /// The program is killed.
    Program,
    /// The program gets SIGTERM.
    Signal,
}

fn play(end: End, row: &(&str, &str, usize)) {
    let (name, script, holders) = row;
    let mut host = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut driver = match end {
        End::HostPid => Driver::start_with(json!({"hostPid": host.id()})),
        End::Input | End::Program | End::Signal => Driver::start(),
    };
    let mut life_line = LifeLine::new();
    let after_exit = json!({"afterExit": "wait", "stdio": {"stdout": "pipe"}});
    driver.spawn_with("a", &script.replace("HOLD", &life_line.hold()), after_exit);
    life_line.expect(*holders);
    match end {
        End::Input => driver.close(),
        End::HostPid => host.kill().unwrap(),
        End::Program => driver.kill(),
        End::Signal => {
            let pid = i32::try_from(driver.pid()).unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
    }
    // A loaded machine is slower than the second that is promised; what lives for ever is found all the
    // same. The report measures the time.
    let limit = OUTER_DEADLINE.min(Duration::from_secs(20));
    assert!(
        life_line.ends_within(limit),
        "{name}: something lives after {end:?}"
    );
    drop(host.kill());
    drop(host.wait());
    if end != End::Program {
        while driver.next().is_some() {}
        let told = driver
            .said
            .iter()
            .find(|one| is_told(one, "terminated", "a"));
        let told = told.expect("the last words are said");
        assert_eq!(told["params"]["survivors"]["count"], 0, "{name}");
    }
}

#[test]
fn nothing_is_left_when_the_host_is_killed() {
    ROWS.iter().for_each(|row| play(End::Input, row));
}

#[test]
fn nothing_is_left_when_the_host_is_killed_and_its_pipe_is_held_open() {
    ROWS.iter().for_each(|row| play(End::HostPid, row));
}

#[test]
fn nothing_is_left_when_the_program_is_killed() {
    ROWS.iter().for_each(|row| play(End::Program, row));
}

#[test]
fn a_child_is_guarded_from_its_start() {
    for _ in 0..10 {
        let mut driver = Driver::start_raw();
        driver.request("initialize", json!({"protocolVersion": 1}));
        let spawn = driver.request("spawn", spawn_params("a", "sleep 1000", json!({})));
        driver.answer(spawn).unwrap();
        let list = driver.call("list", json!({})).unwrap();
        assert_eq!(list["hasGuardian"], true);
    }
}

#[test]
fn nothing_is_left_when_the_program_is_told_to_leave_by_a_signal() {
    ROWS.iter().take(3).for_each(|row| play(End::Signal, row));
}

#[test]
fn an_interrupt_reaches_the_group_of_every_child_and_the_program_stays() {
    let mut driver = Driver::start();
    let script = "trap 'echo got' INT; sh -c 'trap \"echo got; exit\" INT; echo ready; \
                  while :; do sleep 0.01; done'; exec sleep 1000";
    // One that leads a session has no terminal, so that an interrupt from there does not reach it.
    driver.spawn_with("apart", "sleep 1000", json!({"session": true}));
    driver.spawn("a", script);
    driver.spawn("b", "exec sleep 1000");
    driver.told("output", "a");
    let pid = rustix::process::Pid::from_raw(i32::try_from(driver.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(driver.told("exit", "b")["exit"]["signal"], "SIGINT");
    let mut told = String::new();
    while told != "got\ngot\n" {
        told += driver.told("output", "a")["text"].as_str().unwrap();
    }
    let list = driver.call("list", json!({})).unwrap();
    let of = |name: &str| {
        let mut children = list["children"].as_array().unwrap().iter();
        children.find(|one| one["child"] == name).unwrap()["state"].clone()
    };
    assert_eq!((of("a"), of("apart")), (json!("running"), json!("running")));
}

#[test]
fn without_a_host_nobody_waits_for_a_pipe_that_is_held_from_outside() {
    for held in ["sleep 1000", "while echo x; do sleep 0.01; done"] {
        let mut driver = Driver::start_with(json!({"hostGraceMs": 0}));
        let mut life_line = LifeLine::new();
        let script = format!("({}; {held}) & echo $! >&2; read -r _", life_line.hold());
        let hour = json!({"drainIdleMs": 3_600_000, "drainTimeoutMs": 3_600_000});
        let more = json!({"scope": "root", "ladder": hour});
        driver.spawn_with("a", &script, more);
        life_line.expect(1);
        let outside = driver.wait_for(|one| one["params"]["stream"] == "stderr");
        let outside = outside["params"]["text"]
            .as_str()
            .unwrap()
            .trim()
            .to_owned();
        driver.close();
        let said = driver.told("terminated", "a");
        assert!(said["stdout"]["drain"] == "idle" || said["stdout"]["drain"] == "timedOut");
        while driver.next().is_some() {}
        let outside = rustix::process::Pid::from_raw(outside.parse().unwrap()).unwrap();
        rustix::process::kill_process(outside, rustix::process::Signal::KILL).unwrap();
        assert!(life_line.ends_within(OUTER_DEADLINE));
    }
}

#[test]
fn a_host_that_has_gone_gets_no_time_to_grant_or_to_read() {
    let mut driver = Driver::start_deaf();
    driver.request(
        "initialize",
        json!({"protocolVersion": 1, "hostGraceMs": 0}),
    );
    let mut life_line = LifeLine::new();
    let hour = json!({"drainIdleMs": 3_600_000, "drainTimeoutMs": 3_600_000});
    for (name, script, credit) in [
        ("ungranted", "head -c 9000000 /dev/zero", 0),
        ("unread", "while echo x; do :; done", 1_u64 << 40),
    ] {
        let script = format!("{}; {script}", life_line.hold());
        let more = json!({"credit": {"stdout": credit}, "ladder": hour});
        driver.request("spawn", spawn_params(name, &script, more));
    }
    life_line.expect(2);
    // Its stdout stays open, and is full or soon will be.
    driver.close();
    driver.leaves_within(Duration::from_secs(20));
}

#[test]
fn a_host_that_only_stops_to_read_ends_it_as_well() {
    let mut driver = Driver::start_deaf();
    driver.request("initialize", json!({"protocolVersion": 1}));
    let mut life_line = LifeLine::new();
    let script = format!("{}; while echo x; do :; done", life_line.hold());
    driver.request("spawn", spawn_params("a", &script, json!({})));
    life_line.expect(1);
    driver.hang_up();
    assert!(life_line.ends_within(OUTER_DEADLINE));
}
