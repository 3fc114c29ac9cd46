//! Credit, and what is kept without it.

use std::io::Write;

use serde_json::{Value, json};

use crate::driver::{Driver, chunk, is_told, output, spawn_params};
use crate::life_line::LifeLine;

#[test]
fn no_more_is_told_than_was_granted() {
    let mut driver = Driver::start();
    driver.spawn_with(
        "a",
        "printf 0123456789; read -r _",
        json!({"credit": {"stdout": 4}}),
    );
    let first = driver.told("output", "a");
    assert_eq!(first["text"], "0123");
    driver
        .call(
            "grant",
            json!({"child": "a", "stream": "stdout", "bytes": 3}),
        )
        .unwrap();
    assert_eq!(driver.told("output", "a")["text"], "456");
    driver.call("cancel", json!({"child": "a"})).unwrap();
    driver
        .call(
            "grant",
            json!({"child": "a", "stream": "stdout", "bytes": 9}),
        )
        .unwrap();
    assert_eq!(driver.told("output", "a")["text"], "789");
    assert_eq!(driver.told("terminated", "a")["stdout"]["drain"], "whole");
}

#[test]
fn without_credit_a_child_is_not_read_beyond_its_cap() {
    let mut driver = Driver::start();
    let more = json!({"credit": {}, "keep": {"bytesMax": 10_000}});
    let mut life_line = LifeLine::new();
    // It writes the letter when all of its output has found room, which it never has.
    let script = format!("head -c 1000000 /dev/zero; {}", life_line.hold());
    driver.spawn_with("a", &script, more);
    let list = loop {
        let list = driver.call("list", json!({})).unwrap();
        if list["keptBytes"].as_u64().unwrap() > 5_000 {
            break list;
        }
    };
    assert!(list["keptBytes"].as_u64().unwrap() <= 10_000);
    driver
        .call(
            "grant",
            json!({"child": "a", "stream": "stdout", "bytes": 1_000_000}),
        )
        .unwrap();
    life_line.expect(1);
    let end = driver.told("terminated", "a");
    assert_eq!(end["stdout"]["bytes"], 1_000_000);
}

#[test]
fn the_cap_of_all_children_holds_for_each_of_them() {
    let mut driver = Driver::start_with(json!({"keptBytesTotalMax": 20_000}));
    for name in ["a", "b", "c"] {
        driver.spawn_with(name, "head -c 30000 /dev/zero", json!({"credit": {}}));
    }
    // Each of them is finished although they share what one could fill.
    for name in ["a", "b", "c"] {
        driver
            .call(
                "grant",
                json!({"child": name, "stream": "stdout", "bytes": 10_000}),
            )
            .unwrap();
        let list = driver.call("list", json!({})).unwrap();
        // A byte of each stream always has room.
        assert!(list["keptBytes"].as_u64().unwrap() <= 20_000 + 3 * 2);
    }
    for name in ["a", "b", "c"] {
        driver
            .call(
                "grant",
                json!({"child": name, "stream": "stdout", "bytes": 90_000}),
            )
            .unwrap();
    }
    for name in ["a", "b", "c"] {
        assert_eq!(driver.told("terminated", name)["stdout"]["bytes"], 30_000);
    }
}

#[test]
fn children_that_nobody_reads_do_not_starve_one_that_is_read() {
    let mut driver = Driver::start_with(json!({"keptBytesTotalMax": 20_000}));
    driver.spawn_with("unread", "exec cat /dev/zero", json!({"credit": {}}));
    // As long as there is room for a few KiB it is read on.
    let kept = |driver: &mut Driver| driver.call("list", json!({})).unwrap()["keptBytes"].as_u64();
    while kept(&mut driver) < Some(20_000 - 4096) {}
    driver.spawn("read", "head -c 300000 /dev/zero");
    assert_eq!(
        driver.told("terminated", "read")["stdout"]["bytes"],
        300_000
    );
    // One that has no credit at first is read when it gets some.
    driver.spawn_with("late", "head -c 300000 /dev/zero", json!({"credit": {}}));
    let grant = json!({"child": "late", "stream": "stdout", "bytes": 1_000_000});
    driver.call("grant", grant).unwrap();
    assert_eq!(
        driver.told("terminated", "late")["stdout"]["bytes"],
        300_000
    );
    // A byte of each stream always has room.
    assert!(kept(&mut driver) <= Some(20_000 + 2));
}

