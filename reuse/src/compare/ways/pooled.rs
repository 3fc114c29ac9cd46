//! A pool of children that serve one request at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{ConnectionPool, async_trait};
use pool_stdio::{Children, StdioConnection, StdioConnector};

use super::Way;
use super::child::{counted, not_warm, request, resident_bytes};
use crate::compare::framing::MessageCodec;
use crate::compare::problem::Problem;
use crate::compare::task::Task;
use crate::measure::Stopwatch;

/// A pool of children that serve one request at a time.
pub(in crate::compare) struct Pooled<C: MessageCodec> {
    pool: ConnectionPool<StdioConnection<C>>,
    children: Children,
    started: Arc<AtomicU64>,
    message: Vec<u8>,
    patience: Duration,
}

impl<C: MessageCodec> Pooled<C> {
    /// All children are started before the first request, as in a program that has run for a while.
    pub(in crate::compare) async fn open(
        connector: StdioConnector<C>,
        task: &Task,
    ) -> Result<Self, Problem> {
        let (connector, started) = counted(connector);
        let children = connector.children();
        let built = ConnectionPool::builder(connector)
            .name("reuse")
            .max_size(task.size)
            .connect_timeout(task.patience)
            .build();
        let pool = built.map_err(|error| Problem::NotStarted(error.to_string()))?;
        let warmed = pool.warm_up(task.size).await;
        warmed.map_err(|error| not_warm(&error))?;
        Ok(Self {
            pool,
            children,
            started,
            message: task.message.clone(),
            patience: task.patience,
        })
    }
}

#[async_trait]
impl<C: MessageCodec> Way for Pooled<C> {
    fn name(&self) -> &'static str {
        "pooled"
    }

    async fn ask(&self) -> Result<Duration, Problem> {
        let watch = Stopwatch::start();
        let lent = self.pool.acquire().await;
        let mut child = lent.map_err(|error| Problem::of_acquire(&error))?;
        request(&mut child, &self.message, self.patience).await?;
        Ok(watch.elapsed())
    }

    fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    fn resident_bytes_max(&self) -> Option<u64> {
        self.children.pids().into_iter().map(resident_bytes).sum()
    }
}
