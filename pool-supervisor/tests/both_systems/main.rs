//! What the built program does on every system. Its children here are programs of its own kind, so that no
//! system needs fixtures.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "the place of a panic shows what is wrong; real processes take real time"
)]

#[path = "../supervisor/driver.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests for Linux use the rest of it"
)]
mod driver;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pool_stdio::ProcessWatch;
use serde_json::{Value, json};

use crate::driver::{Driver, output, story};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pool-supervisor");

/// The parameters of a child of the same program, with all credit.
fn same_program(child: &str, more: Value) -> Value {
    // With a drive, where there are drives: the child is started in another directory.
    let program = std::path::absolute(PROGRAM).unwrap();
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let mut params = json!({
        "child": child, "argv": [program], "env": env, "cwd": std::env::temp_dir(),
        "credit": {"stdout": 1_u64 << 40, "stderr": 1_u64 << 40},
    });
    if let (Value::Object(params), Value::Object(more)) = (&mut params, more) {
        params.extend(more);
    }
    params
}

/// A request as a line of the protocol.
fn line(id: i64, method: &str, params: Value) -> String {
    let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    format!("{request}\n")
}

/// Starts a child that starts so many children. Returns watches of all of them.
fn spawn_family(driver: &mut Driver, child: &str, grandchildren: usize) -> Vec<ProcessWatch> {
    let group = || json!({"scope": "group"});
    let answer = driver.call("spawn", same_program(child, group())).unwrap();
    let mut pids = vec![answer["pid"].clone()];
    let mut text = line(0, "initialize", json!({"protocolVersion": 1}));
    for number in 1..=grandchildren {
        let name = format!("grandchild {number}");
        let id = i64::try_from(number).unwrap();
        text += &line(id, "spawn", same_program(&name, group()));
    }
    driver
        .call("write", json!({"child": child, "text": text}))
        .unwrap();
    let mut said = String::new();
    while pids.len() <= grandchildren {
        let told = driver.told("output", child);
        said += told["text"].as_str().unwrap();
        while let Some((message, rest)) = said.split_once('\n') {
            let message: Value = serde_json::from_str(message).unwrap();
            pids.extend(
                message["result"]
                    .get("pid")
                    .filter(|_| message["id"] != 0)
                    .cloned(),
            );
            said = rest.to_owned();
        }
    }
    let pids = pids
        .iter()
        .map(|pid| u32::try_from(pid.as_u64().unwrap()).unwrap());
    pids.map(|pid| ProcessWatch::of(pid).unwrap()).collect()
}

/// Waits until all of them are dead.
async fn wait_for_deaths(family: Vec<ProcessWatch>) {
    let all_dead = async {
        for process in &family {
            process.ended().await;
        }
    };
    let in_time = tokio::time::timeout(driver::OUTER_DEADLINE, all_dead).await;
    in_time.expect("something lives on");
}

/// How the end of the host comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its end of the pipe is closed.
    Input,
    /// It ends, and its end of the pipe stays open.
    HostPid,
    /// The program itself is killed.
    Program,
}

async fn play(end: End, grandchildren: usize) {
    let mut host = Driver::start_raw();
    let mut driver = match end {
        End::HostPid => Driver::start_with(json!({"hostPid": host.pid(), "hostGraceMs": 100})),
        End::Input | End::Program => Driver::start_with(json!({"hostGraceMs": 100})),
    };
    let family = spawn_family(&mut driver, "a", grandchildren);
    let began = Instant::now();
    match end {
        End::Input => driver.close(),
        End::HostPid => host.kill(),
        End::Program => driver.kill(),
    }
    if end != End::Program {
        let told = driver.told("terminated", "a");
        assert_eq!(told["survivors"]["count"], 0, "{end:?}");
        while driver.next().is_some() {}
    }
    wait_for_deaths(family).await;
    if end == End::HostPid {
        note_row(if grandchildren == 1 { "H1" } else { "H9" }, began);
    }
}

