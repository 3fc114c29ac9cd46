use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::entry::EntrySettings;
use crate::protocol::{AfterExit, ExitNotice, ExitReport, WhenFull};

fn supervisor(kept_total_max: usize) -> Supervisor {
    Supervisor::new(kept_total_max, watch::channel(true).1)
}

fn entry(name: &str) -> Rc<Entry> {
    let settings = EntrySettings {
        kept_bytes_max: 1 << 20,
        when_full: WhenFull::Pause,
        after_exit: AfterExit::End,
        drain_timeout: Duration::ZERO,
        drain_idle: Duration::ZERO,
        timeout: None,
        is_in_session: false,
    };
    let inputs = InputQueue::new(Rc::default());
    Rc::new(Entry::new(name.to_owned(), settings, [u64::MAX, 0], inputs))
}

fn lines(batch: &[u8]) -> Vec<Value> {
    let lines = batch
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[test]
fn an_exit_is_sent_before_output_that_waits_and_streams_take_turns() {
    let supervisor = supervisor(1 << 30);
    let entries = ["a", "b"].map(entry);
    for entry in &entries {
        supervisor.received(entry, StreamName::Stdout, &[b'x'; 100_000]);
    }
    supervisor.tell(&Notice::Exit(ExitNotice {
        child: "b".to_owned(),
        exit: ExitReport {
            code: Some(0),
            signal: None,
        },
    }));
    let sent = lines(&supervisor.compose());
    let told: Vec<_> = sent
        .iter()
        .map(|line| {
            (
                line["method"].as_str().unwrap(),
                line["params"]["child"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told[0], ("exit", "b"));
    assert_eq!(told[1..3], [("output", "a"), ("output", "b")]);
    // A batch is as large as it must be, and the rest waits for the next one.
    assert!(told.len() <= 4, "{told:?}");
    let mut bytes = 0;
    let mut all = sent;
    while bytes < 200_000 {
        bytes = all
            .iter()
            .filter_map(|line| line["params"]["text"].as_str())
            .map(str::len)
            .sum();
        all.extend(lines(&supervisor.compose()));
    }
    assert_eq!((bytes, supervisor.kept_total()), (200_000, 0));
}

#[test]
fn what_has_no_credit_is_kept_until_it_has() {
    let supervisor = supervisor(1 << 30);
    let entry = entry("a");
    supervisor.received(&entry, StreamName::Stderr, b"abc");
    assert!(supervisor.compose().is_empty());
    assert_eq!(supervisor.kept_total(), 3);
    supervisor.grant(&entry, StreamName::Stderr, 2);
    supervisor.grant(&entry, StreamName::Stderr, 2);
    let sent = lines(&supervisor.compose());
    assert_eq!(sent.len(), 1, "one stream waits once");
    assert_eq!(sent[0]["params"]["text"], "abc");
}
