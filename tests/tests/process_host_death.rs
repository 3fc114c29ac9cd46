//! A host that ends, in every way that a host can, leaves nothing of its children.

#![cfg(all(target_os = "linux", not(pool_stdio_portable)))]

mod common;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use common::HOST;
use pool_tests::ended_host::{DEAF, ENDINGS, GRACE, HANG, Host, MARGIN};

/// Plays each ending with each server in both scopes, a few at a time.
fn play_the_matrix(variables: &[(&str, &str)]) {
    let mut rows = VecDeque::new();
    for ending in ENDINGS {
        for (script, leaves_group) in SERVERS {
            for scope in ["group", "tree"] {
                rows.push_back((ending, scope, script, leaves_group));
            }
        }
    }
    let rows = Mutex::new(rows);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let next = rows.lock().expect("no thread panicked").pop_front();
                    let Some(row) = next else {
                        return;
                    };
                    let (ending, scope, script, leaves_group) = row;
                    let host =
                        Host::start(HOST, &["end-of-the-host", ending, scope, script], variables);
                    let is_killed = ending.starts_with("kill");
                    if leaves_group && scope == "group" {
                        let left = host.end(is_killed, GRACE + 2 * MARGIN);
                        assert!(
                            left.is_err(),
                            "{row:?}: the scope is not documented to reach it"
                        );
                        continue;
                    }
                    let end = host.end(is_killed, HANG);
                    end.unwrap_or_else(|left| panic!("{row:?} left {left:?}"));
                }
            });
        }
    });
}

#[test]
fn nothing_of_any_scope_is_left_however_the_host_ends() {
    play_the_matrix(&[]);
}

#[test]
fn nothing_is_left_by_a_host_that_is_its_own_guardian() {
    play_the_matrix(&[("POOL_TESTS_GUARD_MAIN", "1")]);
}

#[test]
fn nothing_is_left_by_fifty_hosts_that_were_killed() {
    let left = pool_tests::soak::hosts::kill(HOST, 50);
    assert!(left.is_empty(), "{left:?}");
}

/// What a child does, and whether something of it leaves the process group.
const SERVERS: [(&str, bool); 7] = [
    ("echo up >&2; exec cat", false),
    ("echo up >&2; exec sleep 300", false),
    (DEAF, false),
    (
        "sh -c \"trap '' TERM; while :; do sleep 300; done\" & echo up >&2; exec cat",
        false,
    ),
    (
        "setsid sh -c 'echo up >&2; exec sleep 300' </dev/null >/dev/null & exec cat",
        true,
    ),
    (
        "(setsid sh -c 'echo up >&2; exec sleep 300' </dev/null >/dev/null &); exec cat",
        true,
    ),
    ("echo up >&2; kill -STOP $$; exec sleep 300", false),
];
