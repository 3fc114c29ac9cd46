//! Hosts that are killed while their children run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use crate::ended_host::{DEAF, HANG, Host};

/// What the children do: leave at the end of their input, ignore it, ignore all, leave the group.
const SERVERS: [&str; 4] = [
    "echo up >&2; exec cat",
    "sleep 300 & echo up >&2; exec cat",
    DEAF,
    "(setsid sh -c 'echo up >&2; exec sleep 300' </dev/null >/dev/null &); exec cat",
];

/// Kills so many hosts, some at a time, each with children of one kind, and each second one with its
/// guardian killed before. Returns what was left.
///
/// # Panics
///
/// If a host cannot be started.
#[must_use]
pub fn kill(program: &str, count: usize) -> Vec<String> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut left = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return left;
                        }
                        left.extend(kill_one(program, number));
                    }
                })
            })
            .collect();
        let left = workers.into_iter().map(ScopedJoinHandle::join);
        left.flat_map(|left| left.expect("no worker panicked"))
            .collect()
    })
}

fn kill_one(program: &str, number: usize) -> Vec<String> {
    let words = ["end-of-the-host", "kill", "tree", SERVERS[number % 4]];
    let mut host = Host::start(program, &words, &[]);
    let is_replaced = number / 4 % 2 == 1;
    if is_replaced {
        host.replace_guardian();
    }
    let left = host.end(true, HANG).err().unwrap_or_default();
    let of = format!("server {}, guardian replaced: {is_replaced}", number % 4);
    left.into_iter().map(|it| format!("{it} ({of})")).collect()
}
