//! A subject without its type, so that different pools fit into one list.

use std::time::Duration;

use super::expiry::{self, Expiry};
use super::load::{self, Load, Workers};
use super::probe::{NoProbe, WaitProbe};
use super::spike::{self, Spike, SpikeCounts};
use super::stampede::{self, Stampede, StampedeCounts};
use super::subjects::{AsyncSubject, BlockingSubject, ComparedAs, ServingOrder};
use super::threads;
use pool_reuse::measure::Percentiles;

/// One subject with the measurements that fit it.
#[derive(Debug, Clone, Copy)]
pub struct Contender {
    /// Its name in the tables.
    pub name: &'static str,
    /// How it takes part in a comparison.
    pub compared_as: ComparedAs,
    time: fn(&Load) -> (Duration, Vec<NoProbe>),
    wait: fn(&Load) -> (Duration, Vec<WaitProbe>),
    bursts: Option<Bursts>,
}

#[derive(Debug, Clone, Copy)]
struct Bursts {
    stampede: fn(&Stampede) -> StampedeCounts,
    spike: fn(&Spike) -> SpikeCounts,
    expiry: fn(&Expiry) -> Option<f64>,
}

impl Contender {
    /// An asynchronous pool.
    #[must_use]
    pub(super) fn asynchronous<S: AsyncSubject>() -> Self {
        Self {
            name: S::NAME,
            compared_as: S::COMPARED_AS,
            time: load::run::<S, NoProbe>,
            wait: load::run::<S, WaitProbe>,
            bursts: Some(Bursts {
                stampede: stampede::run::<S>,
                spike: spike::run::<S>,
                expiry: expiry::run::<S>,
            }),
        }
    }

    /// The same as what another subject is compared with.
    #[must_use]
    pub(super) const fn as_peer(self) -> Self {
        Self {
            compared_as: ComparedAs::Peer(ServingOrder::Fifo),
            ..self
        }
    }

    /// A pool that blocks threads.
    #[must_use]
    pub(super) fn blocking<S: BlockingSubject>() -> Self {
        Self {
            name: S::NAME,
            compared_as: ComparedAs::Blocking,
            time: threads::run::<S, NoProbe>,
            wait: threads::run::<S, WaitProbe>,
            bursts: None,
        }
    }

    /// The time of one acquire and drop in nanoseconds over all tasks, without a clock read in
    /// between; `None` if the subject cannot bear the load.
    ///
    /// On one worker only the rest of the machine makes a pass slower, so the best of a few passes
    /// counts: of as many for each subject, or fast ones would have more chances. On two workers a pass can also be faster by luck (while one worker sleeps, the other
    /// has no contention), so there is one pass.
    #[must_use]
    pub fn per_op_ns(&self, load: &Load) -> Option<f64> {
        let mut best = self.one_pass_ns(load)?;
        if load.workers == Workers::One {
            for _ in 1..PASSES {
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

    /// The cost per operation under both loads, measured one right after the other.
    #[must_use]
    pub fn growth_ns(&self, small: &Load, large: &Load) -> Option<(f64, f64)> {
        if self.compared_as == ComparedAs::Blocking {
            return None;
        }
        Some((self.per_op_ns(small)?, self.per_op_ns(large)?))
    }

    /// How many of a stampede were served.
    #[must_use]
    pub fn stampede(&self, stampede: &Stampede) -> Option<StampedeCounts> {
        self.bursts.map(|bursts| (bursts.stampede)(stampede))
    }

    /// How a spike went. A baseline has no connections to count.
    #[must_use]
    pub fn spike(&self, spike: &Spike) -> Option<SpikeCounts> {
        if self.compared_as == ComparedAs::Baseline {
            return None;
        }
        self.bursts.map(|bursts| (bursts.spike)(spike))
    }

    /// CPU time per waiter that reaches its deadline, in nanoseconds.
    #[must_use]
    pub fn expiry_ns(&self, expiry: &Expiry) -> Option<f64> {
        self.bursts.and_then(|bursts| (bursts.expiry)(expiry))
    }

    /// The load as this subject can bear it. Threads that wait for each other are slower than tasks
    /// by orders of magnitude, so fewer operations are enough.
    fn fitted(&self, load: &Load) -> Option<Load> {
        match self.compared_as {
            ComparedAs::Blocking if load.tasks > THREADS_MAX => None,
            ComparedAs::Blocking if load.tasks > load.connections => {
                Some(load.shortened(BLOCKING_DIVISOR))
            }
            ComparedAs::Blocking
            | ComparedAs::Ours
            | ComparedAs::Peer(_)
            | ComparedAs::Baseline => Some(*load),
        }
    }
}

const THREADS_MAX: usize = 64;
const BLOCKING_DIVISOR: usize = 8;
const PASSES: usize = 3;
