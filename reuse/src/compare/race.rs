//! How many requests each way gets: in turns, round after round, so that whatever disturbs the machine
//! for a while disturbs all ways alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::problem::Problem;
use super::ways::Way;
use crate::measure::Progress;
use crate::measure::Stopwatch;
use crate::measure::{Percentiles, Waits, median};

/// How long the race is.
#[derive(Debug, Clone, Copy)]
pub(super) struct RaceLimits {
    /// The most requests that one way gets.
    pub(super) requests_max: u64,
    /// How many callers send requests at once.
    pub(super) concurrency: usize,
    /// The time for all ways together.
    pub(super) time: Duration,
}

/// What one way showed.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) name: &'static str,
    /// Requests per second, one for each round.
    pub(super) rates: Vec<f64>,
    /// The times of all requests.
    pub(super) waits: Option<Percentiles>,
    pub(super) requests: u64,
    /// Processes that were started.
    pub(super) started: u64,
    pub(super) resident_bytes: Option<u64>,
}

impl Tally {
    /// The median of the rounds, in requests per second; `None` if there were too few requests for
    /// a rate to mean anything.
    pub(super) fn rate(&self) -> Option<f64> {
        median(&self.rates).filter(|_| self.requests >= REQUESTS_MIN)
    }
}

/// Lets all ways answer requests. Ends after about the time given, or when each has had its requests.
pub(super) async fn run(ways: &[Arc<dyn Way>], limits: RaceLimits) -> Result<Vec<Tally>, Problem> {
    let turns = ROUNDS * ways.len();
    let slice = limits.time / u32::try_from(turns).expect("there are few turns");
    let mut progress = Progress::new(turns);
    let mut tallies: Vec<RunningTally> = ways.iter().map(|_| RunningTally::default()).collect();
    let watch = Stopwatch::start();
    for round in 0..ROUNDS {
        // A way that needs more than its slice for one request must not overrun it in every round.
        if round > 0 && watch.elapsed() >= limits.time {
            break;
        }
        for turn in 0..ways.len() {
            let which = (round + turn) % ways.len();
            progress.begin(ways[which].name());
            let quota = share(limits.requests_max, round);
            tallies[which]
                .run(&ways[which], limits.concurrency, quota, slice)
                .await?;
            progress.advance();
        }
    }
    progress.clear();
    let tallies = ways.iter().zip(tallies);
    Ok(tallies
        .map(|(way, tally)| tally.finish(way.as_ref()))
        .collect())
}

/// The requests of one round: all rounds together have all of them.
fn share(requests: u64, round: usize) -> u64 {
    let (rounds, round) = (ROUNDS as u64, round as u64);
    requests / rounds + u64::from(round < requests % rounds)
}

/// What one way showed so far.
#[derive(Default)]
struct RunningTally {
    rates: Vec<f64>,
    waits: Waits,
    requests: u64,
}

impl RunningTally {
    async fn run(
        &mut self,
        way: &Arc<dyn Way>,
        concurrency: usize,
        quota: u64,
        slice: Duration,
    ) -> Result<(), Problem> {
        if quota == 0 {
            return Ok(());
        }
        let taken = Arc::new(AtomicU64::new(0));
        let watch = Stopwatch::start();
        let mut callers: JoinSet<Result<Vec<Duration>, Problem>> = JoinSet::new();
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

    fn finish(self, way: &dyn Way) -> Tally {
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

/// Enough for a median and a spread.
const ROUNDS: usize = 5;
/// A rate from fewer requests is mostly chance.
pub(super) const REQUESTS_MIN: u64 = 20;

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