#[test]
fn a_child_is_started_written_to_read_and_told_in_order() {
    let mut driver = Driver::start();
    driver.call("spawn", same_program("a", json!({}))).unwrap();
    let text = line(7, "initialize", json!({"protocolVersion": 1}));
    let written = driver.call("write", json!({"child": "a", "text": text}));
    assert_eq!(written, Ok(json!({"bytes": text.len()})));
    driver.told("output", "a");
    driver.call("closeStdin", json!({"child": "a"})).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(end["exit"], json!({"code": 0, "signal": null}));
    assert_eq!(end["stdout"]["drain"], "whole");
    assert_eq!(end["survivors"]["count"], 0);
    let said = output(&driver.said, "a", "stdout");
    let answer: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(answer["id"], 7);
    let story = story(&driver.said, "a");
    assert_eq!(story.first(), Some(&"spawned"));
    assert_eq!(story.last(), Some(&"terminated"));
}

#[test]
fn an_exit_code_and_the_output_of_an_exit_at_once_are_told() {
    let mut driver = Driver::start();
    let program = std::path::absolute(PROGRAM).unwrap();
    let more = json!({"argv": [program, "--no-such-option"]});
    driver.call("spawn", same_program("a", more)).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(end["exit"]["code"], 2);
    let said = output(&driver.said, "a", "stderr");
    assert!(String::from_utf8_lossy(&said).contains("no-such-option"));
    assert_eq!(end["stderr"]["bytes"], said.len() as u64);
}

#[test]
fn what_is_not_there_is_told_with_the_reason() {
    let mut driver = Driver::start();
    for program in ["no-such-program", "./no-such-program"] {
        let more = json!({"argv": [program]});
        let refused = driver.call("spawn", same_program("a", more)).unwrap_err();
        let data = &refused["data"];
        assert_eq!(
            (&data["kind"], &data["errno"]),
            (&json!("programNotFound"), &json!("ENOENT"))
        );
    }
}

/// Keeps for the report that a row of its was played here.
fn note_row(row: &str, began: Instant) {
    if let Some(folder) = std::env::var_os("POOL_SUPERVISOR_ROWS") {
        let millis = began.elapsed().as_millis();
        let path = std::path::Path::new(&folder).join(row);
        std::fs::write(path, format!("pass: {millis} ms\n")).unwrap();
    }
}

#[tokio::test]
async fn a_cancel_by_force_ends_the_whole_family() {
    for (row, grandchildren) in [("M1", 1), ("M9", 30)] {
        let mut driver = Driver::start();
        let family = spawn_family(&mut driver, "a", grandchildren);
        let began = Instant::now();
        driver
            .call("cancel", json!({"child": "a", "mode": "force"}))
            .unwrap();
        let end = driver.told("terminated", "a");
        assert_eq!(end["rung"], "kill");
        assert_eq!(end["survivors"]["count"], 0);
        wait_for_deaths(family).await;
        note_row(row, began);
    }
}

/// The child stops to read when nobody reads its answers.
#[test]
fn a_child_that_is_written_to_and_not_read_is_ended() {
    let mut driver = Driver::start();
    let more = json!({"credit": {}, "keep": {"bytesMax": 1000}});
    driver.call("spawn", same_program("a", more)).unwrap();
    // More answers than the child keeps.
    let text = "no json\n".repeat(120_000);
    let write = driver.request("write", json!({"child": "a", "text": text}));
    let kept = || json!({});
    while driver.call("list", kept()).unwrap()["children"][0]["keptBytes"] == 0 {}
    let began = Instant::now();
    driver
        .call("cancel", json!({"child": "a", "mode": "force"}))
        .unwrap();
    assert_eq!(
        driver.answer(write).unwrap_err()["data"]["kind"],
        "stopping"
    );
    let end = driver.told("terminated", "a");
    assert_eq!(end["survivors"]["count"], 0);
    note_row("T4", began);
    note_row("W1", began);
}

#[tokio::test]
async fn what_outlives_its_root_is_ended() {
    let mut driver = Driver::start();
    let family = spawn_family(&mut driver, "a", 1);
    let began = Instant::now();
    let root = json!({"child": "a", "signal": "SIGKILL", "to": "root"});
    driver.call("signal", root).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(end["survivors"]["count"], 0);
    assert_eq!(end["exitedByItself"], true);
    wait_for_deaths(family).await;
    note_row("M7", began);
}

