//! Many callers, and children that are killed at random: every request ends as its own right answer
//! or as a typed error, and all is well again when the killing stops.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{AcquireError, ConnectionPool};
use pool_stdio::{Children, StdioError};
use pool_testkit::fixture::Behaviour;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::bed::{Pool, assert_line, eager, kill, on_both_runtimes};

const CALLERS: u64 = 16;
const LASTS: Duration = Duration::from_secs(1);
const KILL_EACH: Duration = Duration::from_millis(20);

/// What became of the requests.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn requests_to_children_that_are_killed_at_random_end_right_or_with_an_error() {
    let seed = RandomState::new().hash_one("chaos");
    // It decides who is killed and who gives up; when, is up to the machine.
    show(seed);
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo());
        let children = connector.children();
        let pool = eager(ConnectionPool::builder(connector)).max_size(4);
        let pool = pool.min_idle(2).build().unwrap();
        let tally = Arc::new(Tally::default());
        let until = Instant::now() + LASTS;
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let chance = Chance { seed, caller };
            callers.spawn(ask(pool.clone(), Arc::clone(&tally), chance, until));
        }
        destroy(&children, seed, until).await;
        while let Some(ended) = callers.join_next().await {
            ended.expect("no caller has seen anything wrong");
        }
        assert!(tally.answered.load(Ordering::Relaxed) > 0, "{tally:?}");

        // Afterwards it is as if nothing had been.
        for number in 0..50 {
            let mut lease = pool.acquire().await.unwrap();
            let line = format!("after {number}");
            if lease.is_alive() {
                let outcome = lease.request(line.clone()).await;
                // The last one that was killed may have been lent a moment before.
                if number > 4 {
                    assert_line(outcome, line);
                }
            }
        }
        assert!(pool.status().size() <= 4);
    });
}

#[expect(clippy::print_stdout, reason = "shown if the test fails")]
fn show(seed: u64) {
    println!("seed {seed}");
}

async fn ask(pool: Pool, tally: Arc<Tally>, chance: Chance, until: Instant) {
    let caller = chance.caller;
    for number in 0.. {
        if Instant::now() >= until {
            return;
        }
        let mut lease = match pool.acquire().await {
            Ok(lease) => lease,
            Err(error) => {
                assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
                add(&tally.failed);
                tokio::task::yield_now().await;
                continue;
            }
        };
        let line = format!("caller {caller} number {number}");
        // One in eight is given up after a moment, answered or not.
        let limit = if chance.is_one_in(8, number) {
            Duration::from_micros(50)
        } else {
            Duration::from_secs(10)
        };
        match timeout(limit, lease.request(line.clone())).await {
            Ok(Ok(reply)) => {
                assert_eq!(reply.bytes, line, "somebody else's answer");
                add(&tally.answered);
            }
            Ok(Err(error)) => {
                let is_a_death = matches!(
                    error,
                    StdioError::Exited { .. }
                        | StdioError::OutputClosed { .. }
                        | StdioError::InputClosed { .. }
                );
                assert!(is_a_death, "{error}");
                assert!(lease.is_dirty());
                add(&tally.failed);
            }
            Err(_) => {
                assert!(lease.is_dirty());
                add(&tally.cancelled);
            }
        }
    }
}

async fn destroy(children: &Children, seed: u64, until: Instant) {
    let chance = Chance {
        seed,
        caller: CALLERS,
    };
    let mut each = interval(KILL_EACH);
    for number in 0.. {
        each.tick().await;
        if Instant::now() >= until {
            return;
        }
        let pids = children.pids();
        if !pids.is_empty() {
            let which = chance.number(number) % pids.len() as u64;
            kill(pids[usize::try_from(which).unwrap()]);
        }
    }
}

/// The same decisions for the same seed.
struct Chance {
    seed: u64,
    caller: u64,
}

impl Chance {
    fn number(&self, number: u64) -> u64 {
        // SplitMix64.
        let mut mixed =
            self.seed ^ (self.caller << 48) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn is_one_in(&self, count: u64, number: u64) -> bool {
        self.number(number).is_multiple_of(count)
    }
}
