//! How children end: by themselves, cancelled, and with everything they started.

use std::time::Duration;

use serde_json::json;

use crate::driver::{Driver, OUTER_DEADLINE, output, spawn_params, story};
use crate::life_line::{Gate, LifeLine};

#[test]
fn a_gentle_cancel_lets_the_child_finish_and_a_second_one_hastens() {
    let mut driver = Driver::start();
    driver.spawn(
        "a",
        "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done",
    );
    driver.told("output", "a");
    assert_eq!(
        driver.call("cancel", json!({"child": "a"})),
        Ok(json!({"was": "running"}))
    );
    let end = driver.told("terminated", "a");
    assert_eq!(
        (&end["rung"], &end["exit"]["code"]),
        (&json!("term"), &json!(5))
    );
    assert_eq!(output(&driver.said, "a", "stdout"), b"ready\nbye\n");

    // Its grace is longer than this test may take.
    let ladder = json!({"termGraceMs": 10_000_000});
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
    driver.spawn_with("b", deaf, json!({"ladder": ladder}));
    driver.told("output", "b");
    driver
        .call("cancel", json!({"child": "b", "reason": "first"}))
        .unwrap();
    let again = driver.call(
        "cancel",
        json!({"child": "b", "mode": "force", "reason": "second"}),
    );
    assert_eq!(again, Ok(json!({"was": "stopping"})));
    let end = driver.told("terminated", "b");
    assert_eq!(
        (&end["rung"], &end["reason"]),
        (&json!("kill"), &json!("first"))
    );
}

#[test]
fn every_process_of_the_tree_is_gone_when_terminated_is_told() {
    let mut driver = Driver::start();
    let mut life_line = LifeLine::new();
    let hold = life_line.hold();
    // A plain one, one in a session of its own, a daemon without parents, and one that ignores SIGTERM.
    let script = format!(
        "{hold}; sh -c '{hold}; sleep 1000' & setsid sh -c '{hold}; sleep 1000' &
         setsid sh -c '({hold}; exec sleep 1000) & exit' & (trap '' TERM; {hold}; sleep 1000) & wait"
    );
    driver.spawn_with("a", &script, json!({"ladder": {"termGraceMs": 100}}));
    life_line.expect(5);
    driver.call("cancel", json!({"child": "a"})).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(
        (&end["survivors"]["count"], &end["rung"]),
        (&json!(0), &json!("kill"))
    );
    assert!(life_line.ends_within(OUTER_DEADLINE));
}

