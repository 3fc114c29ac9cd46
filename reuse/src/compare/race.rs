//! How much is asked of each way: in turns, round after round, so that what disturbs the machine for
//! a while disturbs all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::finding::Finding;
use super::ways::Way;
use crate::measure::clock::Stopwatch;
use crate::measure::progress::Progress;
use crate::measure::stats::{Percentiles, Waits};

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contest {
    /// Of each way, in all.
    pub(super) requests_max: u64,
    /// Callers at once.
    pub(super) concurrency: usize,
    /// For all ways together.
    pub(super) time: Duration,
}

/// What one way showed.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) name: &'static str,
    /// Requests per second, one for each round.
    pub(super) rates: Vec<f64>,
    /// Of all rounds.
    pub(super) waits: Option<Percentiles>,
    pub(super) requests: u64,
    pub(super) started: u64,
    pub(super) resident_bytes: Option<u64>,
}

/// Asks all ways. Ends in about the time given, and when each has had its requests.
pub(super) async fn run(ways: &[Arc<dyn Way>], contest: Contest) -> Result<Vec<Tally>, Finding> {
    let turns = ROUNDS * ways.len();
    let slice = contest.time / u32::try_from(turns).expect("there are few");
    let mut progress = Progress::new(turns);
    let mut legs: Vec<Leg> = ways.iter().map(|_| Leg::default()).collect();
    let watch = Stopwatch::start();
    for round in 0..ROUNDS {
        // A way that takes longer than its slice for one request must not take it five times.
        if round > 0 && watch.elapsed() >= contest.time {
            break;
        }
        for turn in 0..ways.len() {
            let which = (round + turn) % ways.len();
            progress.begin(ways[which].name());
            let quota = share(contest.requests_max, round);
            legs[which]
                .run(&ways[which], contest.concurrency, quota, slice)
                .await?;
            progress.advance();
        }
    }
    progress.clear();
    let tallies = ways.iter().zip(legs);
    Ok(tallies.map(|(way, leg)| leg.tally(way.as_ref())).collect())
}

/// The requests of one round, so that all rounds together have all.
fn share(requests: u64, round: usize) -> u64 {
    let (rounds, round) = (ROUNDS as u64, round as u64);
    requests / rounds + u64::from(round < requests % rounds)
}

/// What one way has shown so far.
#[derive(Default)]
struct Leg {
    rates: Vec<f64>,
    waits: Waits,
    requests: u64,
}

impl Leg {
    async fn run(
        &mut self,
        way: &Arc<dyn Way>,
        concurrency: usize,
        quota: u64,
        slice: Duration,
    ) -> Result<(), Finding> {
        if quota == 0 {
            return Ok(());
        }
        let taken = Arc::new(AtomicU64::new(0));
        let watch = Stopwatch::start();
        let mut callers: JoinSet<Result<Vec<Duration>, Finding>> = JoinSet::new();
        for _ in 0..concurrency {
            let (way, taken) = (Arc::clone(way), Arc::clone(&taken));
            callers.spawn(async move {
                let mut waits = Vec::new();
                while taken.fetch_add(1, Ordering::Relaxed) < quota {
                    waits.push(way.ask().await?);
                    if watch.elapsed() >= slice {
                        break;
                    }
                }
                Ok(waits)
            });
        }
        let mut requests: u32 = 0;
        while let Some(joined) = callers.join_next().await {
            for wait in joined.expect("no caller panics")? {
                let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                self.waits.record_ns(wait_ns);
                requests += 1;
            }
        }
        let seconds = watch.elapsed().as_secs_f64();
        self.requests += u64::from(requests);
        self.rates.push(f64::from(requests) / seconds);
        Ok(())
    }

    fn tally(self, way: &dyn Way) -> Tally {
        Tally {
            name: way.name(),
            rates: self.rates,
            waits: self.waits.percentiles(),
            requests: self.requests,
            started: way.started(),
            resident_bytes: way.resident_bytes_max(),
        }
    }
}

/// As many as give a median and a spread.
pub(super) const ROUNDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::{ROUNDS, share};

    #[test]
    fn all_rounds_together_have_all_requests() {
        for requests in [1, 4, 5, 12, 1000] {
            let sum: u64 = (0..ROUNDS).map(|round| share(requests, round)).sum();
            assert_eq!(sum, requests);
        }
    }
}
