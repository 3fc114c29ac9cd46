//! Recorded sessions: what is sent, and what is said to it, word for word but for numbers that differ.
//!
//! A line that begins with `→` is sent. Then as many lines are awaited as lines with `←` follow. Those are
//! sorted: the order of an exit and of the end of a stream is not promised. With
//! `UPDATE_SESSIONS=1` the files are written anew with what is said.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::driver::Driver;

#[test]
fn recorded_sessions_are_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/supervisor/sessions");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 4);
    for file in files {
        let recorded = fs::read_to_string(&file).unwrap();
        let played = play(&recorded);
        if std::env::var_os("UPDATE_SESSIONS").is_some() {
            fs::write(&file, played).unwrap();
        } else {
            assert_eq!(played, recorded, "{}", file.display());
        }
    }
}

fn play(recorded: &str) -> String {
    let mut driver = Driver::start_raw();
    let mut played = String::new();
    let mut group: Vec<String> = Vec::new();
    for line in recorded.lines() {
        if line.starts_with('←') {
            let mut said = driver.next().expect("it says as much as was recorded");
            blank(&mut said);
            group.push(format!("← {said}\n"));
            continue;
        }
        group.sort();
        played.extend(group.drain(..));
        if let Some(message) = line.strip_prefix("→ ") {
            driver.send_bytes(message.as_bytes());
            driver.send_bytes(b"\n");
        }
        played.extend([line, "\n"]);
    }
    group.sort();
    played.extend(group);
    let (said, status) = driver.end();
    assert!(status.success(), "{said:?}");
    played
}

/// Takes out what differs from run to run.
fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match name.as_str() {
                    "pid" | "elapsedMs" => *field = 0.into(),
                    "programVersion" => *field = "".into(),
                    _ => blank(field),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(blank),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
