//! What is printed of a comparison: the table, the bars and the verdict.

use super::problem::beginning;
use super::race::{REQUESTS_MIN, RaceLimits, Tally};
use super::task::Task;
use crate::measure::Table;
use crate::measure::{Chart, ChartBar, Side};
use crate::measure::{Summary, ratio};

pub(super) fn heading(task: &Task) -> String {
    format!(
        "asking {}\nrequest: {}, {} bytes, framing {}; {} at once, at most {} pooled",
        task.name.replace('\n', " "),
        beginning(&task.message),
        task.message.len(),
        task.framing.name(),
        task.limits.concurrency,
        task.size,
    )
}

pub(super) fn table(tallies: &[Tally]) -> Table {
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
        let wait = |pick: fn(&crate::measure::Percentiles) -> u64| {
            one.waits.map_or("-".to_owned(), |waits| time(pick(&waits)))
        };
        table.add_row([
            one.name.to_owned(),
            one.rate().map_or("too few".to_owned(), whole),
            wait(|waits| waits.p50),
            if one.requests >= FOR_P99_MIN {
                wait(|waits| waits.p99)
            } else {
                "-".to_owned()
            },
            whole(one.requests as f64),
            whole(one.started as f64),
            one.resident_bytes.map_or("-".to_owned(), |bytes| {
                format!("{:.1} MiB", bytes as f64 / MEBIBYTE)
            }),
        ]);
    }
    table
}

/// What to do if a way answered too few requests for a rate.
pub(super) fn too_few(tallies: &[Tally], limits: &RaceLimits) -> Option<String> {
    let slowest = tallies.iter().min_by_key(|one| one.requests)?;
    if slowest.requests >= REQUESTS_MIN {
        return None;
    }
    let advice = if limits.requests_max < REQUESTS_MIN {
        format!("use --requests {REQUESTS_MIN} or more")
    } else {
        let times = REQUESTS_MIN.div_ceil(slowest.requests.max(1));
        let seconds = limits.time.as_secs_f64() * times as f64;
        format!("use --seconds {seconds:.0} or more")
    };
    Some(format!(
        "{}: {} answered requests are too few for a rate\ncheck: {advice}",
        slowest.name, slowest.requests
    ))
}

/// Requests per second of each way.
pub(super) fn chart(tallies: &[Tally], task: &Task) -> Chart {
    let mut name: String = task.name.chars().take(TITLE_CHARS).collect();
    if name.len() < task.name.len() {
        name.push_str(" ...");
    }
    let bar = |(place, one): (usize, &Tally)| {
        let value = one.rate()?;
        Some(ChartBar {
            name: one.name.to_owned(),
            value,
            label: whole(value),
            side: if place == 0 { Side::Other } else { Side::Ours },
        })
    };
    Chart {
        title: format!("Asking {name}, {} callers", task.limits.concurrency),
        unit: "requests per second".to_owned(),
        bars: tallies.iter().enumerate().filter_map(bar).collect(),
    }
}

/// A sentence for each way that compares it with the first.
pub(super) fn verdicts(tallies: &[Tally]) -> String {
    let Some((first, others)) = tallies.split_first() else {
        return String::new();
    };
    let sentences = others.iter().filter_map(|way| verdict(way, first));
    sentences.map(|sentence| format!("{sentence}\n")).collect()
}

/// How many times as many requests a way serves as the first one, round by round.
fn verdict(way: &Tally, first: &Tally) -> Option<String> {
    let pairs = way.rates.iter().zip(&first.rates);
    let times: Option<Vec<f64>> = pairs.map(|(way, first)| ratio(*way, *first)).collect();
    let times = times?;
    let rounds = times.len();
    let times = Summary::of(&times)?;
    let (way, first) = (way.name, first.name);
    let spread = if rounds > 1 {
        let (least, greatest) = (few(times.least), few(times.greatest));
        format!("{least} to {greatest} in {rounds} rounds")
    } else {
        "in one round".to_owned()
    };
    Some(if (0.95..1.05).contains(&times.median) {
        format!("{way} serves about as many requests per second as {first} ({spread})")
    } else {
        let median = few(times.median);
        format!("{way} serves {median} times as many requests per second as {first} ({spread})")
    })
}

/// Nanoseconds in the unit that reads best.
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

/// A whole number with spaces between its thousands.
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

/// As much of a command as fits above the picture.
const TITLE_CHARS: usize = 60;
/// Among fewer requests there is no one in a hundred.
const FOR_P99_MIN: u64 = 100;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Tally, table, time, too_few, verdicts, whole};
    use crate::compare::race::RaceLimits;

    fn tally(name: &'static str, requests: u64, rates: [f64; 3]) -> Tally {
        Tally {
            name,
            rates: rates.to_vec(),
            waits: None,
            requests,
            started: 0,
            resident_bytes: None,
        }
    }

    fn limits(requests_max: u64) -> RaceLimits {
        RaceLimits {
            requests_max,
            concurrency: 4,
            time: Duration::from_secs(8),
        }
    }

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
        let all = [
            tally("spawn", 100, [1.0, 10.0, 1.0]),
            tally("pool", 100, [40.0, 200.0, 30.0]),
            tally("shared", 100, [1.0, 10.1, 1.0]),
        ];
        let text = verdicts(&all);
        let sentences: Vec<&str> = text.lines().collect();
        let expected =
            "pool serves 30 times as many requests per second as spawn (20 to 40 in 3 rounds)";
        assert_eq!(sentences[0], expected);
        assert!(
            sentences[1].starts_with("shared serves about as many requests per second as spawn")
        );
    }

    #[test]
    fn a_rate_from_three_requests_is_not_printed() {
        let all = [
            tally("spawn", 3, [0.4, 0.5, 0.4]),
            tally("pool", 900, [90.0; 3]),
        ];
        let text = table(&all).to_string();
        assert!(text.contains("too few") && !text.contains("0.4"), "{text}");
        let advice = too_few(&all, &limits(u64::MAX)).unwrap();
        assert!(
            advice.contains("spawn: 3 answered requests are too few"),
            "{advice}"
        );
        assert!(advice.contains("--seconds 56"), "{advice}");
        let advice = too_few(&all, &limits(3)).unwrap();
        assert!(advice.contains("--requests 20"), "{advice}");
        assert_eq!(too_few(&all[1..], &limits(3)), None);
    }
}