#[test]
fn the_oldest_is_dropped_and_counted_if_that_was_asked_for() {
    let mut driver = Driver::start();
    let keep = json!({"bytesMax": 1000, "whenFull": "dropOldest"});
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done";
    driver.spawn_with("a", script, json!({"credit": {}, "keep": keep}));
    driver.told("exit", "a");
    // The streams are at their ends, so nothing is dropped any more.
    loop {
        let list = driver.call("list", json!({})).unwrap();
        let ended = driver
            .said
            .iter()
            .filter(|one| is_told(one, "streamEnded", "a"))
            .count();
        if ended == 1 && list["children"][0]["state"] == "exited" {
            break;
        }
    }
    let all: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    driver
        .call(
            "grant",
            json!({"child": "a", "stream": "stdout", "bytes": 1 << 20}),
        )
        .unwrap();
    let end = driver.told("terminated", "a");
    let told: Vec<Value> = driver
        .said
        .iter()
        .filter(|one| is_told(one, "output", "a"))
        .cloned()
        .collect();
    let bytes = output(&driver.said, "a", "stdout");
    assert!(all.as_bytes().ends_with(&bytes) && bytes.len() <= 1000);
    let dropped: u64 = told
        .iter()
        .filter_map(|one| one["params"]["droppedBytes"].as_u64())
        .sum();
    assert_eq!(end["stdout"]["droppedBytes"], dropped);
    assert_eq!(bytes.len() as u64 + dropped, all.len() as u64);
}

#[test]
fn what_is_not_granted_after_a_cancel_is_cut_and_counted() {
    let mut driver = Driver::start();
    let ladder = json!({"drainTimeoutMs": 50});
    let mut life_line = LifeLine::new();
    let script = format!("printf 0123456789; {}; read -r _", life_line.hold());
    driver.spawn_with(
        "a",
        &script,
        json!({"credit": {"stdout": 3}, "ladder": ladder}),
    );
    life_line.expect(1);
    assert_eq!(driver.told("output", "a")["text"], "012");
    driver.call("cancel", json!({"child": "a"})).unwrap();
    let end = driver.told("terminated", "a");
    let stdout = &end["stdout"];
    assert_eq!(
        (&stdout["bytes"], &stdout["cutBytes"]),
        (&json!(3), &json!(7))
    );
}

#[test]
fn a_host_that_does_not_read_costs_bounded_memory_and_loses_nothing() {
    let mut driver = Driver::start_deaf();
    driver.request("initialize", json!({"protocolVersion": 1}));
    let mut life_lines = Vec::new();
    for number in 0..4 {
        let life_line = LifeLine::new();
        let script = format!("head -c 2000000 /dev/zero; {}", life_line.hold());
        driver.request(
            "spawn",
            spawn_params(&format!("{number}"), &script, json!({})),
        );
        life_lines.push(life_line);
    }
    // It has more answers to give than it keeps, so that it stops to read.
    let mut stdin = driver.take_stdin();
    let writer = std::thread::spawn(move || {
        for id in 1000..1000 + LISTS {
            let request = json!({"jsonrpc": "2.0", "id": id, "method": "list"});
            stdin.write_all(format!("{request}\n").as_bytes()).unwrap();
        }
        stdin
    });
    driver.listen();
    for (number, life_line) in life_lines.iter_mut().enumerate() {
        life_line.expect(1);
        let end = driver.told("terminated", &number.to_string());
        assert_eq!(end["stdout"]["bytes"], 2_000_000);
    }
    for id in 1000..1000 + LISTS {
        driver.answer(id).unwrap();
    }
    let stdin = writer.join().unwrap();
    // The children together wrote 8 MB, and the answers take a few MB too.
    let most = driver.kibibytes("VmHWM");
    assert!(most < 30_000, "{most} KiB");
    drop(stdin);
}

#[test]
fn bytes_that_are_no_text_come_in_base64_and_characters_are_whole() {
    let mut driver = Driver::start();
    driver.spawn(
        "a",
        r"printf 'a\377\303\251'; read -r _; printf 'a\303'; read -r _; printf '\251'",
    );
    let told = driver.told("output", "a");
    assert_eq!(
        (chunk(&told).as_slice(), &told["text"]),
        (b"a\xff\xc3\xa9".as_slice(), &Value::Null)
    );
    driver
        .call("write", json!({"child": "a", "text": "\n"}))
        .unwrap();
    assert_eq!(driver.told("output", "a")["text"], "a");
    assert_eq!(
        chunk(&driver.told("output", "a")),
        b"\xc3",
        "it is not held back"
    );
    driver
        .call("write", json!({"child": "a", "text": "\n"}))
        .unwrap();
    driver.told("terminated", "a");
    assert_eq!(
        output(&driver.said, "a", "stdout"),
        b"a\xff\xc3\xa9a\xc3\xa9"
    );
}

/// Their answers fill the pipe and the queue several times.
const LISTS: i64 = 6000;
