//! One run of a scenario.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::{SharedPool, TargetLeases};
use tokio::runtime;
use tokio::time::{Instant, sleep_until};

use super::callers::{Caller, Callers};
use super::peer::{Peer, SimulatedConnector, SimulatedServer};
use super::random::SharedRandom;
use super::trace::{Sample, Trace};

/// A pool, what is behind it, and who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What is behind the pool.
    pub(crate) peer: Peer,
    /// Who asks.
    pub(crate) callers: Callers,
    /// The target of the pool.
    pub(crate) target: TargetLeases,
    /// The most connections.
    pub(crate) max_size: usize,
    /// When connections that are not needed are closed.
    pub(crate) idle_timeout: Duration,
    /// After how many leases a connection is replaced.
    pub(crate) max_uses: Option<u64>,
    /// How long it takes.
    pub(crate) seconds: u32,
    /// What comes by chance comes from this.
    pub(crate) seed: u64,
}

impl Scenario {
    /// With 16 connections at most, for a minute, with the default target.
    pub(crate) fn new(name: &'static str, peer: Peer, callers: Callers) -> Self {
        Self {
            name,
            peer,
            callers,
            target: TargetLeases::default(),
            max_size: 16,
            idle_timeout: Duration::from_secs(10),
            max_uses: None,
            seconds: 60,
            seed: 1,
        }
    }

    /// With another target.
    pub(crate) fn target(self, target: impl Into<TargetLeases>) -> Self {
        let target = target.into();
        Self { target, ..self }
    }

    /// With other randomness.
    pub(crate) const fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// For a longer or shorter time.
    pub(crate) const fn seconds(self, seconds: u32) -> Self {
        Self { seconds, ..self }
    }

    /// Runs it on a clock of its own.
    pub(crate) fn run(&self) -> Trace {
        let mut builder = runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        runtime
            .expect("a runtime needs nothing that is not there")
            .block_on(self.trace())
    }

    async fn trace(&self) -> Trace {
        let random = Arc::new(SharedRandom::new(self.seed));
        let server = Arc::new(SimulatedServer::new(self.peer, Arc::clone(&random)));
        let pool = SharedPool::builder(SimulatedConnector(server))
            .max_size(self.max_size)
            .target_leases(self.target)
            .idle_timeout(self.idle_timeout)
            .acquire_timeout(Duration::from_secs(3600))
            .max_uses(self.max_uses)
            .max_lifetime(None)
            .check_interval(None)
            .build()
            .expect("the settings are valid");
        let caller = Caller {
            pool: pool.clone(),
            completed: Arc::new(AtomicUsize::new(0)),
            random,
            began: Instant::now(),
        };
        let callers = caller.start(self.callers);
        let mut samples = Vec::new();
        let mut before = 0;
        for number in 1..=self.seconds * SAMPLES_PER_SECOND {
            sleep_until(caller.began + number * Duration::from_secs(1) / SAMPLES_PER_SECOND).await;
            let completed = caller.completed.load(Ordering::Relaxed);
            let status = pool.status();
            samples.push(Sample {
                seconds: f64::from(number) / f64::from(SAMPLES_PER_SECOND),
                completed: completed - before,
                open: status.idle + status.leased,
                leased: status.leased,
                leases: status.leases,
                target: status.target_leases.unwrap_or_default(),
            });
            before = completed;
        }
        drop(callers);
        pool.close(Duration::from_secs(60)).await;
        Trace { samples }
    }
}

const SAMPLES_PER_SECOND: u32 = 10;
