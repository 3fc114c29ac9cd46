//! The ways to get a request answered that are compared.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{ConnectionPool, Connector, WarmUpError, async_trait};
use pool_stdio::{Children, StdioConnection, StdioConnector, Stop};

use super::Task;
use super::finding::{Finding, chain};
use super::framing::MessageCodec;
use super::look::context;
use crate::measure::clock::Stopwatch;

/// One way.
#[async_trait]
pub(super) trait Way: Send + Sync {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// One request. Returns when the next one may begin, with the time until the reply.
    async fn ask(&self) -> Result<Duration, Finding>;

    /// How many processes were started.
    fn started(&self) -> u64;

    /// The most memory that the processes at one time can have had, where the system tells.
    fn resident_bytes_max(&self) -> Option<u64>;
}

/// A process for each request: started, asked, killed. That is the least that can be done: whoever
/// waits for it to end by itself waits longer.
pub(super) struct Spawned<C> {
    connector: StdioConnector<C>,
    started: Arc<AtomicU64>,
    asked: AtomicU64,
    /// Of the largest one.
    resident_bytes: AtomicU64,
    concurrency: u64,
    message: Vec<u8>,
    patience: Duration,
}

impl<C: MessageCodec> Spawned<C> {
    pub(super) fn new(connector: StdioConnector<C>, task: &Task) -> Self {
        let (connector, started) = counted(connector);
        Self {
            connector,
            started,
            asked: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            concurrency: task.contest.concurrency as u64,
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

    async fn ask(&self) -> Result<Duration, Finding> {
        let watch = Stopwatch::start();
        let opened = self.connector.connect(&context(self.patience)).await;
        let mut child = opened.map_err(|error| Finding::of_connect(&error))?;
        request(&mut child, &self.message, self.patience).await?;
        let took = watch.elapsed();
        // Not each one: reading it takes a noticeable part of the life of a short one.
        if self
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(SEEN_ONE_IN)
            && let Some(bytes) = resident_bytes(child.pid())
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

/// A pool of children that serve one request at a time.
pub(super) struct Pooled<C: MessageCodec> {
    pool: ConnectionPool<StdioConnection<C>>,
    children: Children,
    started: Arc<AtomicU64>,
    message: Vec<u8>,
    patience: Duration,
}

impl<C: MessageCodec> Pooled<C> {
    /// The children are there before the first request, as in a program that has run for a while.
    pub(super) async fn open(connector: StdioConnector<C>, task: &Task) -> Result<Self, Finding> {
        let (connector, started) = counted(connector);
        let children = connector.children();
        let built = ConnectionPool::builder(connector)
            .name("reuse")
            .max_size(task.size)
            .connect_timeout(task.patience)
            .build();
        let pool = built.map_err(|error| Finding::NotStarted(error.to_string()))?;
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

    async fn ask(&self) -> Result<Duration, Finding> {
        let watch = Stopwatch::start();
        let lent = self.pool.acquire().await;
        let mut child = lent.map_err(|error| Finding::of_acquire(&error))?;
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

async fn request<C: MessageCodec>(
    child: &mut StdioConnection<C>,
    message: &[u8],
    patience: Duration,
) -> Result<(), Finding> {
    let asked = child.request(message).within(patience).await;
    asked.map(drop).map_err(|error| Finding::of(&error))
}

/// Counts the children that were started.
fn counted<C: MessageCodec>(connector: StdioConnector<C>) -> (StdioConnector<C>, Arc<AtomicU64>) {
    let started = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&started);
    let connector = connector.handshake(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    });
    (connector, started)
}

pub(super) fn not_warm(error: &WarmUpError) -> Finding {
    Finding::NotStarted(chain(error))
}

/// The most memory that a process has had, without what it has started.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    resident_bytes_in(&status)
}

fn resident_bytes_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

const SEEN_ONE_IN: u64 = 16;

#[cfg(test)]
mod tests {
    use super::resident_bytes_in;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        let status = "Name:\tcat\nVmHWM:\t    1840 kB\nVmRSS:\t    1700 kB\n";
        assert_eq!(resident_bytes_in(status), Some(1840 * 1024));
        assert_eq!(resident_bytes_in("Name:\tgone\n"), None);
    }
}
