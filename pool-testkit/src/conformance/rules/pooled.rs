//! The connector in a pool, with a ledger beside it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{ConnectionId, ConnectionPool, Connector, PooledConnection};
use tokio::runtime::Handle;

use super::super::Subject;
use super::super::trial::{Shared, Verdict, broken, demand, failed, missing};
use crate::ledger::Ledger;

/// A pool of the subject's connections.
struct Pooled<'a, C: Connector> {
    subject: &'a Subject<C>,
    pool: ConnectionPool<C::Connection>,
    ledger: Ledger,
}

impl<'a, C: Connector> Pooled<'a, C> {
    fn new(subject: &'a Subject<C>, max_size: usize) -> Verdict<Self> {
        let ledger = Ledger::new(max_size);
        let millisecond = Duration::from_millis(1);
        let built = ConnectionPool::builder(Shared(Arc::clone(&subject.connector)))
            .name("conformance")
            .max_size(max_size)
            .acquire_timeout(subject.limit)
            .connect_timeout(subject.limit)
            // Young deaths are what is tested here: paced, or a connector whose connections all die
            // at once would keep the pool busy for ever, but not for long.
            .retry_delay(millisecond, millisecond)
            .observer(Arc::new(ledger.clone()))
            .build();
        match built {
            Ok(pool) => Ok(Self {
                subject,
                pool,
                ledger,
            }),
            Err(error) => failed("the build of a pool", error),
        }
    }

    async fn acquire(&self) -> Verdict<PooledConnection<C::Connection>> {
        match self.pool.acquire().await {
            Ok(lease) => Ok(lease),
            Err(error) => failed("an acquire", error),
        }
    }

    /// Acquires, makes an exchange and returns. Says which connection it was.
    async fn use_once(&self) -> Verdict<ConnectionId> {
        let mut lease = self.acquire().await?;
        self.subject.exchange_if_told(&mut lease).await?;
        Ok(PooledConnection::id(&lease))
    }

    /// The only connection dies after it came home, and the pool gets the time to hear of it.
    async fn dies_idle(&self, id: ConnectionId) -> Verdict {
        let lease = self.acquire().await?;
        let Some(kill) = &self.subject.kill else {
            return missing("kill");
        };
        let killing = kill(&lease);
        drop(lease);
        self.subject.bounded("the kill", killing).await?;
        let is_replaced = || match self.pool.try_acquire() {
            Ok(lease) => PooledConnection::id(&lease) != id,
            Err(_) => true,
        };
        let otherwise = "a connection that died idle is still lent";
        self.subject.soon(otherwise, is_replaced).await
    }

    async fn end(self) -> Verdict {
        let report = self.pool.close(self.subject.limit).await;
        demand(report.is_complete(), || {
            format!("the pool did not close: {report:?}")
        })?;
        match self.ledger.breach() {
            Some(breach) => broken(breach.to_string()),
            None => Ok(()),
        }
    }
}

pub(super) async fn reuses<C: Connector>(subject: &Subject<C>) -> Verdict {
    let pooled = Pooled::new(subject, 1)?;
    let first = pooled.use_once().await?;
    for _ in 0..REUSES {
        let next = pooled.use_once().await?;
        demand(next == first, || {
            format!("{first} was replaced by {next} after one use")
        })?;
    }
    pooled.end().await
}

pub(super) async fn replaces_dead<C: Connector>(subject: &Subject<C>) -> Verdict {
    let pooled = Pooled::new(subject, 1)?;
    let lease = pooled.acquire().await?;
    let first = PooledConnection::id(&lease);
    subject.kill_it(&lease).await?;
    let is_dead = || !subject.connector.is_alive(&lease);
    let otherwise = "`is_alive` is still true of a dead lease";
    subject.soon(otherwise, is_dead).await?;
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

pub(super) async fn nothing_leaks<C: Connector>(subject: &Subject<C>) -> Verdict {
    let before = subject.resources_now()?;
    let tasks = Handle::current().metrics().num_alive_tasks();
    let descriptors = descriptors();
    let pooled = Pooled::new(subject, 2)?;
    for cycle in 0..subject.cycles {
        let mut lease = pooled.acquire().await?;
        subject.exchange_if_told(&mut lease).await?;
        if cycle % 2 == 0 {
            PooledConnection::discard(lease);
        } else {
            drop(lease);
            pooled.pool.evict_all();
        }
    }
    pooled.end().await?;
    subject.gone(&before, "after the pool closed").await?;
    // Others of this process come and go meanwhile; what leaks grows with the cycles.
    let allowed = subject.cycles / 2;
    let otherwise = "more tasks than half the cycles are left";
    let alive = || Handle::current().metrics().num_alive_tasks();
    subject
        .soon(otherwise, || alive() <= tasks + allowed)
        .await?;
    let otherwise = "more descriptors than half the cycles are left";
    subject
        .soon(otherwise, || self::descriptors() <= descriptors + allowed)
        .await
}

/// How many descriptors this process has open; 0 where that cannot be seen.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

const REUSES: u32 = 8;
