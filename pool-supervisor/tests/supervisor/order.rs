//! The promises of order.

use serde_json::{Value, json};

use crate::driver::{Driver, is_told, output, spawn_params, story};
use crate::life_line::{Gate, LifeLine};

fn place(said: &[Value], is_it: impl Fn(&Value) -> bool) -> usize {
    said.iter().position(is_it).expect("it was said")
}

#[test]
fn spawned_is_told_before_the_answer_and_before_all_else() {
    let mut driver = Driver::start();
    // What is sent in one piece cannot wait for an answer.
    let spawn = driver.request(
        "spawn",
        spawn_params("a", "echo out; echo err >&2", json!({})),
    );
    driver.told("terminated", "a");
    assert_eq!(story(&driver.said, "a")[0], "spawned");
    let spawned = place(&driver.said, |one| is_told(one, "spawned", "a"));
    let answered = place(&driver.said, |one| one["id"] == spawn);
    assert_eq!(answered, spawned + 1);
}

#[test]
fn an_exit_is_told_although_output_has_no_credit() {
    let mut driver = Driver::start();
    driver.spawn_with("a", "echo out; exit 3", json!({"credit": {}}));
    let exit = driver.told("exit", "a");
    assert_eq!(exit["exit"], json!({"code": 3, "signal": null}));
    driver.told("streamEnded", "a");
    let list = driver.call("list", json!({})).unwrap();
    assert_eq!(list["children"][0]["state"], "exited");
    assert_eq!(list["children"][0]["keptBytes"], 4);
    assert!(!story(&driver.said, "a").contains(&"output"));

    driver
        .call(
            "grant",
            json!({"child": "a", "stream": "stdout", "bytes": 2}),
        )
        .unwrap();
    driver
        .call(
            "grant",
            json!({"child": "a", "stream": "stdout", "bytes": 2}),
        )
        .unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(end["stdout"]["bytes"], 4);
    assert_eq!(output(&driver.said, "a", "stdout"), b"out\n");
}

#[test]
fn terminated_is_last_and_after_every_byte() {
    let mut driver = Driver::start();
    // More than the pipe, what is kept, and what is granted at first hold.
    let script = "head -c 3000000 /dev/zero; head -c 100000 /dev/zero >&2";
    driver.spawn_with(
        "a",
        script,
        json!({"credit": {"stdout": 1000, "stderr": 1000}}),
    );
    for _ in 0..3 {
        driver.request(
            "grant",
            json!({"child": "a", "stream": "stdout", "bytes": 1_000_000}),
        );
    }
    driver.request(
        "grant",
        json!({"child": "a", "stream": "stderr", "bytes": 1_000_000}),
    );
    let end = driver.told("terminated", "a");
    assert_eq!(
        end["stdout"],
        json!({
            "drain": "whole", "bytes": 3_000_000, "droppedBytes": 0, "cutBytes": 0
        })
    );
    assert_eq!(output(&driver.said, "a", "stdout").len(), 3_000_000);
    assert_eq!(output(&driver.said, "a", "stderr").len(), 100_000);
    // The name is free now, and nothing of the first follows.
    let told = driver.said.len();
    driver.spawn("a", "exit 0");
    driver.told("terminated", "a");
    assert!(
        !driver.said[told..]
            .iter()
            .any(|one| is_told(one, "output", "a"))
    );
}

#[test]
fn each_stream_is_numbered_and_its_end_comes_after_its_output() {
    let mut driver = Driver::start();
    driver.spawn(
        "a",
        "for n in 1 2 3; do echo $n; done; exec >&-; read -r _ || :; echo late >&2",
    );
    driver.told("streamEnded", "a");
    assert!(
        !story(&driver.said, "a").contains(&"exit"),
        "its stdout ended before"
    );
    driver.call("closeStdin", json!({"child": "a"})).unwrap();
    driver.told("terminated", "a");
    for stream in ["stdout", "stderr"] {
        let of_it = |one: &&Value| one["params"]["stream"] == stream;
        let told: Vec<_> = driver.said.iter().filter(of_it).collect();
        let (end, outputs) = told.split_last().unwrap();
        assert_eq!(end["method"], "streamEnded");
        for (number, one) in outputs.iter().enumerate() {
            assert_eq!(
                (&one["method"], &one["params"]["seq"]),
                (&json!("output"), &json!(number))
            );
        }
    }
    assert_eq!(output(&driver.said, "a", "stdout"), b"1\n2\n3\n");
}