#[tokio::test]
async fn an_orderly_cancel_lets_the_family_end_by_itself() {
    let mut driver = Driver::start();
    let family = spawn_family(&mut driver, "a", 1);
    let list = driver.call("list", json!({})).unwrap();
    assert_eq!(list["children"][0]["state"], "running");
    assert_eq!(list["hasGuardian"], true);
    driver.call("cancel", json!({"child": "a"})).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(end["survivors"]["count"], 0);
    assert_eq!(end["reason"], "cancelled");
    wait_for_deaths(family).await;
}

#[tokio::test]
async fn nothing_is_left_however_the_end_of_the_host_comes() {
    for end in [End::Input, End::HostPid, End::Program] {
        for grandchildren in [1, 30] {
            play(end, grandchildren).await;
        }
    }
}

#[test]
fn a_host_that_is_not_there_is_told_and_another_can_be_named() {
    let mut driver = Driver::start_raw();
    // No system gives such a number.
    let nobody = json!({"protocolVersion": 1, "hostPid": 0x7fff_fffc});
    let refused = driver.call("initialize", nobody).unwrap_err();
    assert_eq!(refused["data"]["kind"], "hostNotFound");
    let own = json!({"protocolVersion": 1, "hostPid": std::process::id()});
    assert_eq!(
        driver.call("initialize", own).unwrap()["protocolVersion"],
        1
    );
}

#[test]
fn a_host_that_does_not_read_is_not_waited_for_when_it_has_gone() {
    let mut driver = Driver::start_deaf();
    driver.request(
        "initialize",
        json!({"protocolVersion": 1, "hostGraceMs": 0}),
    );
    // More answers than a pipe holds, and fewer than it keeps.
    for _ in 0..900 {
        driver.request(&"x".repeat(300), json!({}));
    }
    driver.close();
    driver.leaves_within(driver::OUTER_DEADLINE / 3);
}

#[test]
fn a_signal_that_the_system_does_not_have_is_refused_with_the_reason() {
    let mut driver = Driver::start_raw();
    let initialized = driver
        .call("initialize", json!({"protocolVersion": 1}))
        .unwrap();
    let signals = initialized["capabilities"]["signals"].as_array().unwrap();
    driver.call("spawn", same_program("a", json!({}))).unwrap();
    let sent = driver.call("signal", json!({"child": "a", "signal": "SIGWINCH"}));
    if signals.contains(&json!("SIGWINCH")) {
        assert_eq!(sent, Ok(json!({})));
    } else {
        let data = &sent.unwrap_err()["data"];
        assert_eq!(
            (&data["kind"], &data["errno"]),
            (&json!("signalRefused"), &json!("ENOSYS"))
        );
    }
    driver
        .call("signal", json!({"child": "a", "signal": "SIGKILL"}))
        .unwrap();
    let exit = driver.told("exit", "a")["exit"].clone();
    let killed = match cfg!(windows) {
        true => json!({"code": 1, "signal": null}),
        false => json!({"code": null, "signal": "SIGKILL"}),
    };
    assert_eq!(exit, killed);
}

#[test]
fn a_child_that_takes_too_long_is_ended() {
    let mut driver = Driver::start();
    let ladder = json!({"termGraceMs": 100});
    let more = json!({"timeoutMs": 50, "ladder": ladder});
    driver.call("spawn", same_program("a", more)).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(end["reason"], "timeout");
    let elapsed = Duration::from_millis(end["elapsedMs"].as_u64().unwrap());
    assert!(elapsed < driver::OUTER_DEADLINE);
}

#[test]
fn bad_lines_end_nothing() {
    let mut driver = Driver::start();
    driver.send_bytes(b"no json\r\n[]\n{}\n");
    let kinds = ["notJson", "invalidRequest", "invalidRequest"];
    for kind in kinds {
        let refused = driver.wait_for(|message| message["id"].is_null());
        assert_eq!(refused["error"]["data"]["kind"], kind);
    }
    assert!(driver.call("list", json!({})).is_ok());
}
