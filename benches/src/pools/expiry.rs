//! Very many waiters that all reach their deadlines, one after the other: how much CPU do they cost?
//!
//! The only connection is lent all the time, so nobody is served. What is measured is the CPU time
//! of this process, from the first waiter to the end of the last one: the time in between is spent
//! waiting.

use std::time::Duration;

use tokio::task::JoinSet;

use super::load::Workers;
use super::subjects::{AsyncSubject, Factory};

/// The waiters and their deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// How many wait at once.
    pub waiters: u32,
    /// When the first one gives up.
    pub first: Duration,
    /// How much later the last one gives up. The others are spread evenly in between.
    pub spread: Duration,
}

/// CPU nanoseconds per waiter, on a new pool and a runtime with one thread; `None` where the system
/// does not count them.
///
/// # Panics
///
/// If the pool does not lend its only connection, or lends it twice.
#[must_use]
pub(super) fn run<S: AsyncSubject>(expiry: &Expiry) -> Option<f64> {
    Workers::One.runtime().block_on(async {
        let pool = S::build(1, Factory::default()).await;
        let lease = pool.acquire().await;
        let lease = lease.expect("an unused pool lends its connection");
        let before = cpu_time()?;
        let mut tasks = JoinSet::new();
        for number in 0..expiry.waiters {
            let time = expiry.first + expiry.spread * number / expiry.waiters;
            tasks.spawn(wait(pool.clone(), time));
        }
        let mut served = 0;
        while let Some(joined) = tasks.join_next().await {
            served += usize::from(joined.unwrap_or(true));
        }
        let used = cpu_time()? - before;
        assert_eq!(
            served, 0,
            "a waiter was served though the connection was lent"
        );
        drop(lease);
        Some(used.as_secs_f64() * 1e9 / f64::from(expiry.waiters))
    })
}

async fn wait<S: AsyncSubject>(pool: S, time: Duration) -> bool {
    pool.acquire_within(time).await.is_ok()
}

/// CPU time of this process so far, of all its threads.
#[cfg(unix)]
fn cpu_time() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};

    let now = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    now.ok().map(Duration::from)
}

#[cfg(not(unix))]
fn cpu_time() -> Option<Duration> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Duration;

    use super::{Expiry, run};
    use crate::pools::subjects::{BareSemaphore, PoolCore};

    #[test]
    fn every_waiter_gives_up_at_its_own_time() {
        let expiry = Expiry {
            waiters: 50,
            first: Duration::from_millis(5),
            spread: Duration::from_millis(20),
        };
        assert!(run::<PoolCore>(&expiry) > Some(0.0));
        assert!(run::<BareSemaphore>(&expiry) > Some(0.0));
    }
}
