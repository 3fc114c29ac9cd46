//! The connector in a pool, with a ledger beside it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{ConnectionId, ConnectionPool, Connector, PooledConnection};
use tokio::runtime::Handle;

use crate::conformance::trial::{
    SharedSubject, Trial, TrialResult, broken, demand, failed, missing,
};
use crate::ledger::Ledger;

/// A pool of the subject's connections.
struct Pooled<'a, C: Connector> {
    trial: &'a Trial<'a, C>,
    pool: ConnectionPool<C::Connection>,
    ledger: Ledger,
}

impl<'a, C: Connector> Pooled<'a, C> {
    fn new(trial: &'a Trial<'a, C>, max_size: usize) -> TrialResult<Self> {
        let ledger = Ledger::new(max_size);
        let millisecond = Duration::from_millis(1);
        let built = ConnectionPool::builder(SharedSubject(Arc::clone(trial.connector)))
            .name("conformance")
            .max_size(max_size)
            .acquire_timeout(trial.limit())
            .connect_timeout(trial.limit())
            // Trials kill and discard young connections on purpose, which must not slow the pool down
            // or make it refuse. Still some delay, or a connector whose connections all die at once
            // would keep it spinning.
            .retry_delay(millisecond, millisecond)
            .fail_fast_after(1_000)
            .observer(Arc::new(ledger.clone()))
            .build();
        match built {
            Ok(pool) => Ok(Self {
                trial,
                pool,
                ledger,
            }),
            Err(error) => failed("the build of a pool", error),
        }
    }

    async fn acquire(&self) -> TrialResult<PooledConnection<C::Connection>> {
        match self.pool.acquire().await {
            Ok(lease) => Ok(lease),
            Err(error) => failed("an acquire", error),
        }
    }

    /// Acquires, makes an exchange and returns the connection. Returns which one it was.
    async fn use_once(&self) -> TrialResult<ConnectionId> {
        let mut lease = self.acquire().await?;
        self.trial.exchange_if_told(&mut lease).await?;
        Ok(PooledConnection::id(&lease))
    }

    /// Lets the only connection die while it is idle, and waits until the pool lends it no more.
    async fn dies_idle(&self, id: ConnectionId) -> TrialResult {
        let lease = self.acquire().await?;
        let Some(kill) = &self.trial.subject.kill else {
            return missing("kill");
        };
        let killing = kill(&lease);
        drop(lease);
        self.trial.bounded("the kill", killing).await?;
        let is_replaced = || match self.pool.try_acquire() {
            Ok(lease) => PooledConnection::id(&lease) != id,
            Err(_) => true,
        };
        let otherwise = "a connection that died idle is still lent";
        self.trial.soon(otherwise, is_replaced).await
    }

    async fn end(self) -> TrialResult {
        let report = self.pool.close(self.trial.limit()).await;
        demand(report.is_complete(), || {
            format!("the pool did not close: {report:?}")
        })?;
        match self.ledger.breach() {
            Some(breach) => broken(breach.to_string()),
            None => Ok(()),
        }
    }
}

pub(super) async fn reuses<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let pooled = Pooled::new(trial, 1)?;
    let first = pooled.use_once().await?;
    for _ in 0..REUSES {
        let next = pooled.use_once().await?;
        demand(next == first, || {
            format!("{first} was replaced by {next} after one use")
        })?;
    }
    pooled.end().await
}

pub(super) async fn replaces_dead<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let pooled = Pooled::new(trial, 1)?;
    let lease = pooled.acquire().await?;
    let first = PooledConnection::id(&lease);
    trial.kill_it(&lease).await?;
    let is_dead = || !trial.connector.is_alive(&lease);
    let otherwise = "`is_alive` is still true of a dead lease";
    trial.soon(otherwise, is_dead).await?;
    drop(lease);
    let second = pooled.use_once().await?;
    demand(second != first, || {
        format!("{first} died leased and was lent again")
    })?;
    pooled.dies_idle(second).await?;
    let third = pooled.use_once().await?;
    demand(third != second, || {
        format!("{second} died idle and was lent again")
    })?;
    pooled.end().await
}

pub(super) async fn nothing_leaks<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let before = trial.resources_now()?;
    let tasks = Handle::current().metrics().num_alive_tasks();
    let descriptors = descriptors();
    let pooled = Pooled::new(trial, 2)?;
    for cycle in 0..trial.subject.cycles {
        let mut lease = pooled.acquire().await?;
        trial.exchange_if_told(&mut lease).await?;
        if cycle % 2 == 0 {
            PooledConnection::discard(lease);
        } else {
            drop(lease);
            pooled.pool.evict_all();
        }
    }
    pooled.end().await?;
    trial.gone(&before, "after the pool closed").await?;
    // A leak grows with the cycles; one of discards alone, or of evictions alone, with half of them.
    // Few other tasks run on this runtime.
    let half = trial.subject.cycles / 2;
    let otherwise = "more tasks than a quarter of the cycles are left";
    let alive = || Handle::current().metrics().num_alive_tasks();
    trial
        .soon(otherwise, || alive() <= tasks + half / 2)
        .await?;
    // Other tests of this process open and close descriptors meanwhile.
    let otherwise = "as many descriptors as half the cycles are left";
    trial
        .soon(otherwise, || {
            self::descriptors() < descriptors + half.max(1)
        })
        .await
}

/// How many descriptors this process has open; 0 where the system does not say.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

const REUSES: u32 = 8;
