//! Descriptors that the host shares with the program, and that do not block.

use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::{Value, json};

use crate::driver::{Driver, spawn_params};

fn make_nonblocking(end: impl AsFd) {
    fcntl_setfl(end, OFlags::NONBLOCK).unwrap();
}

#[test]
fn a_stdin_that_does_not_block_has_not_ended_when_it_is_empty() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    make_nonblocking(&reader);
    let mut driver = Driver::start_on(reader.into(), None);
    driver.listen();
    // It finds nothing at first, and nothing again between two parts of a line.
    let line = br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}"#;
    let (begin, rest) = line.split_at(20);
    for part in [begin, rest, b"\n"] {
        writer.write_all(part).unwrap();
        wait_until_empty(&writer);
    }
    assert!(driver.answer(1).is_ok());
    drop(writer);
    assert!(driver.next().is_none(), "the end is still the end");
}

/// Until the other side has read everything, and once more: then it has found nothing.
fn wait_until_empty(writer: &std::io::PipeWriter) {
    let deadline = tokio::time::Instant::now() + crate::driver::OUTER_DEADLINE;
    while rustix::io::ioctl_fionread(writer).unwrap() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "nobody reads");
        std::thread::yield_now();
    }
}

#[test]
fn a_stdout_that_does_not_block_loses_nothing_when_it_is_full() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    make_nonblocking(&writer);
    let (stdin, mut requests) = std::io::pipe().unwrap();
    let driver = Driver::start_on(stdin.into(), Some(writer.into()));
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": 1}});
    let params = spawn_params("a", "head -c 1000000 /dev/zero", json!({}));
    let spawn = json!({"jsonrpc": "2.0", "id": 2, "method": "spawn", "params": params});
    writeln!(requests, "{initialize}\n{spawn}").unwrap();
    wait_until_full(&reader);
    let mut said = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while !said.windows(12).any(|part| part == b"\"terminated\"") {
        let count = reader.read(&mut buffer).unwrap();
        assert!(count > 0, "it goes on");
        said.extend_from_slice(&buffer[..count]);
    }
    drop(requests);
    reader.read_to_end(&mut said).unwrap();
    let lines = said
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let said: Vec<Value> = lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(crate::driver::output(&said, "a", "stdout").len(), 1_000_000);
    drop(driver);
}

/// Until as much waits as the pipe holds, or nearly so.
fn wait_until_full(reader: &PipeReader) {
    let deadline = tokio::time::Instant::now() + crate::driver::OUTER_DEADLINE;
    while rustix::io::ioctl_fionread(reader).unwrap() < 60_000 {
        assert!(tokio::time::Instant::now() < deadline, "nobody writes");
        std::thread::yield_now();
    }
}
