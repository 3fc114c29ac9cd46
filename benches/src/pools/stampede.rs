//! Very many tasks at once on very few connections: do all of them get one?

use std::time::Duration;

use tokio::task::JoinSet;

use super::load::{Workers, open_all};
use super::subjects::{AsyncSubject, Factory};
use pool_reuse::measure::Stopwatch;

/// How many tasks on how many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stampede {
    /// Tasks; each borrows once and yields once while it holds.
    pub tasks: usize,
    /// The size of the pool.
    pub connections: usize,
}

/// How a stampede went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampedeCounts {
    /// How many tasks were served.
    pub served: usize,
    /// The time until the last task had ended, spawning included.
    pub took: Duration,
}

/// Runs the stampede on a new pool and on a runtime with two workers.
///
/// # Panics
///
/// If the pool cannot even be filled.
#[must_use]
pub(super) fn run<S: AsyncSubject>(stampede: &Stampede) -> StampedeCounts {
    Workers::Two.runtime().block_on(async {
        let pool = S::build(stampede.connections, Factory::default()).await;
        open_all(&pool, stampede.connections)
            .await
            .expect("an unused pool lends its connections");
        let watch = Stopwatch::start();
        let mut tasks = JoinSet::new();
        for _ in 0..stampede.tasks {
            tasks.spawn(borrow_once(pool.clone()));
        }
        let mut served = 0;
        while let Some(joined) = tasks.join_next().await {
            served += usize::from(joined.unwrap_or(false));
        }
        StampedeCounts {
            served,
            took: watch.elapsed(),
        }
    })
}

async fn borrow_once<S: AsyncSubject>(pool: S) -> bool {
    let lease = pool.acquire().await;
    tokio::task::yield_now().await;
    lease.is_ok()
}
