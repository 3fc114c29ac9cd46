//! A burst of short requests on a pool with a few warm connections and room for many slow ones.
//!
//! A pool that starts a connect for each waiter ends with as many connections as requests, although
//! the warm ones can serve all of them before the first connect is done.

use std::time::Duration;

use tokio::task::JoinSet;

use super::load::{Workers, open_all};
use super::subjects::{AsyncSubject, Factory};
use pool_reuse::measure::Stopwatch;

/// The burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spike {
    /// Requests that arrive at once.
    pub requests: usize,
    /// The size of the pool.
    pub connections: usize,
    /// How many connections are open and idle before.
    pub warm: usize,
    /// How long a connect takes.
    pub connect_time: Duration,
    /// How long a request holds its connection.
    pub work_time: Duration,
}

/// How a spike went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpikeCounts {
    /// How many requests were served.
    pub served: usize,
    /// The time until the last request had ended.
    pub took: Duration,
    /// Connects that were completed, the warm ones not counted.
    pub connects: usize,
    /// Connections that are open when all connects have ended.
    pub size: usize,
}

/// Runs the spike on a new pool and on a runtime with two workers.
///
/// # Panics
///
/// If the pool cannot even be warmed.
#[must_use]
pub(super) fn run<S: AsyncSubject>(spike: &Spike) -> SpikeCounts {
    Workers::Two.runtime().block_on(async {
        let factory = Factory::default();
        let pool = S::build(spike.connections, factory.clone()).await;
        open_all(&pool, spike.warm)
            .await
            .expect("an unused pool lends its connections");
        let warm = factory.opened();
        factory.set_connect_time(spike.connect_time);

        let watch = Stopwatch::start();
        let mut tasks = JoinSet::new();
        for _ in 0..spike.requests {
            tasks.spawn(request(pool.clone(), spike.work_time));
        }
        let mut served = 0;
        while let Some(joined) = tasks.join_next().await {
            served += usize::from(joined.unwrap_or(false));
        }
        let took = watch.elapsed();

        // The last connect can have started with the last request.
        tokio::time::sleep(spike.connect_time * 2).await;
        SpikeCounts {
            served,
            took,
            connects: factory.opened() - warm,
            size: factory.open(),
        }
    })
}

async fn request<S: AsyncSubject>(pool: S, work_time: Duration) -> bool {
    let lease = pool.acquire().await;
    tokio::time::sleep(work_time).await;
    lease.is_ok()
}
