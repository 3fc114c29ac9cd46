//! Tasks that borrow a connection and give it back, again and again.
//!
//! The clock starts when all tasks are warmed up and wait at the start, and stops when the last one
//! has finished. Opening connections and spawning tasks are not part of the figure.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::probe::Probe;
use super::subjects::{AsyncSubject, Factory, Refused};
use pool_reuse::measure::Stopwatch;

/// How many tasks do how many operations on how many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Tasks, or threads for a blocking pool.
    pub tasks: usize,
    /// The size of the pool. All connections are open before the start.
    pub connections: usize,
    /// About how many acquires all tasks do together: see [`ops_per_task`](Self::ops_per_task).
    pub ops: usize,
    /// What a task does while it holds a connection.
    pub hold: Hold,
    /// What a task does after it has given a connection back.
    pub afterwards: Afterwards,
    /// What the tasks run on.
    pub workers: Workers,
}

impl Load {
    /// The acquires of each task: an equal share, at least one.
    #[must_use]
    pub fn ops_per_task(&self) -> usize {
        (self.ops / self.tasks).max(1)
    }

    /// The acquires that all tasks really do.
    #[must_use]
    pub fn ops_done(&self) -> usize {
        self.ops_per_task() * self.tasks
    }

    /// The same load with fewer acquires.
    #[must_use]
    pub const fn shortened(self, divisor: usize) -> Self {
        Self {
            ops: self.ops / divisor,
            ..self
        }
    }
}

/// What a task does while it holds a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nothing: it gives it back at once.
    Nothing,
    /// Lets the other tasks run once.
    OneYield,
}

/// What a task does after it has given a connection back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Nothing: it acquires again.
    Nothing,
    /// Computes for this long without a yield.
    Compute(Duration),
}

impl Afterwards {
    /// Does it.
    #[inline]
    pub(super) fn run(self) {
        if let Self::Compute(time) = self {
            let watch = Stopwatch::start();
            while watch.elapsed() < time {
                spin_loop();
            }
        }
    }
}

/// What the tasks run on. Blocking pools have their own threads instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// A current-thread runtime.
    One,
    /// A multi-thread runtime with two workers.
    Two,
}

impl Workers {
    /// A new runtime of this kind, with timers.
    ///
    /// # Panics
    ///
    /// If the system refuses threads or file descriptors.
    #[must_use]
    pub fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::One => Builder::new_current_thread(),
            Self::Two => Builder::new_multi_thread(),
        };
        if self == Self::Two {
            builder.worker_threads(2);
        }
        builder
            .enable_all()
            .build()
            .expect("the system grants a small runtime")
    }
}

/// Runs the load on a new pool and runtime. Returns the time from start to finish, and one probe for
/// each task.
///
/// # Panics
///
/// If the pool refuses a connection: a figure without all its work would be worth nothing.
#[must_use]
pub(super) fn run<S: AsyncSubject, P: Probe>(load: &Load) -> (Duration, Vec<P>) {
    load.workers.runtime().block_on(async {
        let pool = S::build(load.connections, Factory::default()).await;
        let measured = match open_all(&pool, load.connections).await {
            Ok(()) if load.tasks == 1 => alone(&pool, load).await,
            Ok(()) => together(&pool, load).await,
            Err(refused) => Err(refused),
        };
        measured.expect("every acquire of a load succeeds")
    })
}

