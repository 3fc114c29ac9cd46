//! One timed run of a client: so many callers, so many calls.

use std::time::Duration;

use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use tokio::task::JoinSet;

use super::bare::Bare;
use super::client::Client;

/// What one run showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lap {
    /// Requests per second.
    pub(super) rate: f64,
    /// The median time of a call, in microseconds.
    pub(super) p50: f64,
    /// The time that 99 of 100 calls do not reach, in microseconds.
    pub(super) p99: f64,
}

/// The median time of a call over bare pipes, in microseconds.
pub(super) async fn bare_p50(mut bare: Bare, calls: u32) -> Measured<(Bare, f64)> {
    let caller = async move {
        let mut times = Vec::with_capacity(usize::try_from(calls)?);
        for _ in 0..calls {
            let watch = Stopwatch::start();
            bare.call().await?;
            times.push(watch.elapsed_ns());
        }
        times.sort_unstable();
        Ok((bare, micros(&times, 50)))
    };
    // In a task, since the other callers are tasks too.
    let mut tasks = JoinSet::new();
    tasks.spawn(caller);
    tasks.join_next().await.ok_or("the caller was spawned")??
}

/// Requests per second over bare pipes, in batches as large as if so many callers called at once.
pub(super) async fn bare_rate(mut bare: Bare, callers: u32, calls: u32) -> Measured<(Bare, f64)> {
    let batches = calls / callers;
    let caller = async move {
        let watch = Stopwatch::start();
        for _ in 0..batches {
            bare.calls(callers).await?;
        }
        let seconds = watch.elapsed().as_secs_f64();
        Ok((bare, f64::from(batches * callers) / seconds))
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(caller);
    tasks.join_next().await.ok_or("the caller was spawned")??
}

/// Each caller makes one call after the other, until all of them together have made so many.
pub(super) async fn run(client: &Client, callers: u32, calls: u32) -> Measured<Lap> {
    let each = calls / callers;
    let mut tasks = JoinSet::new();
    let mut all = Vec::with_capacity(usize::try_from(calls)?);
    let watch = Stopwatch::start();
    for _ in 0..callers {
        let client = client.clone();
        tasks.spawn(async move { caller(&client, each).await });
    }
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    let seconds = watch.elapsed().as_secs_f64();
    all.sort_unstable();
    Ok(Lap {
        rate: f64::from(each * callers) / seconds,
        p50: micros(&all, 50),
        p99: micros(&all, 99),
    })
}

/// A percentile of sorted nanoseconds, in microseconds.
fn micros(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    let nanos = sorted.get(at).copied().unwrap_or_default();
    Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

/// Times are kept in a list, since adding one to a histogram costs more than a call. The clock is
/// read once per call: the end of one call is the start of the next.
async fn caller(client: &Client, calls: u32) -> Measured<Vec<u64>> {
    let mut times = Vec::with_capacity(usize::try_from(calls)?);
    let watch = Stopwatch::start();
    let mut before = 0;
    for _ in 0..calls {
        client.call().await?;
        let now = watch.elapsed_ns();
        times.push(now - before);
        before = now;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[test]
    fn a_percentile_is_the_time_that_so_many_of_a_hundred_do_not_reach() {
        let sorted: Vec<u64> = (0..200).map(|number| number * 1_000).collect();
        assert!((micros(&sorted, 50) - 100.0).abs() < 1e-6);
        assert!((micros(&sorted, 99) - 198.0).abs() < 1e-6);
        assert!((micros(&[7_000], 99) - 7.0).abs() < 1e-6);
    }
}
