//! The ratios that the pool must keep, as section 6 of the design states them.

use crate::pools::scenario::Standing;
use crate::pools::subjects::Role;

/// One ratio to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// The scenario whose [`Standing::figure`] is judged.
    pub scenario: &'static str,
    /// What is compared, in words.
    pub what: &'static str,
    /// The subjects of which the best one is the reference.
    pub against: &'static [&'static str],
    /// How many times that reference ours may be.
    pub limit: f64,
}

/// The bars, in the order of the scenarios.
pub const BARS: [Bar; 6] = [
    Bar {
        scenario: "uncontended",
        what: "time per operation",
        against: &["bb8", "deadpool", "fastpool"],
        limit: 0.5,
    },
    Bar {
        scenario: "crowd-64",
        what: "time per operation",
        against: &["bb8", "deadpool", "fastpool"],
        limit: 0.8,
    },
    Bar {
        scenario: "crowd-64-waits",
        // Without bb8: it serves out of turn, and p99.9 does not see the few who pay for it.
        what: "p99.9 wait",
        against: &["deadpool", "fastpool", "mobc"],
        limit: 1.2,
    },
    Bar {
        scenario: "growth-idle",
        what: "growth",
        against: &["semaphore"],
        limit: 1.15,
    },
    Bar {
        scenario: "growth-connections",
        what: "growth",
        against: &["semaphore"],
        limit: 1.15,
    },
    Bar {
        scenario: "growth-waiters",
        what: "growth",
        against: &["semaphore"],
        limit: 1.15,
    },
];

/// How a bar was met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The bar.
    pub bar: Bar,
    /// The reference: the best of those it is measured against.
    pub best: Option<Standing>,
    /// Our figure over the reference; `None` if one of them was not measured.
    pub ratio: Option<f64>,
}

impl Verdict {
    /// `PASS`, `FAIL`, or `not measured`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.ratio {
            Some(ratio) if ratio <= self.bar.limit => "PASS",
            Some(_) => "FAIL",
            None => "not measured",
        }
    }
}

/// Judges the standings of one scenario by the bars that concern it.
#[must_use]
pub fn judge(scenario: &str, standings: &[Standing]) -> Vec<Verdict> {
    BARS.iter()
        .filter(|bar| bar.scenario == scenario)
        .map(|bar| {
            let best = standings
                .iter()
                .filter(|one| bar.against.contains(&one.name))
                .min_by(|a, b| a.figure.total_cmp(&b.figure))
                .copied();
            let ours = standings.iter().find(|one| one.role == Role::Ours);
            let ratio = ours.zip(best).and_then(|(ours, best)| {
                pool_reuse::measure::stats::ratio(ours.figure, best.figure)
            });
            Verdict {
                bar: *bar,
                best,
                ratio,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BARS, judge};
    use crate::pools::scenario::{Standing, scenarios};
    use crate::pools::subjects::{Order, Role, contenders};

    fn peer(name: &'static str, figure: f64) -> Standing {
        Standing {
            name,
            role: Role::Peer(Order::Fifo),
            figure,
        }
    }

    fn ours(figure: f64) -> Standing {
        Standing {
            name: "pool-core",
            role: Role::Ours,
            figure,
        }
    }

    #[test]
    fn the_reference_is_the_best_of_those_named_not_of_all() {
        let standings = [
            peer("bb8", 1.0),
            peer("deadpool", 30.0),
            peer("fastpool", 20.0),
            ours(23.0),
        ];
        let verdicts = judge("crowd-64-waits", &standings);
        assert_eq!(verdicts.len(), 1);
        assert_eq!(verdicts[0].best, Some(peer("fastpool", 20.0)));
        assert_eq!(verdicts[0].ratio, Some(1.15));
        assert_eq!(verdicts[0].word(), "PASS");
    }

    #[test]
    fn a_ratio_at_the_limit_passes_and_one_above_it_fails() {
        let word = |figure| judge("uncontended", &[peer("bb8", 100.0), ours(figure)])[0].word();
        assert_eq!(word(50.0), "PASS");
        assert_eq!(word(50.1), "FAIL");
    }

    #[test]
    fn without_ours_or_without_a_reference_nothing_is_judged() {
        for standings in [vec![peer("bb8", 100.0)], vec![ours(1.0)], vec![]] {
            assert_eq!(judge("uncontended", &standings)[0].word(), "not measured");
        }
    }

    #[test]
    fn every_bar_names_a_scenario_and_subjects_that_exist() {
        let contenders = contenders();
        let scenarios = scenarios();
        for bar in BARS {
            assert!(
                scenarios.iter().any(|one| one.name == bar.scenario),
                "{bar:?}"
            );
            for name in bar.against {
                assert!(contenders.iter().any(|one| one.name == *name), "{bar:?}");
            }
        }
    }
}
