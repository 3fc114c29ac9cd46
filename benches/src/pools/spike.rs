//! A burst of short requests on a pool with a few warm connections and room for many slow ones.
//!
//! A pool that answers each waiter with a connect of its own ends with as many connections as
//! requests, although the warm ones could have served all of them before the first connect was
//! done.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::pools::load::{Workers, open_all};
use crate::pools::subjects::{AsyncSubject, Factory};
use pool_reuse::measure::clock::Stopwatch;

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

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How many requests were served.
    pub served: usize,
    /// The time until the last request had ended.
    pub took: Duration,
    /// Connects that were completed, the warm ones not counted.
    pub connects: usize,
    /// Connections that were open when all connects under way had ended too.
    pub size: usize,
}

/// Runs the spike on a new pool and on a runtime with two workers.
///
/// # Panics
///
/// If the pool cannot even be warmed.
#[must_use]
pub fn run<S: AsyncSubject>(spike: &Spike) -> Outcome {
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

        // The last connect may have begun with the last request.
        tokio::time::sleep(spike.connect_time * 2).await;
        Outcome {
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
