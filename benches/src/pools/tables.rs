//! The table of each scenario.

use super::rounds::Series;
use super::scenario::{Answers, Standing, WaitFigure, growth, median_of};
use super::spike::SpikeCounts;
use super::stampede::StampedeCounts;
use super::subjects::{ComparedAs, ServingOrder};
use pool_reuse::measure::Table;
use pool_reuse::measure::{Percentiles, Summary, median, ratio};

/// The table of one scenario: a row for each subject, with its ratio to the best peer in the last
/// column. A pool for blocking threads and the baseline have a ratio too, but are never the best
/// peer. For waits a pool that serves out of turn is not a candidate either.
#[must_use]
pub fn table(answers: &Answers) -> String {
    let standings = answers.standings();
    match answers {
        Answers::Throughput(all) => throughput("ns/op", all, &standings),
        Answers::Expiry(all) => throughput("CPU ns/waiter", all, &standings),
        Answers::Waits(all, figure) => waits(all, *figure, &standings),
        Answers::Growth(all) => growths(all, &standings),
        Answers::Stampede(all) => stampedes(all, &standings),
        Answers::Spike(all) => spikes(all, &standings),
    }
}

fn throughput(unit: &str, all: &[Series<f64>], standings: &[Standing]) -> String {
    let mut table = Table::new(&["subject", unit, "least", "greatest", "x best peer"]);
    for series in all {
        let Some(summary) = Summary::of(&series.samples) else {
            continue;
        };
        table.add_row([
            label(series),
            whole(summary.median),
            whole(summary.least),
            whole(summary.greatest),
            show(to_best(is_peer, series.name, standings), times),
        ]);
    }
    table.to_string()
}

fn waits(all: &[Series<Percentiles>], figure: WaitFigure, standings: &[Standing]) -> String {
    let compared = format!("{} x best FIFO peer", figure.name());
    let mut table = Table::new(&[
        "subject",
        "mean us",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "worst us",
        "worst of all us",
        &compared,
    ]);
    for series in all {
        let samples = &series.samples;
        let micros = |pick: fn(&Percentiles) -> u64| {
            show(median_of(samples, |one| pick(one) as f64 / 1e3), tenths)
        };
        let worst_ns = samples.iter().map(|one| one.worst).max().unwrap_or(0);
        table.add_row([
            label(series),
            show(median_of(samples, |one| one.mean / 1e3), tenths),
            micros(|one| one.p50),
            micros(|one| one.p99),
            micros(|one| one.p999),
            micros(|one| one.worst),
            tenths(worst_ns as f64 / 1e3),
            show(to_best(is_fifo_peer, series.name, standings), times),
        ]);
    }
    table.to_string()
}

fn growths(all: &[Series<(f64, f64)>], standings: &[Standing]) -> String {
    let mut table = Table::new(&[
        "subject",
        "small ns/op",
        "large ns/op",
        "growth",
        "x semaphore's growth",
    ]);
    let baseline = standings
        .iter()
        .find(|one| one.compared_as == ComparedAs::Baseline);
    for series in all {
        let own = growth(&series.samples);
        let relative = own
            .zip(baseline)
            .and_then(|(own, base)| ratio(own, base.figure));
        table.add_row([
            label(series),
            show(median_of(&series.samples, |one| one.0), whole),
            show(median_of(&series.samples, |one| one.1), whole),
            show(own, times),
            show(relative, times),
        ]);
    }
    table.to_string()
}

fn stampedes(all: &[Series<StampedeCounts>], standings: &[Standing]) -> String {
    let mut table = Table::new(&["subject", "served", "ms", "x best peer"]);
    for series in all {
        let served = series
            .samples
            .iter()
            .map(|one| one.served)
            .min()
            .unwrap_or(0);
        let millis = median_of(&series.samples, |one| one.took.as_secs_f64() * 1e3);
        table.add_row([
            label(series),
            served.to_string(),
            show(millis, tenths),
            show(to_best(is_peer, series.name, standings), times),
        ]);
    }
    table.to_string()
}

