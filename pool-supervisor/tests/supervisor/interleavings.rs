//! Random requests in random order to several children, compared with a model of what must be said.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::driver::{Driver, chunk, spawn_params};

#[derive(Debug, Clone)]
enum Step {
    Spawn {
        child: usize,
        kind: usize,
        credit: u32,
        drops: bool,
        drain_millis: u64,
    },
    Write {
        child: usize,
        bytes: usize,
    },
    Close {
        child: usize,
    },
    Grant {
        child: usize,
        bytes: u32,
    },
    Cancel {
        child: usize,
        force: bool,
    },
    Signal {
        child: usize,
    },
    List,
    Nonsense,
    /// Waits for the answers to all that was asked.
    Catch,
}

/// A time that is over at once, or soon.
fn millis() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(20)]
}

fn step() -> impl Strategy<Value = Step> {
    let child = 0..CHILDREN;
    prop_oneof![
        4 => (child.clone(), 0..SCRIPTS.len(), 0_u32..200_000, any::<bool>(), millis())
            .prop_map(|(child, kind, credit, drops, drain_millis)| Step::Spawn { child, kind, credit, drops, drain_millis }),
        4 => (child.clone(), 0_usize..100_000).prop_map(|(child, bytes)| Step::Write { child, bytes }),
        2 => child.clone().prop_map(|child| Step::Close { child }),
        4 => (child.clone(), 0_u32..100_000).prop_map(|(child, bytes)| Step::Grant { child, bytes }),
        1 => (child.clone(), any::<bool>()).prop_map(|(child, force)| Step::Cancel { child, force }),
        1 => child.prop_map(|child| Step::Signal { child }),
        1 => Just(Step::List),
        1 => Just(Step::Nonsense),
        2 => Just(Step::Catch),
    ]
}

const CHILDREN: usize = 3;
const SCRIPTS: [&str; 4] = [
    "exec cat",
    "head -c 150000 /dev/zero; exit 3",
    "sleep 1000 & echo left; exit 0",
    "trap '' TERM; cat; echo late; while :; do sleep 0.01; done",
];

/// What was asked, by id.
#[derive(Debug)]
enum Asked {
    Spawn(String),
    Other,
}

/// What must hold of one child, from `spawned` to `terminated`.
#[derive(Debug, Default)]
struct Life {
    has_exited: bool,
    /// Bytes and number of the next `output`, of each stream.
    streams: BTreeMap<String, (u64, u64)>,
    dropped: BTreeMap<String, u64>,
    ended: BTreeSet<String>,
}

fn check(said: &[Value], asked: &BTreeMap<i64, Asked>, granted: &BTreeMap<String, u64>) {
    let mut living: BTreeMap<String, Life> = BTreeMap::new();
    let mut answered = BTreeSet::new();
    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    for message in said {
        let Some(method) = message["method"].as_str() else {
            let Some(id) = message["id"].as_i64() else {
                assert_eq!(message["error"]["data"]["kind"], "notJson");
                continue;
            };
            assert!(answered.insert(id), "{id} is answered once");
            if let Asked::Spawn(child) = &asked[&id] {
                let is_started = message.get("result").is_some();
                assert!(
                    !is_started || living.contains_key(child),
                    "spawned comes first"
                );
            }
            continue;
        };
        let params = &message["params"];
        let child = params["child"].as_str().unwrap().to_owned();
        if method == "spawned" {
            assert!(living.insert(child, Life::default()).is_none(), "told once");
            continue;
        }
        let life = living
            .get_mut(&child)
            .expect("spawned first and terminated last");
        let stream = params["stream"].as_str().unwrap_or_default().to_owned();
        match method {
            "output" => {
                assert!(
                    !life.ended.contains(&stream),
                    "nothing follows the end of a stream"
                );
                let (bytes, seq) = life.streams.entry(stream.clone()).or_default();
                assert_eq!(params["seq"], *seq);
                *seq += 1;
                let count = chunk(params).len() as u64;
                *bytes += count;
                *life.dropped.entry(stream).or_default() +=
                    params["droppedBytes"].as_u64().unwrap_or(0);
                let sent = sent.entry(child.clone()).or_default();
                *sent += count;
                assert!(*sent <= granted[&child], "no more than was granted");
            }
            "streamEnded" => assert!(life.ended.insert(stream), "told once"),
            "exit" => assert!(!std::mem::replace(&mut life.has_exited, true), "told once"),
            "terminated" => {
                assert!(life.has_exited, "the exit comes first");
                assert_eq!(params["survivors"]["count"], 0);
                for name in ["stdout", "stderr"] {
                    let (bytes, _) = life.streams.get(name).copied().unwrap_or_default();
                    assert_eq!(params[name]["bytes"], bytes);
                    let dropped = life.dropped.get(name).copied().unwrap_or_default();
                    assert!(params[name]["droppedBytes"].as_u64().unwrap() >= dropped);
                    assert!(life.ended.contains(name));
                }
                living.remove(&child);
            }
            other => panic!("{other}"),
        }
    }
    assert!(living.is_empty(), "all were terminated: {living:?}");
    let owed: Vec<_> = asked.keys().filter(|id| !answered.contains(id)).collect();
    assert!(owed.is_empty(), "everything is answered: {owed:?}");
}

