//! One child for all callers, for commands that answer by id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector,
    SharedConnector, SharedPool, async_trait,
};
use pool_stdio::{Children, JsonRpcConnection, JsonRpcConnector};

use super::Way;
use super::child::{not_warm, resident_bytes};
use crate::compare::by_id::{ask, connector};
use crate::compare::problem::Problem;
use crate::compare::task::Task;
use crate::measure::Stopwatch;

/// A pool of one child that all callers share.
pub(in crate::compare) struct Multiplexed {
    pool: SharedPool<JsonRpcConnection>,
    children: Children,
    started: Arc<AtomicU64>,
    message: Bytes,
    patience: Duration,
}

impl Multiplexed {
    /// The child is started before the first request, as in a program that has run for a while.
    pub(in crate::compare) async fn open(task: &Task) -> Result<Self, Problem> {
        let inner = connector(task)?;
        let children = inner.children();
        let started = Arc::new(AtomicU64::new(0));
        let counted = CountedConnector {
            inner,
            started: Arc::clone(&started),
        };
        let built = SharedPool::builder(counted)
            .name("reuse")
            .max_size(1)
            .connect_timeout(task.patience)
            .build();
        let pool = built.map_err(|error| Problem::NotStarted(error.to_string()))?;
        pool.warm_up(1).await.map_err(|error| not_warm(&error))?;
        Ok(Self {
            pool,
            children,
            started,
            message: task.message.clone().into(),
            patience: task.patience,
        })
    }
}

#[async_trait]
impl Way for Multiplexed {
    fn name(&self) -> &'static str {
        "multiplexed"
    }

    async fn ask(&self) -> Result<Duration, Problem> {
        let watch = Stopwatch::start();
        let lent = self.pool.acquire().await;
        let child = lent.map_err(|error| Problem::of_acquire(&error))?;
        ask(&child, self.message.clone(), self.patience).await?;
        Ok(watch.elapsed())
    }

    fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    fn resident_bytes_max(&self) -> Option<u64> {
        self.children.pids().into_iter().map(resident_bytes).sum()
    }
}

/// Counts the children that it starts.
struct CountedConnector {
    inner: JsonRpcConnector,
    started: Arc<AtomicU64>,
}

#[async_trait]
impl Connector for CountedConnector {
    type Connection = JsonRpcConnection;

    async fn connect(&self, cx: &ConnectContext) -> Result<Self::Connection, ConnectError> {
        let child = self.inner.connect(cx).await?;
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(child)
    }

    fn is_alive(&self, child: &Self::Connection) -> bool {
        self.inner.is_alive(child)
    }

    fn died(&self, child: &Self::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        self.inner.died(child)
    }

    async fn check(&self, child: &mut Self::Connection) -> Result<(), CheckError> {
        self.inner.check(child).await
    }

    async fn close(&self, child: Self::Connection, reason: CloseReason) {
        self.inner.close(child, reason).await;
    }
}

#[async_trait]
impl SharedConnector for CountedConnector {
    async fn check_shared(&self, child: &Self::Connection) -> Result<(), CheckError> {
        self.inner.check_shared(child).await
    }
}