#[test]
fn a_cancel_overtakes_the_answer_to_its_spawn() {
    let mut driver = Driver::start();
    let spawn = json!({"jsonrpc": "2.0", "id": 100, "method": "spawn",
        "params": spawn_params("a", "sleep 1000", json!({}))});
    let cancel = json!({"jsonrpc": "2.0", "id": 101, "method": "cancel",
        "params": {"child": "a", "reason": "changed my mind"}});
    driver.send_bytes(format!("{spawn}\n{cancel}\n").as_bytes());
    let was = &driver.answer(101).unwrap()["was"];
    assert!(was == "starting" || was == "running", "{was}");
    assert!(driver.answer(100).is_ok());
    let end = driver.told("terminated", "a");
    assert_eq!(end["reason"], "changed my mind");
    assert_eq!(end["exit"], json!({"code": null, "signal": "SIGTERM"}));
    assert_eq!(end["rung"], "term");
}

#[test]
fn writes_are_answered_in_order_when_the_pipe_has_taken_them() {
    let mut driver = Driver::start();
    let mut life_line = LifeLine::new();
    let mut gate = Gate::new();
    let script = format!(
        "{}; read -r _ <{}; cat",
        life_line.hold(),
        gate.path.display()
    );
    driver.spawn("a", &script);
    life_line.expect(1);
    let text = "x".repeat(300_000);
    let first = driver.request("write", json!({"child": "a", "text": text}));
    let second = driver.request("write", json!({"child": "a", "base64": "eQ=="}));
    let close = driver.request("closeStdin", json!({"child": "a"}));
    let late = driver
        .call("write", json!({"child": "a", "text": "late"}))
        .unwrap_err();
    assert_eq!(late["data"]["kind"], "stdinClosed");
    let list = driver.call("list", json!({})).unwrap();
    let waiting = list["children"][0]["unwrittenBytes"].as_u64().unwrap();
    assert!((200_000..=300_001).contains(&waiting), "{waiting}");
    let is_answered = |said: &[Value], id| said.iter().any(|one| one["id"] == id);
    assert!(!is_answered(&driver.said, first), "the pipe holds less");

    gate.pass("go");
    assert_eq!(driver.answer(first), Ok(json!({"bytes": 300_000})));
    assert!(!is_answered(&driver.said, second) || is_answered(&driver.said, first));
    assert_eq!(driver.answer(second), Ok(json!({"bytes": 1})));
    assert_eq!(driver.answer(close), Ok(json!({})));
    driver.told("terminated", "a");
    let place_of = |id| place(&driver.said, |one| one["id"] == id);
    assert!(place_of(first) < place_of(second) && place_of(second) < place_of(close));
    let echoed = output(&driver.said, "a", "stdout");
    assert!(echoed.len() == 300_001 && echoed.ends_with(b"xy"));
}

#[test]
fn a_shutdown_is_answered_after_every_end_and_the_program_leaves() {
    let mut driver = Driver::start();
    driver.spawn(
        "a",
        "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.01; done",
    );
    driver.spawn(
        "b",
        "trap '' TERM; echo ready; while :; do sleep 0.01; done",
    );
    driver.told("output", "a");
    driver.told("output", "b");
    let shutdown = driver.request("shutdown", json!({"graceMs": 2_000}));
    let refused = driver
        .call("spawn", spawn_params("c", "exit", json!({})))
        .unwrap_err();
    assert_eq!(refused["data"]["kind"], "shuttingDown");
    assert_eq!(driver.answer(shutdown), Ok(json!({"ended": 2, "left": []})));
    let (said, status) = driver.end();
    assert!(status.success());
    let answered = place(&said, |one| one["id"] == shutdown);
    for (child, exit) in [
        ("a", json!({"code": 4, "signal": null})),
        ("b", json!({"code": null, "signal": "SIGKILL"})),
    ] {
        let ended = place(&said, |one| is_told(one, "terminated", child));
        assert!(ended < answered);
        assert_eq!(said[ended]["params"]["exit"], exit);
        assert_eq!(said[ended]["params"]["reason"], "shutdown");
    }
    assert_eq!(output(&said, "a", "stdout"), b"ready\nbye\n");
}

#[test]
fn a_shutdown_without_credit_is_answered_after_terminated_with_what_was_cut() {
    let mut driver = Driver::start();
    let mut life_line = LifeLine::new();
    let script = format!("echo hello; {}; sleep 1000", life_line.hold());
    let more = json!({"credit": {}, "ladder": {"drainTimeoutMs": 3_600_000}});
    driver.spawn_with("a", &script, more);
    life_line.expect(1);
    let shutdown = driver.request("shutdown", json!({"graceMs": 0}));
    assert_eq!(driver.answer(shutdown), Ok(json!({"ended": 1, "left": []})));
    let (said, _) = driver.end();
    let ended = place(&said, |one| is_told(one, "terminated", "a"));
    assert!(ended < place(&said, |one| one["id"] == shutdown));
    let stdout = &said[ended]["params"]["stdout"];
    let of = |name: &str| stdout[name].as_u64().unwrap();
    assert_eq!((of("bytes"), of("droppedBytes"), of("cutBytes")), (0, 0, 6));
}
