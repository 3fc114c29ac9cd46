//! The table and the bars.

use std::path::Path;

use super::race::{ROUNDS, Tally};
use super::{Comparison, Task};
use crate::measure::Measured;
use crate::measure::plot::{Chart, ChartBar, Side};
use crate::measure::stats::{Summary, median, ratio};
use crate::measure::table::Table;

pub(super) fn heading(task: &Task) -> String {
    format!(
        "asking {}: {} bytes, framing {}; {} at once, at most {} pooled",
        task.name.replace('\n', " "),
        task.message.len(),
        task.framing.name(),
        task.contest.concurrency,
        task.size,
    )
}

/// All that is printed of a comparison.
pub(super) fn outcome(comparison: &Comparison) -> String {
    let tallies = &comparison.tallies;
    let mut text = format!("{}\n\n", table(tallies));
    if let Some(why) = comparison.not_by_id {
        text.push_str(&format!("multiplexed is left out: {why}\n\n"));
    }
    text.push_str("requests per second\n\n");
    text.push_str(&chart(tallies, "").terminal());
    text.push('\n');
    text.push_str(&verdicts(tallies));
    text
}

/// Writes the picture.
pub(super) fn picture(tallies: &[Tally], task: &Task, path: &Path) -> Measured<()> {
    let mut name: String = task.name.chars().take(TITLE_CHARS).collect();
    if name.len() < task.name.len() {
        name.push_str(" ...");
    }
    Ok(chart(tallies, &format!("Asking {name}")).write_svg(path)?)
}

fn table(tallies: &[Tally]) -> String {
    let mut table = Table::new(&[
        "way",
        "requests/s",
        "p50",
        "p99",
        "requests",
        "processes started",
        "peak RSS",
    ]);
    for one in tallies {
        let wait = |pick: fn(&crate::measure::stats::Percentiles) -> u64| {
            one.waits.map_or("-".to_owned(), |waits| time(pick(&waits)))
        };
        table.add_row([
            one.name.to_owned(),
            median(&one.rates).map_or("-".to_owned(), whole),
            wait(|waits| waits.p50),
            wait(|waits| waits.p99),
            whole(one.requests as f64),
            whole(one.started as f64),
            one.resident_bytes.map_or("-".to_owned(), |bytes| {
                format!("{:.1} MiB", bytes as f64 / MEBIBYTE)
            }),
        ]);
    }
    table.to_string()
}

fn chart(tallies: &[Tally], title: &str) -> Chart {
    let bar = |(place, one): (usize, &Tally)| {
        let value = median(&one.rates)?;
        Some(ChartBar {
            name: one.name.to_owned(),
            value,
            label: whole(value),
            side: if place == 0 { Side::Other } else { Side::Ours },
        })
    };
    Chart {
        title: title.to_owned(),
        unit: "requests per second".to_owned(),
        bars: tallies.iter().enumerate().filter_map(bar).collect(),
    }
}

/// A sentence for each way beside the first.
fn verdicts(tallies: &[Tally]) -> String {
    let Some((first, others)) = tallies.split_first() else {
        return String::new();
    };
    let sentences = others.iter().filter_map(|way| verdict(way, first));
    sentences.map(|sentence| format!("{sentence}\n")).collect()
}

/// How many times as many requests a way serves as the first, round by round.
fn verdict(way: &Tally, first: &Tally) -> Option<String> {
    let pairs = way.rates.iter().zip(&first.rates);
    let times: Option<Vec<f64>> = pairs.map(|(way, first)| ratio(*way, *first)).collect();
    let times = Summary::of(&times?)?;
    Some(format!(
        "{} serves {} times as many requests as {} ({} to {} in {} of {ROUNDS} rounds, in turns)",
        way.name,
        few(times.median),
        first.name,
        few(times.least),
        few(times.greatest),
        way.rates.len(),
    ))
}

/// Nanoseconds as they are read best.
fn time(ns: u64) -> String {
    match ns as f64 {
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.1} s", ns / 1e9),
    }
}

fn few(times: f64) -> String {
    if times < 10.0 {
        format!("{times:.1}")
    } else {
        whole(times)
    }
}

/// A whole number, its thousands apart.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// What of a command fits above the picture.
const TITLE_CHARS: usize = 60;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::{Tally, time, verdicts, whole};

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(whole(1_234_567.4), "1 234 567");
        assert_eq!(whole(999.0), "999");
        assert_eq!(time(1_500), "2 us");
        assert_eq!(time(12_340_000), "12.3 ms");
        assert_eq!(time(2_000_000_000), "2.0 s");
    }

    #[test]
    fn the_verdict_is_the_median_of_the_ratios_of_each_round() {
        let tally = |name, rates: [f64; 3]| Tally {
            name,
            rates: rates.to_vec(),
            waits: None,
            requests: 0,
            started: 0,
            resident_bytes: None,
        };
        let all = [
            tally("spawn", [1.0, 10.0, 1.0]),
            tally("pool", [40.0, 200.0, 30.0]),
            tally("shared", [4.0, 20.0, 3.0]),
        ];
        let text = verdicts(&all);
        let sentences: Vec<&str> = text.lines().collect();
        assert!(
            sentences[0].starts_with("pool serves 30 times as many requests as spawn (20 to 40")
        );
        assert!(sentences[1].starts_with("shared serves 3.0 times as many requests as spawn (2.0"));
    }
}