fn play(steps: Vec<Step>, grace_millis: u64) {
    let mut driver = Driver::start();
    let mut asked: BTreeMap<i64, Asked> = [(1, Asked::Other)].into();
    let mut granted: BTreeMap<String, u64> = BTreeMap::new();
    let name = |child: usize| format!("child {child}");
    let mut caught = 1;
    for step in steps {
        let id = match step {
            Step::Spawn {
                child,
                kind,
                credit,
                drops,
                drain_millis,
            } => {
                let when_full = if drops { "dropOldest" } else { "pause" };
                let params = spawn_params(
                    &name(child),
                    SCRIPTS[kind],
                    json!({
                        "credit": {"stdout": credit},
                        "keep": {"bytesMax": 20_000, "whenFull": when_full},
                        "ladder": {"termGraceMs": 20, "drainIdleMs": 20, "drainTimeoutMs": drain_millis},
                        "scope": if drops { "group" } else { "tree" },
                    }),
                );
                *granted.entry(name(child)).or_default() += u64::from(credit);
                let id = driver.request("spawn", params);
                asked.insert(id, Asked::Spawn(name(child)));
                continue;
            }
            Step::Write { child, bytes } => {
                let text = "x".repeat(bytes);
                driver.request("write", json!({"child": name(child), "text": text}))
            }
            Step::Close { child } => driver.request("closeStdin", json!({"child": name(child)})),
            Step::Grant { child, bytes } => {
                *granted.entry(name(child)).or_default() += u64::from(bytes);
                let params = json!({"child": name(child), "stream": "stdout", "bytes": bytes});
                driver.request("grant", params)
            }
            Step::Cancel { child, force } => {
                let mode = if force { "force" } else { "orderly" };
                driver.request("cancel", json!({"child": name(child), "mode": mode}))
            }
            Step::Signal { child } => {
                driver.request("signal", json!({"child": name(child), "signal": "SIGTERM"}))
            }
            Step::List => driver.request("list", json!({})),
            Step::Nonsense => {
                driver.send_bytes(b"nonsense\n");
                continue;
            }
            Step::Catch => {
                let id = driver.request("list", json!({}));
                drop(driver.answer(id));
                caught = id;
                id
            }
        };
        asked.insert(id, Asked::Other);
    }
    assert!(caught > 0);
    let id = driver.request("shutdown", json!({"graceMs": grace_millis}));
    asked.insert(id, Asked::Other);
    let result = driver.answer(id).unwrap();
    assert_eq!(result["left"], json!([]));
    let (said, status) = driver.end();
    assert!(status.success());
    check(&said, &asked, &granted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]
    #[test]
    fn any_interleaving_is_answered_and_told_in_order(
        steps in proptest::collection::vec(step(), 1..40),
        grace_millis in millis(),
    ) {
        play(steps, grace_millis);
    }
}