#[test]
fn the_scope_says_what_is_left_alone() {
    let mut driver = Driver::start();
    for (scope, is_left) in [("root", true), ("group", false)] {
        let mut life_line = LifeLine::new();
        let script = format!(
            "({}; exec sleep 1000) >/dev/null 2>&1 & echo $!; exec 9>&-; wait",
            life_line.hold()
        );
        driver.spawn_with(scope, &script, json!({"scope": scope}));
        life_line.expect(1);
        let other = driver.told("output", scope)["text"]
            .as_str()
            .unwrap()
            .trim()
            .to_owned();
        driver.call("cancel", json!({"child": scope})).unwrap();
        driver.told("terminated", scope);
        let pid = rustix::process::Pid::from_raw(other.parse().unwrap()).unwrap();
        if is_left {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        assert!(life_line.ends_within(OUTER_DEADLINE));
    }
}

#[test]
fn what_outlives_its_root_may_finish_its_output() {
    let mut driver = Driver::start();
    let mut gate = Gate::new();
    let script = format!(
        "(read -r line <{}; echo $line) & exit 7",
        gate.path.display()
    );
    let ladder = json!({"drainIdleMs": 10_000_000, "drainTimeoutMs": 10_000_000});
    driver.spawn_with("a", &script, json!({"ladder": ladder}));
    assert_eq!(driver.told("exit", "a")["exit"]["code"], 7);
    gate.pass("late");
    let end = driver.told("terminated", "a");
    assert_eq!(
        (&end["exitedByItself"], &end["stdout"]["drain"]),
        (&json!(true), &json!("whole"))
    );
    assert_eq!(output(&driver.said, "a", "stdout"), b"late\n");
}

#[test]
fn what_outlives_its_root_in_silence_is_ended() {
    let mut driver = Driver::start();
    let mut life_line = LifeLine::new();
    let script = format!(
        "({}; exec sleep 1000) & read -r _; exit 0",
        life_line.hold()
    );
    driver.spawn_with("a", &script, json!({"ladder": {"drainIdleMs": 30}}));
    life_line.expect(1);
    driver.call("closeStdin", json!({"child": "a"})).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(
        (&end["exitedByItself"], &end["survivors"]["count"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(end["reason"], json!(null));
    assert!(life_line.ends_within(OUTER_DEADLINE));
}

#[test]
fn what_outlives_its_root_is_left_alone_if_that_was_asked_for() {
    let mut driver = Driver::start();
    let mut life_line = LifeLine::new();
    let script = format!(
        "({}; exec sleep 1000) & read -r _; exit 0",
        life_line.hold()
    );
    let more = json!({"afterExit": "wait", "ladder": {"drainIdleMs": 1, "drainTimeoutMs": 1}});
    driver.spawn_with("a", &script, more);
    life_line.expect(1);
    driver.call("closeStdin", json!({"child": "a"})).unwrap();
    driver.told("exit", "a");
    // Another child lives and ends meanwhile, with the same limits.
    driver.spawn_with(
        "b",
        "sleep 1000 & exit 0",
        json!({"ladder": {"drainIdleMs": 50}}),
    );
    driver.told("terminated", "b");
    assert!(!story(&driver.said, "a").contains(&"terminated"));
    driver.call("cancel", json!({"child": "a"})).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(
        (&end["exitedByItself"], &end["reason"]),
        (&json!(true), &json!("cancelled"))
    );
    assert!(life_line.ends_within(OUTER_DEADLINE));
}

#[test]
fn a_pipe_that_is_held_from_outside_is_given_up_and_told() {
    let mut driver = Driver::start();
    // The other limit is out of reach, however late the machine is.
    let far = 10_000_000;
    for (name, script, drain, idle, limit) in [
        ("silent", "sleep 1000", "idle", 60, far),
        ("chatty", "while echo x; do :; done", "timedOut", far, 120),
    ] {
        let mut life_line = LifeLine::new();
        // Outside: in the scope `root` nothing but the root is.
        let script = format!("({}; echo; {script}) & read -r _", life_line.hold());
        let ladder = json!({"drainIdleMs": idle, "drainTimeoutMs": limit});
        driver.spawn_with(name, &script, json!({"scope": "root", "ladder": ladder}));
        life_line.expect(1);
        driver.call("cancel", json!({"child": name})).unwrap();
        let end = driver.told("terminated", name);
        assert_eq!(end["stdout"]["drain"], drain);
        let streams = driver
            .said
            .iter()
            .filter(|one| one["method"] == "streamEnded");
        assert!(
            streams
                .into_iter()
                .any(|one| one["params"]["drain"] == drain)
        );
    }
    // The silent ones are found by their parents' group, which this test does not have: by name.
    let (said, _) = driver.end();
    for name in ["silent", "chatty"] {
        let spawned = said
            .iter()
            .find(|one| crate::driver::is_told(one, "spawned", name))
            .unwrap();
        let group = i32::try_from(spawned["params"]["pid"].as_i64().unwrap()).unwrap();
        let group = rustix::process::Pid::from_raw(group).unwrap();
        let (Ok(()) | Err(_)) =
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[test]
fn a_child_that_takes_too_long_is_cancelled() {
    let mut driver = Driver::start();
    driver.spawn_with("a", "sleep 1000", json!({"timeoutMs": 20}));
    let end = driver.told("terminated", "a");
    assert_eq!(
        (&end["reason"], &end["rung"]),
        (&json!("timeout"), &json!("term"))
    );
}

#[test]
fn the_time_of_a_child_counts_until_everything_that_it_left_behind_has_ended() {
    let mut driver = Driver::start();
    let mut life_line = LifeLine::new();
    let script = format!("({}; exec sleep 1000) & exit 0", life_line.hold());
    let more = json!({"timeoutMs": 2_000, "afterExit": "wait"});
    driver.spawn_with("a", &script, more);
    life_line.expect(1);
    let end = driver.told("terminated", "a");
    assert_eq!(
        (&end["reason"], &end["exitedByItself"]),
        (&json!("timeout"), &json!(true))
    );
    assert!(life_line.ends_within(OUTER_DEADLINE));
}

#[test]
fn silence_on_one_stream_does_not_end_what_waits_for_credit_on_the_other() {
    let mut driver = Driver::start();
    // What the child left behind writes more than is kept. It is no fault of it that nobody reads.
    let script = "(head -c 100000 /dev/zero; exec >&-; sleep 1000) & read -r _";
    let more = json!({
        "credit": {"stdout": 1}, "keep": {"bytesMax": 1_000},
        "ladder": {"drainIdleMs": 1_000, "drainTimeoutMs": 10_000_000},
    });
    driver.spawn_with("a", script, more);
    // It exits when the output waits: before that it is silent, for as long as `head` needs to start.
    driver.told("output", "a");
    let line = json!({"child": "a", "text": "\n"});
    driver.call("write", line).unwrap();
    driver.told("exit", "a");
    // Another child is ended for the same silence meanwhile.
    let more = json!({"ladder": {"drainIdleMs": 1_200}});
    driver.spawn_with("b", "sleep 1000 & exit 0", more);
    driver.told("terminated", "b");
    let grant = json!({"child": "a", "stream": "stdout", "bytes": 1_000_000});
    driver.call("grant", grant).unwrap();
    let end = driver.told("terminated", "a");
    assert_eq!(
        end["stdout"],
        json!({"drain": "whole", "bytes": 100_000, "droppedBytes": 0, "cutBytes": 0})
    );
}

#[test]
fn writes_that_wait_are_answered_when_the_child_is_cancelled() {
    let mut driver = Driver::start();
    driver.spawn("a", "sleep 1000");
    let text = "x".repeat(200_000);
    let write = driver.request("write", json!({"child": "a", "text": text}));
    let close = driver.request("closeStdin", json!({"child": "a"}));
    // Until the pipe has taken some of it.
    let unwritten = |driver: &mut Driver| {
        let list = driver.call("list", json!({})).unwrap();
        list["children"][0]["unwrittenBytes"].clone()
    };
    while unwritten(&mut driver) == 200_000 {}
    driver.call("cancel", json!({"child": "a"})).unwrap();
    let refused = driver.answer(write).unwrap_err();
    assert_eq!(refused["data"]["kind"], "stopping");
    let written = refused["data"]["writtenBytes"].as_u64().unwrap();
    assert!(written > 0 && written < 200_000);
    assert_eq!(driver.answer(close), Ok(json!({})));
    let end = driver.told("terminated", "a");
    let unwritten = end["unwrittenBytes"].as_u64().unwrap();
    assert_eq!(unwritten + written, 200_000);
}

#[test]
fn a_child_that_closes_its_stdin_or_exits_breaks_a_write() {
    let mut driver = Driver::start();
    driver.spawn("a", "exec <&-; echo closed; sleep 1000");
    driver.told("output", "a");
    let refused = driver
        .call("write", json!({"child": "a", "text": "x"}))
        .unwrap_err();
    let data = &refused["data"];
    assert_eq!(
        (&data["kind"], &data["errno"]),
        (&json!("stdinBroken"), &json!("EPIPE"))
    );
    let refused = driver
        .call("closeStdin", json!({"child": "a"}))
        .unwrap_err();
    assert_eq!(refused["data"]["kind"], "stdinBroken");
    driver.call("cancel", json!({"child": "a"})).unwrap();
    driver.told("terminated", "a");
}

#[test]
fn signals_reach_the_group_or_the_root() {
    let mut driver = Driver::start();
    let script = "trap 'echo root' USR1; sh -c 'trap \"echo other\" USR1; echo ready; \
                  while :; do sleep 0.01; done' & while :; do wait; done";
    driver.spawn("a", script);
    driver.told("output", "a");
    let signal = |to| json!({"child": "a", "signal": "SIGUSR1", "to": to});
    driver.call("signal", signal("root")).unwrap();
    assert_eq!(driver.told("output", "a")["text"], "root\n");
    driver.call("signal", signal("group")).unwrap();
    let mut told = String::new();
    while !(told.contains("other") && told.contains("root")) {
        told += driver.told("output", "a")["text"].as_str().unwrap();
    }
    assert_eq!(told.matches("other").count(), 1);
    driver
        .call("cancel", json!({"child": "a", "mode": "force"}))
        .unwrap();
    driver.told("terminated", "a");
}

#[test]
fn two_hundred_and_fifty_six_children_live_at_once() {
    let mut driver = Driver::start();
    let names: Vec<String> = (0..256).map(|number| format!("child {number}")).collect();
    for name in &names {
        driver.request(
            "spawn",
            spawn_params(name, "cat", json!({"scope": "group"})),
        );
    }
    for name in &names {
        driver.told("spawned", name);
        driver
            .call("write", json!({"child": name, "text": name}))
            .unwrap();
    }
    let list = driver.call("list", json!({})).unwrap();
    assert_eq!(list["children"].as_array().unwrap().len(), 256);
    for name in &names {
        assert_eq!(driver.told("output", name)["text"], **name);
    }
    let shutdown = driver.request("shutdown", json!({"graceMs": 5000}));
    let result = driver.answer(shutdown).unwrap();
    assert_eq!(result["left"], json!([]));
    for name in &names {
        assert_eq!(driver.told("terminated", name)["survivors"]["count"], 0);
    }
    let (_, status) = driver.end();
    assert!(status.success());
}

#[test]
fn a_child_and_what_it_starts_have_its_limits() {
    let mut driver = Driver::start();
    let limits = json!({"openFiles": 64, "cpuMs": 6500, "addressSpaceBytes": 1_u64 << 30});
    let script = "ulimit -n; sh -c 'ulimit -t; ulimit -v'";
    driver.spawn_with("a", script, json!({"limits": limits}));
    driver.told("terminated", "a");
    assert_eq!(output(&driver.said, "a", "stdout"), b"64\n7\n1048576\n");
}

#[test]
fn null_streams_are_no_pipes() {
    let mut driver = Driver::start();
    let stdio = json!({"stdin": "null", "stdout": "null", "stderr": "pipe"});
    let script = "cat; echo lost; echo $(readlink /proc/$$/fd/1) >&2";
    driver.spawn_with("a", script, json!({"stdio": stdio}));
    let end = driver.told("terminated", "a");
    assert_eq!(end["stdout"]["drain"], "none");
    assert_eq!(output(&driver.said, "a", "stderr"), b"/dev/null\n");
    let story = story(&driver.said, "a");
    assert_eq!(story.iter().filter(|one| **one == "streamEnded").count(), 1);
    assert!(Duration::from_millis(end["elapsedMs"].as_u64().unwrap()) < OUTER_DEADLINE);
}

#[test]
fn no_child_sees_the_end_of_its_input_at_a_shutdown_without_a_grace() {
    let mut driver = Driver::start();
    let mut life_line = LifeLine::new();
    let hold = life_line.hold();
    let names: Vec<String> = (0..40).map(|number| format!("child {number}")).collect();
    for name in &names {
        let script = format!("{hold}; cat >/dev/null; printf 'half a message' >&9");
        driver.spawn_with(name, &script, json!({"scope": "group"}));
    }
    life_line.expect(names.len());
    let shutdown = driver.request("shutdown", json!({"graceMs": 0}));
    driver.answer(shutdown).unwrap();
    for name in &names {
        assert_eq!(driver.told("exit", name)["exit"]["signal"], "SIGKILL");
    }
    let written = life_line.rest_within(OUTER_DEADLINE);
    assert_eq!(written.as_deref(), Some(&b""[..]));
}
