//! Whether a figure meets its bar, and what is put down to noise.

use crate::bars::Verdict;
use crate::children::{Bar, Judgement};

/// A figure, its bar, and how far beyond it noise can carry it.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    /// What is compared with what.
    pub(super) what: String,
    /// The figure; `None` if it was not measured.
    pub(super) figure: Option<f64>,
    /// What it must be.
    pub(super) bar: Bar,
    /// By this factor it may miss its bar without failing the run.
    pub(super) margin: f64,
}

impl Judged {
    pub(super) fn of_pools(verdict: &Verdict) -> Self {
        let Verdict { bar, ratio, .. } = verdict;
        Self {
            what: format!(
                "{}: {} / best of {}",
                bar.scenario,
                bar.what,
                bar.against.join(", ")
            ),
            figure: *ratio,
            bar: Bar::AtMost(bar.limit),
            margin: margin_of(bar.scenario),
        }
    }

    pub(super) fn of_children(topic: &str, judgement: &Judgement) -> Self {
        Self {
            what: format!("{topic}: {}", judgement.what),
            figure: judgement.figure,
            bar: judgement.bar,
            margin: margin_of(topic),
        }
    }

    /// `PASS`, `FAIL`, `-` without a bar, or `not measured`.
    pub(super) fn word(&self) -> &'static str {
        self.as_judgement(self.bar).word()
    }

    /// It misses its bar by more than the margin, or was to be measured and was not.
    pub(super) fn is_failure(&self) -> bool {
        let tolerated = self.as_judgement(widened(self.bar, self.margin));
        self.bar != Bar::Open && tolerated.word() != "PASS"
    }

    fn as_judgement(&self, bar: Bar) -> Judgement {
        Judgement {
            what: String::new(),
            figure: self.figure,
            bar,
        }
    }

    /// The bar with its margin, as it is to be read.
    pub(super) fn tolerated(&self) -> String {
        widened(self.bar, self.margin).to_string()
    }
}

fn widened(bar: Bar, margin: f64) -> Bar {
    // Two digits say it: nobody needs 33.333333333333336.
    let rounded = |limit: f64| (limit * 100.0).round() / 100.0;
    match bar {
        Bar::AtMost(limit) => Bar::AtMost(rounded(limit * margin)),
        Bar::AtLeast(limit) => Bar::AtLeast(rounded(limit / margin)),
        Bar::Open => Bar::Open,
    }
}

/// By which factor the figures of a scenario or topic vary without any change of the code, on a
/// machine that others use too. A run that fails for nothing is soon one that nobody looks at.
fn margin_of(name: &str) -> f64 {
    let found = MARGINS.iter().find(|(known, _)| *known == name);
    found.map_or(MARGIN_ELSE, |(_, margin)| *margin)
}

const MARGINS: [(&str, f64); 12] = [
    ("uncontended", 2.0),
    // Two workers on shared cores: whether they run at the same time is decided elsewhere.
    ("crowd-64", 3.0),
    ("crowd-64-waits", 4.0),
    ("growth-idle", 2.0),
    ("growth-connections", 2.0),
    ("growth-waiters", 2.0),
    ("round-trip", 2.0),
    // A start on a loaded core varies more than a round trip does.
    ("reuse", 3.0),
    // On one core nobody waits for another one, and each round is over in a tenth of a second.
    ("json-rpc", 1.5),
    // Where the system puts the child decides: to wake another core can cost more than a call does.
    ("json-rpc-unpinned", 4.0),
    // Descriptors and processes that live on are counted, not timed.
    ("scale", 1.1),
    ("tree-kill", 1.0),
];
const MARGIN_ELSE: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::{Judged, MARGINS};
    use crate::children::{Bar, TOPICS};
    use crate::pools::scenario::scenarios;

    fn judged(figure: Option<f64>, bar: Bar) -> Judged {
        Judged {
            what: String::new(),
            figure,
            bar,
            margin: 2.0,
        }
    }

    #[test]
    fn a_bar_missed_within_the_margin_is_told_but_fails_nothing() {
        let near = judged(Some(1.9), Bar::AtMost(1.0));
        assert_eq!((near.word(), near.is_failure()), ("FAIL", false));
        let far = judged(Some(2.1), Bar::AtMost(1.0));
        assert_eq!((far.word(), far.is_failure()), ("FAIL", true));
        let near = judged(Some(51.0), Bar::AtLeast(100.0));
        assert_eq!((near.word(), near.is_failure()), ("FAIL", false));
        assert!(judged(Some(49.0), Bar::AtLeast(100.0)).is_failure());
    }

    #[test]
    fn what_was_to_be_measured_and_was_not_fails() {
        assert!(judged(None, Bar::AtMost(1.0)).is_failure());
        assert!(!judged(None, Bar::Open).is_failure());
    }

    #[test]
    fn nothing_may_live_on_whatever_the_margin() {
        assert!(judged(Some(1.0), Bar::AtMost(0.0)).is_failure());
        assert!(!judged(Some(0.0), Bar::AtMost(0.0)).is_failure());
    }

    #[test]
    fn every_margin_is_that_of_a_scenario_or_topic() {
        let mut names: Vec<&str> = scenarios().iter().map(|one| one.name).collect();
        names.extend(TOPICS.map(|topic| topic.name));
        for (name, _) in MARGINS {
            assert!(names.contains(&name), "{name}");
        }
    }
}
