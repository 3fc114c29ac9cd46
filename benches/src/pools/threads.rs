//! The same load as in [`load`](super::load), of threads, for pools that block.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::load::{Hold, Load, warm_up};
use super::probe::Probe;
use super::subjects::{BlockingSubject, Factory, Refused};
use pool_reuse::measure::Stopwatch;

/// Runs the load on a new pool with one thread for each task. Returns the time from start to finish,
/// and one probe for each thread.
///
/// # Panics
///
/// If the pool refuses a connection, or the system a thread.
#[must_use]
pub(super) fn run<S: BlockingSubject, P: Probe>(load: &Load) -> (Duration, Vec<P>) {
    let pool = S::build(load.connections, Factory::default());
    let start = Barrier::new(load.tasks + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..load.tasks)
            .map(|_| scope.spawn(|| member(&pool, load, &start)))
            .collect();
        start.wait();
        let watch = Stopwatch::start();
        start.wait();
        let probes = threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread of a load panics"))
            .collect::<Result<Vec<P>, Refused>>();
        (
            watch.elapsed(),
            probes.expect("every acquire of a load succeeds"),
        )
    })
}

fn member<S: BlockingSubject, P: Probe>(
    pool: &S,
    load: &Load,
    start: &Barrier,
) -> Result<P, Refused> {
    let ops = load.ops_per_task();
    let warmed = work(pool, warm_up(ops), load, &mut P::with_capacity(ops));
    let mut probe = P::with_capacity(ops);
    start.wait();
    start.wait();
    // Not earlier: the other threads would wait at the start for ever.
    warmed?;
    work(pool, ops, load, &mut probe)?;
    Ok(probe)
}

fn work<S: BlockingSubject, P: Probe>(
    pool: &S,
    ops: usize,
    load: &Load,
    probe: &mut P,
) -> Result<(), Refused> {
    for _ in 0..ops {
        let began = P::begin();
        let lease = pool.acquire()?;
        probe.served(began);
        black_box(&lease);
        if load.hold == Hold::OneYield {
            thread::yield_now();
        }
        drop(lease);
        load.afterwards.run();
    }
    Ok(())
}
