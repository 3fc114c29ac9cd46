//! Who asks, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::SharedPool;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::peer::SimulatedConnection;
use super::random::SharedRandom;

/// Callers that each take a lease for one request, after another or by chance.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Callers {
    /// So many, each of which asks again at once.
    Closed(u32),
    /// They come by chance, so many per second.
    Open(f64),
    /// They come by chance, ever more often, up to so many per second after this time.
    Rising {
        /// In the end.
        per_second: f64,
        /// Until then.
        rise: Duration,
    },
    /// So many that ask for the first time of each period, and then pause until its end.
    Bursts {
        /// How many.
        count: u32,
        /// How long they ask.
        ask: Duration,
        /// From one burst to the next.
        period: Duration,
    },
    /// Their number rises to this and falls to nothing, over and over.
    Waves {
        /// How many at most.
        most: u32,
        /// From one wave to the next.
        period: Duration,
    },
    /// So many that ask again and again, beside others that take a lease and keep it.
    BesideSessions {
        /// Those that ask.
        count: u32,
        /// Those that keep their lease.
        sessions: u32,
    },
}

/// What every caller has.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) pool: SharedPool<SimulatedConnection>,
    pub(crate) completed: Arc<AtomicUsize>,
    pub(crate) random: Arc<SharedRandom>,
    pub(crate) began: Instant,
}

impl Caller {
    /// Lets them ask until they are dropped.
    pub(crate) fn start(&self, callers: Callers) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        match callers {
            Callers::Closed(count) => {
                for _ in 0..count {
                    tasks.spawn(self.clone().ask_always());
                }
            }
            Callers::Open(per_second) => {
                tasks.spawn(self.clone().come_by_chance(per_second, Duration::ZERO));
            }
            Callers::Rising { per_second, rise } => {
                tasks.spawn(self.clone().come_by_chance(per_second, rise));
            }
            Callers::Bursts { count, ask, period } => {
                for _ in 0..count {
                    tasks.spawn(self.clone().ask_in_bursts(ask, period));
                }
            }
            Callers::Waves { most, period } => {
                for number in 0..most {
                    let height = f64::from(number) / f64::from(most);
                    tasks.spawn(self.clone().ask_in_waves(height, period));
                }
            }
            Callers::BesideSessions { count, sessions } => {
                for _ in 0..sessions {
                    tasks.spawn(self.clone().hold());
                }
                for _ in 0..count {
                    tasks.spawn(self.clone().ask_always());
                }
            }
        }
        tasks
    }

    async fn ask(&self) {
        let lease = self.pool.acquire().await.expect("it can be served");
        if lease.request().await {
            self.completed.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn ask_always(self) {
        loop {
            self.ask().await;
        }
    }

    async fn hold(self) {
        let lease = self.pool.acquire().await.expect("it can be served");
        std::future::pending::<()>().await;
        drop(lease);
    }

    async fn come_by_chance(self, per_second: f64, rise: Duration) {
        let mut asking = JoinSet::new();
        let mut next = self.began;
        loop {
            let passed = (next - self.began).as_secs_f64();
            let part = if next < self.began + rise {
                (passed / rise.as_secs_f64()).max(0.01)
            } else {
                1.0
            };
            let rate = per_second * part;
            next += self.random.exponential(Duration::from_secs_f64(1.0 / rate));
            tokio::time::sleep_until(next).await;
            let caller = self.clone();
            asking.spawn(async move { caller.ask().await });
            while asking.try_join_next().is_some() {}
        }
    }

    async fn ask_in_bursts(self, ask: Duration, period: Duration) {
        loop {
            let phase = self.phase(period);
            if phase < ask {
                self.ask().await;
            } else {
                sleep(period - phase).await;
            }
        }
    }

    async fn ask_in_waves(self, height: f64, period: Duration) {
        loop {
            let phase = self.phase(period).as_secs_f64() / period.as_secs_f64();
            let level = 0.5 - 0.5 * (phase * std::f64::consts::TAU).cos();
            if height < level {
                self.ask().await;
            } else {
                sleep(period / 100).await;
            }
        }
    }

    fn phase(&self, period: Duration) -> Duration {
        let nanos = self.began.elapsed().as_nanos() % period.as_nanos();
        Duration::from_nanos(u64::try_from(nanos).expect("less than a period"))
    }
}
