//! A process for each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{Connector, async_trait};
use pool_stdio::{StdioConnector, Stop};

use super::Way;
use super::child::{counted, request, resident_bytes};
use crate::compare::framing::MessageCodec;
use crate::compare::look::context;
use crate::compare::problem::Problem;
use crate::compare::task::Task;
use crate::measure::Stopwatch;

/// A process for each request: started, asked and killed. Waiting for it to end by itself would
/// only take longer.
pub(in crate::compare) struct Spawned<C: MessageCodec> {
    connector: StdioConnector<C>,
    started: Arc<AtomicU64>,
    asked: AtomicU64,
    /// Of the largest child.
    resident_bytes: AtomicU64,
    concurrency: u64,
    message: Vec<u8>,
    patience: Duration,
}

impl<C: MessageCodec> Spawned<C> {
    pub(in crate::compare) fn new(connector: StdioConnector<C>, task: &Task) -> Self {
        let (connector, started) = counted(connector);
        Self {
            connector,
            started,
            asked: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            concurrency: task.limits.concurrency as u64,
            message: task.message.clone(),
            patience: task.patience,
        }
    }
}

#[async_trait]
impl<C: MessageCodec> Way for Spawned<C> {
    fn name(&self) -> &'static str {
        "spawn per request"
    }

    async fn ask(&self) -> Result<Duration, Problem> {
        let watch = Stopwatch::start();
        let opened = self.connector.connect(&context(self.patience)).await;
        let mut child = opened.map_err(|error| Problem::of_connect(&error))?;
        request(&mut child, &self.message, self.patience).await?;
        let took = watch.elapsed();
        // Not for every child: reading it takes a noticeable part of a short life.
        if self
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(SEEN_ONE_IN)
            && let Some(bytes) = resident_bytes(child.process().pid())
        {
            self.resident_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
        child.terminate(Stop::Force).await;
        Ok(took)
    }

    fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    fn resident_bytes_max(&self) -> Option<u64> {
        let one = self.resident_bytes.load(Ordering::Relaxed);
        (one > 0).then_some(one * self.concurrency)
    }
}

/// Memory is read of one child in so many.
const SEEN_ONE_IN: u64 = 16;
