//! A figure beside its bar: what is printed of it, and whether a run fails for it.

use std::fmt;

use pool_reuse::measure::Table;

use crate::bars::Bar;
use crate::known_misses::{KnownMiss, known_miss};

/// A figure that was measured, or that could not be.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The scenario or topic that measured it.
    pub topic: &'static str,
    /// What is compared with what.
    pub what: String,
    /// The ratio, or the count; `None` if it could not be measured.
    pub value: Option<f64>,
    /// What it must be; `None` if it is only told.
    pub bar: Option<Bar>,
}

/// How a figure stands to its bar.
#[derive(Debug, Clone, Copy)]
pub enum BarResult {
    /// There is no bar.
    NoBar,
    /// It meets its bar.
    Met,
    /// It misses its bar.
    Missed,
    /// It misses its bar, as is known.
    KnownMiss(&'static KnownMiss),
    /// It meets its bar although a miss is listed.
    MetAgain,
    /// There is a bar and no figure.
    NotMeasured,
}

impl Figure {
    /// Its full name, under which it is compared with earlier runs and listed as a known miss.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}: {}", self.topic, self.what)
    }

    /// How it stands to its bar.
    #[must_use]
    pub fn result(&self) -> BarResult {
        bar_result(self.value, self.bar, known_miss(&self.name()))
    }

    /// Why the run fails for it, if it does.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let why = failure(self.value, self.bar, known_miss(&self.name()))?;
        Some(format!("{}: {why}", self.name()))
    }
}

fn bar_result(
    value: Option<f64>,
    bar: Option<Bar>,
    known: Option<&'static KnownMiss>,
) -> BarResult {
    let Some(bar) = bar else {
        return BarResult::NoBar;
    };
    match (value.map(|value| bar.is_met(value)), known) {
        (None, _) => BarResult::NotMeasured,
        (Some(true), None) => BarResult::Met,
        (Some(true), Some(_)) => BarResult::MetAgain,
        (Some(false), None) => BarResult::Missed,
        (Some(false), Some(known)) => BarResult::KnownMiss(known),
    }
}

/// A known miss is measured against the figure that was listed: it must not get worse.
fn failure(value: Option<f64>, bar: Option<Bar>, known: Option<&KnownMiss>) -> Option<String> {
    let bar = bar?;
    let Some(value) = value else {
        return Some("was not measured".to_owned());
    };
    if bar.is_within_noise(value) {
        return None;
    }
    let Some(known) = known else {
        return Some(format!("{value:.2}, tolerated {}", bar.tolerated()));
    };
    let listed = Bar {
        limit: match bar.limit {
            crate::bars::Limit::AtMost(_) => crate::bars::Limit::AtMost(known.value),
            crate::bars::Limit::AtLeast(_) => crate::bars::Limit::AtLeast(known.value),
        },
        ..bar
    };
    (!listed.is_within_noise(value)).then(|| {
        format!(
            "{value:.2}, a known miss that has become worse: it was {}",
            known.value
        )
    })
}

impl fmt::Display for BarResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBar => "-",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::KnownMiss(_) => "MISSED (known)",
            Self::MetAgain => "met again",
            Self::NotMeasured => "NOT MEASURED",
        })
    }
}

/// The table of all figures, and a line for each known miss.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut table = Table::new(&["what", "figure", "bar", "result"]);
    for one in figures {
        table.add_row([
            one.name(),
            number(one.value),
            one.bar.map_or("-".to_owned(), |bar| bar.limit.to_string()),
            one.result().to_string(),
        ]);
    }
    format!("{table}\n{}", remarks(figures))
}

/// What is to be said of known misses.
#[must_use]
pub fn remarks(figures: &[Figure]) -> String {
    let mut text = String::new();
    for one in figures {
        let remark = match one.result() {
            BarResult::KnownMiss(known) => format!("misses its bar: {}", known.why),
            BarResult::MetAgain => {
                "meets its bar again: if it does so in several runs, remove it from known_misses.rs"
                    .to_owned()
            }
            BarResult::NoBar | BarResult::Met | BarResult::Missed | BarResult::NotMeasured => {
                continue;
            }
        };
        text.push_str(&format!("\n* {} {remark}", one.name()));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// A number in about three digits.
#[must_use]
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value != 0.0 && value < 0.1 => format!("{value:.4}"),
        Some(value) if value < 10.0 => format!("{value:.2}"),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{BarResult, Figure, bar_result, failure, table};
    use crate::bars::Bar;
    use crate::known_misses::KnownMiss;

    const BAR: Option<Bar> = Some(Bar::at_most(1.0, 2.0));
    const KNOWN: KnownMiss = KnownMiss {
        figure: "a: b",
        value: 4.0,
        why: "it is slow",
    };

    #[test]
    fn a_figure_without_a_bar_is_told_and_one_with_a_bar_is_judged() {
        let word = |value, bar| bar_result(value, bar, None).to_string();
        assert_eq!(word(Some(7.0), None), "-");
        assert_eq!(word(Some(0.9), BAR), "met");
        assert_eq!(word(Some(1.2), BAR), "MISSED");
        assert_eq!(word(None, BAR), "NOT MEASURED");
    }

    #[test]
    fn a_run_fails_for_a_miss_beyond_noise_and_for_a_missing_figure() {
        assert!(failure(Some(1.9), BAR, None).is_none());
        assert!(failure(Some(2.1), BAR, None).is_some());
        assert!(failure(None, BAR, None).is_some());
        assert!(failure(None, None, None).is_none());
    }

    #[test]
    fn a_known_miss_fails_a_run_only_if_it_becomes_worse() {
        assert!(matches!(
            bar_result(Some(4.0), BAR, Some(&KNOWN)),
            BarResult::KnownMiss(_)
        ));
        assert!(failure(Some(7.9), BAR, Some(&KNOWN)).is_none());
        assert!(failure(Some(8.1), BAR, Some(&KNOWN)).is_some());
        assert!(matches!(
            bar_result(Some(1.0), BAR, Some(&KNOWN)),
            BarResult::MetAgain
        ));
        assert!(failure(None, BAR, Some(&KNOWN)).is_some());
    }

    #[test]
    fn every_figure_has_a_line() {
        let one = |value| Figure {
            topic: "topic",
            what: "a / b".to_owned(),
            value,
            bar: Some(Bar::at_least(200.0, 2.0)),
        };
        let table = table(&[one(Some(4.0)), one(Some(312.4)), one(None)]);
        for part in ["topic: a / b", "4.00", "312", "NOT MEASURED", ">= 200"] {
            assert!(table.contains(part), "{table}");
        }
    }
}