/// Makes the pool open `count` connections, then lets it settle.
///
/// # Errors
///
/// The first refusal.
pub(super) async fn open_all<S: AsyncSubject>(pool: &S, count: usize) -> Result<(), Refused> {
    let mut leases = Vec::with_capacity(count);
    for _ in 0..count {
        leases.push(pool.acquire().await?);
    }
    drop(leases);
    // Some pools take a connection back in a task of theirs.
    for _ in 0..SETTLING_YIELDS {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// One task inside `block_on` itself: no other task delays it.
async fn alone<S: AsyncSubject, P: Probe>(
    pool: &S,
    load: &Load,
) -> Result<(Duration, Vec<P>), Refused> {
    let ops = load.ops_per_task();
    work(pool, warm_up(ops), load, &mut P::with_capacity(ops)).await?;
    let mut probe = P::with_capacity(ops);
    let watch = Stopwatch::start();
    work(pool, ops, load, &mut probe).await?;
    Ok((watch.elapsed(), vec![probe]))
}

async fn together<S: AsyncSubject, P: Probe>(
    pool: &S,
    load: &Load,
) -> Result<(Duration, Vec<P>), Refused> {
    // The first wait gathers the tasks. Then the clock starts, and the second wait releases them.
    let start = Arc::new(Barrier::new(load.tasks + 1));
    let mut tasks = JoinSet::new();
    for _ in 0..load.tasks {
        tasks.spawn(member(pool.clone(), *load, Arc::clone(&start)));
    }
    start.wait().await;
    let watch = Stopwatch::start();
    start.wait().await;
    let mut probes = Vec::with_capacity(load.tasks);
    while let Some(joined) = tasks.join_next().await {
        probes.push(joined.expect("no task of a load panics or is aborted")?);
    }
    Ok((watch.elapsed(), probes))
}

async fn member<S: AsyncSubject, P: Probe>(
    pool: S,
    load: Load,
    start: Arc<Barrier>,
) -> Result<P, Refused> {
    let ops = load.ops_per_task();
    let warmed = work(&pool, warm_up(ops), &load, &mut P::with_capacity(ops)).await;
    let mut probe = P::with_capacity(ops);
    start.wait().await;
    start.wait().await;
    // Not earlier: the other tasks would wait at the start for ever.
    warmed?;
    work(&pool, ops, &load, &mut probe).await?;
    Ok(probe)
}

async fn work<S: AsyncSubject, P: Probe>(
    pool: &S,
    ops: usize,
    load: &Load,
    probe: &mut P,
) -> Result<(), Refused> {
    for _ in 0..ops {
        let began = P::begin();
        let lease = pool.acquire().await?;
        probe.served(began);
        black_box(&lease);
        if load.hold == Hold::OneYield {
            tokio::task::yield_now().await;
        }
        drop(lease);
        load.afterwards.run();
    }
    Ok(())
}

/// How many operations come before the measured ones.
pub(crate) const fn warm_up(ops: usize) -> usize {
    ops.div_ceil(WARM_UP_SHARE)
}

const WARM_UP_SHARE: usize = 10;
const SETTLING_YIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Afterwards, Hold, Load, Workers, run};
    use crate::pools::probe::WaitProbe;
    use crate::pools::subjects::BareSemaphore;

    const LOAD: Load = Load {
        tasks: 3,
        connections: 2,
        ops: 100,
        hold: Hold::OneYield,
        afterwards: Afterwards::Nothing,
        workers: Workers::Two,
    };

    #[test]
    fn tasks_share_the_operations_and_each_has_at_least_one() {
        assert_eq!((LOAD.ops_per_task(), LOAD.ops_done()), (33, 99));
        let short = LOAD.shortened(1_000);
        assert_eq!((short.ops_per_task(), short.ops_done()), (1, 3));
    }

    #[test]
    fn every_task_does_its_share_and_nothing_of_the_warm_up_is_recorded() {
        let (_, probes) = run::<BareSemaphore, WaitProbe>(&LOAD);
        let recorded: Vec<usize> = probes.iter().map(|probe| probe.waits_ns().len()).collect();
        assert_eq!(recorded, [33, 33, 33]);
    }

    #[test]
    fn one_task_alone_does_all_the_operations() {
        let load = Load {
            tasks: 1,
            workers: Workers::One,
            ..LOAD
        };
        let (_, probes) = run::<BareSemaphore, WaitProbe>(&load);
        assert_eq!(probes.len(), 1);
        assert_eq!(probes[0].waits_ns().len(), 100);
    }
}
