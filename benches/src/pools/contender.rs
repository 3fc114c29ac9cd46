//! A subject without its type, so that different pools can stand in one list.

use std::time::Duration;

use crate::pools::load::{self, Load, Workers};
use crate::pools::probe::{NoProbe, WaitProbe};
use crate::pools::spike::{self, Spike};
use crate::pools::stampede::{self, Stampede};
use crate::pools::subjects::{AsyncSubject, BlockingSubject, Role};
use crate::pools::threads;
use pool_reuse::measure::clock::Stopwatch;
use pool_reuse::measure::stats::Percentiles;

/// One subject, with the measurements it can be put to.
#[derive(Debug, Clone, Copy)]
pub struct Contender {
    /// Its name in the tables.
    pub name: &'static str,
    /// What it is compared as.
    pub role: Role,
    time: fn(&Load) -> (Duration, Vec<NoProbe>),
    wait: fn(&Load) -> (Duration, Vec<WaitProbe>),
    bursts: Option<Bursts>,
}

#[derive(Debug, Clone, Copy)]
struct Bursts {
    stampede: fn(&Stampede) -> stampede::Outcome,
    spike: fn(&Spike) -> spike::Outcome,
}

impl Contender {
    /// An asynchronous pool.
    #[must_use]
    pub fn asynchronous<S: AsyncSubject>() -> Self {
        Self {
            name: S::NAME,
            role: S::ROLE,
            time: load::run::<S, NoProbe>,
            wait: load::run::<S, WaitProbe>,
            bursts: Some(Bursts {
                stampede: stampede::run::<S>,
                spike: spike::run::<S>,
            }),
        }
    }

    /// A pool that blocks threads.
    #[must_use]
    pub fn blocking<S: BlockingSubject>() -> Self {
        Self {
            name: S::NAME,
            role: Role::Blocking,
            time: threads::run::<S, NoProbe>,
            wait: threads::run::<S, WaitProbe>,
            bursts: None,
        }
    }

    /// The time of one acquire and drop in nanoseconds, all tasks together, without a clock read in
    /// between; `None` if the load is beyond the subject.
    ///
    /// On one worker nothing but the rest of the machine makes one pass slower than another, so the
    /// best of a few passes counts. On two workers luck makes passes faster too (a worker that
    /// sleeps spares the other one all contention), so there is one pass.
    #[must_use]
    pub fn per_op_ns(&self, load: &Load) -> Option<f64> {
        let watch = Stopwatch::start();
        let mut best = self.one_pass_ns(load)?;
        if load.workers == Workers::One {
            for _ in 1..PASSES_MAX {
                if watch.elapsed() >= PASSES_TIME {
                    break;
                }
                best = best.min(self.one_pass_ns(load)?);
            }
        }
        Some(best)
    }

    /// The same, of a single pass.
    #[must_use]
    pub fn one_pass_ns(&self, load: &Load) -> Option<f64> {
        let load = self.fitted(load)?;
        let took = (self.time)(&load).0;
        Some(took.as_secs_f64() * 1e9 / load.ops_done() as f64)
    }

    /// How long the acquires of the load waited.
    #[must_use]
    pub fn waits(&self, load: &Load) -> Option<Percentiles> {
        let load = self.fitted(load)?;
        WaitProbe::percentiles(&(self.wait)(&load).1)
    }

    /// The cost per operation under both loads, one right after the other.
    #[must_use]
    pub fn growth_ns(&self, small: &Load, large: &Load) -> Option<(f64, f64)> {
        if self.role == Role::Blocking {
            return None;
        }
        Some((self.per_op_ns(small)?, self.per_op_ns(large)?))
    }

    /// How many of a stampede were served.
    #[must_use]
    pub fn stampede(&self, stampede: &Stampede) -> Option<stampede::Outcome> {
        self.bursts.map(|bursts| (bursts.stampede)(stampede))
    }

    /// What a spike left behind. A baseline has no connections to count.
    #[must_use]
    pub fn spike(&self, spike: &Spike) -> Option<spike::Outcome> {
        if self.role == Role::Baseline {
            return None;
        }
        self.bursts.map(|bursts| (bursts.spike)(spike))
    }

    /// The load as this subject can bear it. Threads that wait for each other are slower by orders
    /// of magnitude than tasks, so fewer operations say as much.
    fn fitted(&self, load: &Load) -> Option<Load> {
        match self.role {
            Role::Blocking if load.tasks > THREADS_MAX => None,
            Role::Blocking if load.tasks > load.connections => {
                Some(load.shortened(BLOCKING_DIVISOR))
            }
            Role::Blocking | Role::Ours | Role::Peer(_) | Role::Baseline => Some(*load),
        }
    }
}

const THREADS_MAX: usize = 64;
const BLOCKING_DIVISOR: usize = 8;
const PASSES_MAX: usize = 5;
/// No further pass begins after this time, so that slow subjects do not cost the most.
const PASSES_TIME: Duration = Duration::from_millis(100);
