//! Which scenarios are judged, and against which subjects.

use super::scenario::Standing;
use super::subjects::ComparedAs;
use crate::bars::{self, Bar};
use crate::figure::Figure;
use pool_reuse::measure::ratio;

/// One ratio that is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirement {
    /// The scenario whose [`Standing::figure`] is judged.
    pub scenario: &'static str,
    /// What is compared, in words.
    pub what: &'static str,
    /// The subjects of which the best one is the reference.
    pub against: &'static [&'static str],
    /// What our figure divided by the reference must be.
    pub bar: Bar,
}

/// Whether a scenario is judged.
#[must_use]
pub fn has_bar(scenario: &str) -> bool {
    REQUIREMENTS.iter().any(|one| one.scenario == scenario)
}

/// Whether a judged ratio of this scenario needs this subject.
#[must_use]
pub fn needs(scenario: &str, subject: &str, compared_as: ComparedAs) -> bool {
    let mut all = REQUIREMENTS.iter().filter(|one| one.scenario == scenario);
    compared_as == ComparedAs::Ours || all.any(|one| one.against.contains(&subject))
}

/// The judged figures of a scenario.
#[must_use]
pub fn figures(scenario: &'static str, standings: &[Standing]) -> Vec<Figure> {
    let all = REQUIREMENTS.iter().filter(|one| one.scenario == scenario);
    all.map(|one| Figure {
        topic: scenario,
        what: format!("{} / {}", one.what, reference(one.against)),
        value: value(one, standings),
        bar: Some(one.bar),
    })
    .collect()
}

fn reference(against: &[&str]) -> String {
    match against {
        [one] => format!("{one}'s"),
        several => format!("best of {}", several.join(", ")),
    }
}

/// Our figure divided by the reference; `None` if one of them was not measured.
fn value(requirement: &Requirement, standings: &[Standing]) -> Option<f64> {
    let best = standings
        .iter()
        .filter(|one| requirement.against.contains(&one.name))
        .map(|one| one.figure)
        .min_by(f64::total_cmp)?;
    let ours = standings
        .iter()
        .find(|one| one.compared_as == ComparedAs::Ours)?;
    ratio(ours.figure, best)
}

/// All of them, in the order of the scenarios.
pub(super) const REQUIREMENTS: [Requirement; 7] = [
    Requirement {
        scenario: "uncontended",
        what: "time per operation",
        against: &["bb8", "deadpool", "fastpool"],
        bar: bars::UNCONTENDED,
    },
    Requirement {
        scenario: "crowd-64",
        what: "time per operation",
        against: &["bb8", "deadpool", "fastpool"],
        bar: bars::CROWD,
    },
    Requirement {
        scenario: "crowd-64-waits",
        // Without bb8: it serves out of turn, and a p99.9 does not show the few callers who pay.
        what: "p99.9 wait",
        against: &["deadpool", "fastpool", "mobc"],
        bar: bars::CROWD_WAITS,
    },
    Requirement {
        scenario: "growth-idle",
        what: "growth",
        against: &["semaphore"],
        bar: bars::GROWTH,
    },
    Requirement {
        scenario: "growth-connections",
        what: "growth",
        against: &["semaphore"],
        bar: bars::GROWTH,
    },
    Requirement {
        scenario: "growth-waiters",
        what: "growth",
        against: &["semaphore"],
        bar: bars::GROWTH,
    },
    Requirement {
        scenario: "expiry",
        what: "CPU per waiter",
        against: &["semaphore"],
        bar: bars::EXPIRY,
    },
];

#[cfg(test)]
mod tests {
    use super::{REQUIREMENTS, figures, needs};
    use crate::pools::all_contenders;
    use crate::pools::all_scenarios;
    use crate::pools::scenario::Standing;
    use crate::pools::subjects::{ComparedAs, ServingOrder};

    fn peer(name: &'static str, figure: f64) -> Standing {
        Standing {
            name,
            compared_as: ComparedAs::Peer(ServingOrder::Fifo),
            figure,
        }
    }

    fn ours(figure: f64) -> Standing {
        Standing {
            name: "pool-core",
            compared_as: ComparedAs::Ours,
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
        let figures = figures("crowd-64-waits", &standings);
        assert_eq!(figures.len(), 1);
        assert_eq!(figures[0].value, Some(1.15));
        let name = "crowd-64-waits: p99.9 wait / best of deadpool, fastpool, mobc";
        assert_eq!(figures[0].name(), name);
    }

    #[test]
    fn without_ours_or_without_a_reference_there_is_no_figure() {
        for standings in [vec![peer("bb8", 100.0)], vec![ours(1.0)], vec![]] {
            assert_eq!(figures("uncontended", &standings)[0].value, None);
        }
    }

    #[test]
    fn a_judged_ratio_needs_ours_and_the_subjects_it_names() {
        assert!(needs("growth-idle", "pool-core", ComparedAs::Ours));
        assert!(needs("growth-idle", "semaphore", ComparedAs::Baseline));
        let bb8 = ComparedAs::Peer(ServingOrder::Barging);
        assert!(!needs("growth-idle", "bb8", bb8));
        assert!(needs("uncontended", "bb8", bb8));
    }

    #[test]
    fn every_requirement_names_a_scenario_and_subjects_that_exist() {
        let (contenders, scenarios) = (all_contenders(), all_scenarios());
        for one in REQUIREMENTS {
            assert!(
                scenarios.iter().any(|it| it.name == one.scenario),
                "{one:?}"
            );
            for name in one.against {
                assert!(contenders.iter().any(|it| it.name == *name), "{one:?}");
            }
        }
    }
}
