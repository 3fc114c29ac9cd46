//! Input that is wrong is answered with what is wrong, and ends nothing.

use serde_json::{Value, json};

use crate::driver::{Driver, spawn_params};

/// Sends a line, and returns what is said next.
fn reply(driver: &mut Driver, line: &str) -> Value {
    driver.send_bytes(line.as_bytes());
    driver.send_bytes(b"\n");
    driver.next().unwrap()
}

#[test]
fn each_kind_of_bad_line_has_its_own_error() {
    let mut driver = Driver::start();
    let request = |rest: &str| format!(r#"{{"jsonrpc":"2.0","id":"x",{rest}}}"#);
    for (line, id, code, kind, text) in [
        ("{", Value::Null, -32700, "notJson", "no JSON"),
        ("nonsense", Value::Null, -32700, "notJson", "no JSON"),
        ("[]", Value::Null, -32600, "invalidRequest", "batches"),
        ("7", Value::Null, -32600, "invalidRequest", "object"),
        ("{}", Value::Null, -32600, "invalidRequest", "jsonrpc"),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"list"}"#,
            Value::Null,
            -32600,
            "invalidRequest",
            "`id`",
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"list"}"#,
            Value::Null,
            -32600,
            "invalidRequest",
            "`id`",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"x","result":{}}"#,
            json!("x"),
            -32600,
            "invalidRequest",
            "`method`",
        ),
        (
            &request(r#""method":7"#),
            json!("x"),
            -32600,
            "invalidRequest",
            "`method`",
        ),
        (
            &request(r#""method":"fly""#),
            json!("x"),
            -32601,
            "unknownMethod",
            "closeStdin",
        ),
        (
            &request(r#""method":"grant","params":[]"#),
            json!("x"),
            -32602,
            "invalidParams",
            "grant",
        ),
        (
            &request(r#""method":"grant","params":{"child":"a","stream":"stdout","bytes":-1}"#),
            json!("x"),
            -32602,
            "invalidParams",
            "-1",
        ),
        (
            &request(r#""method":"list","params":{"all":true}"#),
            json!("x"),
            -32602,
            "invalidParams",
            "all",
        ),
        (
            &request(r#""method":"cancel","params":{"child":"a"}"#),
            json!("x"),
            -32000,
            "unknownChild",
            "\"a\"",
        ),
        (
            &request(r#""method":"initialize","params":{"protocolVersion":1}"#),
            json!("x"),
            -32000,
            "alreadyInitialized",
            "before",
        ),
    ] {
        let reply = reply(&mut driver, line);
        let error = &reply["error"];
        assert_eq!(
            (&reply["id"], &error["code"]),
            (&id, &json!(code)),
            "{line}: {reply}"
        );
        assert_eq!(error["data"]["kind"], kind, "{line}");
        assert!(
            error["message"].as_str().unwrap().contains(text),
            "{line}: {error}"
        );
    }
    driver.send_bytes(b"\xff\xfe\n\n  \n");
    assert_eq!(driver.next().unwrap()["error"]["data"]["kind"], "notJson");
    assert!(driver.call("list", json!({})).is_ok(), "and it goes on");
    let (_, status) = driver.end();
    assert!(status.success());
}

#[test]
fn the_first_request_must_be_a_fitting_initialize() {
    let mut driver = Driver::start_raw();
    let refused = driver.call("list", json!({})).unwrap_err();
    assert_eq!(refused["data"]["kind"], "notInitialized");
    let refused = driver
        .call("initialize", json!({"protocolVersion": 2}))
        .unwrap_err();
    assert_eq!(refused["data"]["kind"], "unsupportedVersion");
    let nobody = json!({"protocolVersion": 1, "hostPid": i32::MAX});
    let refused = driver.call("initialize", nobody).unwrap_err();
    assert_eq!(refused["data"]["kind"], "hostNotFound");
    let result = driver
        .call("initialize", json!({"protocolVersion": 1}))
        .unwrap();
    assert_eq!(
        (&result["protocolVersion"], &result["platform"]),
        (&json!(1), &json!("linux"))
    );
    assert_eq!(result["pid"], driver.pid());
}

#[test]
fn a_line_of_100_megabytes_is_refused_and_not_kept() {
    let mut driver = Driver::start();
    let before = driver.kibibytes("VmHWM");
    let part = [b'x'; 1 << 16];
    for _ in 0..1600 {
        driver.send_bytes(&part);
    }
    driver.send_bytes(b"\n");
    let refused = driver.next().unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["data"]["kind"]),
        (&Value::Null, &json!("lineTooLong"))
    );
    assert!(driver.call("list", json!({})).is_ok());
    let grown = driver.kibibytes("VmHWM") - before;
    assert!(
        grown < 20_000,
        "{grown} KiB for a line of which 4 MiB are allowed"
    );
}

#[test]
fn names_and_ids_in_use_are_refused_and_free_afterwards() {
    let mut driver = Driver::start();
    driver.spawn("a", "sleep 1000");
    let again = driver
        .call("spawn", spawn_params("a", "exit", json!({})))
        .unwrap_err();
    assert_eq!(again["data"]["kind"], "duplicateChild");
    let write = json!({"jsonrpc": "2.0", "id": "w", "method": "write",
        "params": {"child": "a", "text": "x".repeat(200_000)}});
    driver.send_value(&write);
    let list = json!({"jsonrpc": "2.0", "id": "w", "method": "list"});
    driver.send_value(&list);
    let refused = driver.wait_for(|message| message["id"] == "w");
    assert_eq!(
        (&refused["id"], &refused["error"]["data"]["kind"]),
        (&json!("w"), &json!("duplicateId"))
    );
    driver
        .call("cancel", json!({"child": "a", "mode": "force"}))
        .unwrap();
    driver.told("terminated", "a");
    driver.send_value(&list);
    while driver.next().unwrap()["result"]["children"] != json!([]) {}
    driver.spawn("a", "exit 0");
    driver.told("terminated", "a");
}

#[test]
fn what_cannot_be_started_is_told_with_the_reason() {
    let mut driver = Driver::start();
    let directory = std::env::temp_dir();
    let file = directory.join(format!("pool-supervisor-{}-file", std::process::id()));
    std::fs::write(&file, "text").unwrap();
    let file = file.to_str().unwrap();
    for (more, kind, errno) in [
        (
            json!({"argv": ["no-such-program"]}),
            "programNotFound",
            json!("ENOENT"),
        ),
        (
            json!({"argv": ["/no/such/program"]}),
            "programNotFound",
            json!("ENOENT"),
        ),
        (
            json!({"argv": [file]}),
            "programNotExecutable",
            json!("EACCES"),
        ),
        (
            json!({"argv": ["/"]}),
            "programNotExecutable",
            json!("EACCES"),
        ),
        (
            json!({"argv": ["true", "x".repeat(200_000)]}),
            "argumentsTooLong",
            json!("E2BIG"),
        ),
        (
            json!({"argv": ["true"], "cwd": "/no/such"}),
            "cwd",
            json!("ENOENT"),
        ),
        (
            json!({"argv": ["true"], "cwd": file}),
            "cwd",
            json!("ENOTDIR"),
        ),
        (
            json!({"argv": ["true"], "cwd": "relative"}),
            "invalidParams",
            Value::Null,
        ),
        (json!({"argv": []}), "invalidParams", Value::Null),
        (
            json!({"argv": ["true"], "shell": "true"}),
            "invalidParams",
            Value::Null,
        ),
        (
            json!({"argv": ["true", "a\u{0}b"]}),
            "invalidParams",
            Value::Null,
        ),
        (
            json!({"argv": ["true"], "env": {"A=B": "C"}}),
            "invalidParams",
            Value::Null,
        ),
        (
            json!({"argv": ["true"], "argv0": "other", "limits": {"openFiles": 64}}),
            "invalidParams",
            Value::Null,
        ),
        (
            json!({"argv": ["true"], "limits": {"openFiles": 1_u64 << 40}}),
            "invalidParams",
            Value::Null,
        ),
        (
            json!({"argv": ["true"], "limits": {"processes": 1}}),
            "invalidParams",
            Value::Null,
        ),
        (
            json!({"argv": ["true"], "child": ""}),
            "invalidParams",
            Value::Null,
        ),
        (
            json!({"argv": ["true"], "child": "x".repeat(129)}),
            "invalidParams",
            Value::Null,
        ),
    ] {
        let refused = driver
            .call("spawn", spawn_params("a", "", more.clone()))
            .unwrap_err();
        assert_eq!(refused["data"]["kind"], kind, "{refused} for {more:.100}");
        assert_eq!(refused["data"]["errno"], errno, "{refused}");
    }
    assert_eq!(
        driver.call("list", json!({})).unwrap()["children"],
        json!([])
    );
    assert!(
        driver.said.iter().all(|one| one["method"].is_null()),
        "of none of them is anything told"
    );
    std::fs::remove_file(file).unwrap();
}

#[test]
fn requests_to_the_wrong_child_or_at_the_wrong_time_are_refused() {
    let mut driver = Driver::start();
    driver.spawn_with("a", "sleep 1000", json!({"stdio": {"stdin": "null"}}));
    for (method, more, kind) in [
        ("write", json!({"child": "a", "text": "x"}), "stdinClosed"),
        ("closeStdin", json!({"child": "a"}), "stdinClosed"),
        ("write", json!({"child": "a"}), "invalidParams"),
        (
            "write",
            json!({"child": "a", "base64": "?"}),
            "invalidParams",
        ),
        (
            "signal",
            json!({"child": "a", "signal": "SIGNONE"}),
            "invalidParams",
        ),
        ("write", json!({"child": "b", "text": "x"}), "unknownChild"),
        (
            "grant",
            json!({"child": "b", "stream": "stdout", "bytes": 1}),
            "unknownChild",
        ),
        (
            "cancel",
            json!({"child": "a", "reason": "x".repeat(257)}),
            "invalidParams",
        ),
    ] {
        let refused = driver.call(method, more.clone()).unwrap_err();
        assert_eq!(refused["data"]["kind"], kind, "{method} {more:.80}");
    }
    let huge = "x".repeat(3 << 20);
    driver.spawn("c", "sleep 1000");
    driver.request("write", json!({"child": "c", "text": huge}));
    let refused = driver
        .call("write", json!({"child": "c", "text": huge}))
        .unwrap_err();
    assert_eq!(refused["data"]["kind"], "tooManyWrites");
}

#[test]
fn a_request_without_an_id_is_done_and_not_answered() {
    let mut driver = Driver::start();
    let mut notify = |method: &str, params: Value| {
        driver.send_value(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    };
    notify("spawn", spawn_params("a", "cat", json!({})));
    notify("write", json!({"child": "a", "text": "hello"}));
    notify("fly", json!({}));
    notify("cancel", json!({"child": "nobody"}));
    notify("closeStdin", json!({"child": "a"}));
    driver.told("terminated", "a");
    let (said, _) = driver.end();
    assert_eq!(crate::driver::output(&said, "a", "stdout"), b"hello");
    assert!(said.iter().all(|one| one["id"].is_null() || one["id"] == 1));
}

#[test]
fn a_last_line_without_its_end_is_ignored() {
    let mut driver = Driver::start();
    let spawn = json!({"jsonrpc": "2.0", "id": 9, "method": "spawn",
        "params": spawn_params("a", "exit", json!({}))});
    driver.send_bytes(spawn.to_string().as_bytes());
    let (said, status) = driver.end();
    assert!(status.success());
    assert_eq!(said.len(), 1, "the answer to `initialize` alone");
}