fn spikes(all: &[Series<SpikeCounts>], standings: &[Standing]) -> String {
    let mut table = Table::new(&[
        "subject",
        "served",
        "connects",
        "final size",
        "ms",
        "x best peer",
    ]);
    for series in all {
        let count = |pick: fn(&SpikeCounts) -> usize| {
            let counts: Vec<f64> = series.samples.iter().map(|one| pick(one) as f64).collect();
            show(median(&counts), whole)
        };
        let millis = median_of(&series.samples, |one| one.took.as_secs_f64() * 1e3);
        table.add_row([
            label(series),
            count(|one| one.served),
            count(|one| one.connects),
            count(|one| one.size),
            show(millis, tenths),
            show(to_best(is_peer, series.name, standings), times),
        ]);
    }
    table.to_string()
}

fn to_best(among: fn(ComparedAs) -> bool, name: &str, standings: &[Standing]) -> Option<f64> {
    let own = standings.iter().find(|one| one.name == name)?;
    let best = standings
        .iter()
        .filter(|one| among(one.compared_as))
        .map(|one| one.figure)
        .min_by(f64::total_cmp)?;
    ratio(own.figure, best)
}

const fn is_peer(compared_as: ComparedAs) -> bool {
    matches!(compared_as, ComparedAs::Peer(_))
}

const fn is_fifo_peer(compared_as: ComparedAs) -> bool {
    matches!(compared_as, ComparedAs::Peer(ServingOrder::Fifo))
}

fn label<T>(series: &Series<T>) -> String {
    match series.compared_as {
        ComparedAs::Ours | ComparedAs::Peer(_) => series.name.to_owned(),
        ComparedAs::Blocking => format!("{} (threads)", series.name),
        ComparedAs::Baseline => format!("{} (no pool)", series.name),
    }
}

fn show(value: Option<f64>, format: fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), format)
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

fn times(value: f64) -> String {
    format!("{value:.2}")
}

#[cfg(test)]
mod tests {
    use super::{is_fifo_peer, is_peer, table, to_best};
    use crate::pools::subjects::{ComparedAs, ServingOrder};
    use crate::pools::{Answers, Series, Standing};

    #[test]
    fn neither_the_baseline_nor_threads_nor_ours_is_ever_the_best_peer() {
        let standing = |name, compared_as, figure| Standing {
            name,
            compared_as,
            figure,
        };
        let standings = [
            standing("ours", ComparedAs::Ours, 1.0),
            standing("bare", ComparedAs::Baseline, 2.0),
            standing("threads", ComparedAs::Blocking, 3.0),
            standing("slow", ComparedAs::Peer(ServingOrder::Fifo), 20.0),
            standing("fast", ComparedAs::Peer(ServingOrder::Barging), 10.0),
        ];
        assert_eq!(to_best(is_peer, "ours", &standings), Some(0.1));
        assert_eq!(to_best(is_peer, "fast", &standings), Some(1.0));
        assert_eq!(to_best(is_peer, "slow", &standings), Some(2.0));
        assert_eq!(to_best(is_fifo_peer, "slow", &standings), Some(1.0));
    }

    #[test]
    fn growth_is_shown_beside_the_growth_of_the_baseline() {
        let series = |name, compared_as, samples| Series {
            name,
            compared_as,
            samples,
        };
        let table = table(&Answers::Growth(vec![
            series(
                "pool",
                ComparedAs::Peer(ServingOrder::Fifo),
                vec![(100.0, 300.0)],
            ),
            series("bare", ComparedAs::Baseline, vec![(50.0, 100.0)]),
        ]));
        let row = table
            .lines()
            .find(|line| line.contains("pool |") || line.contains("| pool"));
        let row = row.expect("the pool has a row");
        assert!(row.contains("3.00") && row.contains("1.50"), "{table}");
    }
}
