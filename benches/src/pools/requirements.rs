//! Which figures are judged or told, and against which subjects.

use super::scenario::Standing;
use crate::bars::{self, Bar};
use crate::figure::Figure;
use pool_reuse::measure::ratio;

/// One ratio that is judged or told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirement {
    /// The scenario whose [`Standing::figure`] is judged.
    pub scenario: &'static str,
    /// What is compared, in words.
    pub what: &'static str,
    /// The subject that is judged.
    pub of: &'static str,
    /// The subjects of which the best one is the reference.
    pub against: &'static [&'static str],
    /// The limit of its figure divided by the reference's; `None` if the figure is only printed.
    pub bar: Option<Bar>,
}

/// Whether a scenario is judged.
#[must_use]
pub fn has_bar(scenario: &str) -> bool {
    let mut all = REQUIREMENTS.iter().filter(|one| one.scenario == scenario);
    all.any(|one| one.bar.is_some())
}

/// Whether a ratio of this scenario needs this subject.
#[must_use]
pub fn needs(scenario: &str, subject: &str) -> bool {
    let mut all = REQUIREMENTS.iter().filter(|one| one.scenario == scenario);
    all.any(|one| one.of == subject || one.against.contains(&subject))
}

/// The figures of a scenario.
#[must_use]
pub fn figures(scenario: &'static str, standings: &[Standing]) -> Vec<Figure> {
    let all = REQUIREMENTS.iter().filter(|one| one.scenario == scenario);
    all.map(|one| Figure {
        topic: scenario,
        what: format!("{} / {}", one.what, reference(one.against)),
        value: value(one, standings),
        bar: one.bar,
    })
    .collect()
}

fn reference(against: &[&str]) -> String {
    match against {
        [one] => format!("{one}'s"),
        several => format!("best of {}", several.join(", ")),
    }
}

/// The judged figure divided by the reference; `None` if one of them was not measured.
fn value(requirement: &Requirement, standings: &[Standing]) -> Option<f64> {
    let best = standings
        .iter()
        .filter(|one| requirement.against.contains(&one.name))
        .map(|one| one.figure)
        .min_by(f64::total_cmp)?;
    let judged = standings.iter().find(|one| one.name == requirement.of)?;
    ratio(judged.figure, best)
}

/// All of them, in the order of the scenarios.
pub(super) const REQUIREMENTS: [Requirement; 11] = [
    Requirement {
        scenario: "uncontended",
        what: "time per operation",
        of: "pool-core",
        against: &["bb8", "deadpool", "fastpool"],
        bar: Some(bars::UNCONTENDED),
    },
    Requirement {
        scenario: "crowd-64",
        what: "time per operation",
        of: "pool-core",
        against: &["bb8", "deadpool", "fastpool"],
        bar: Some(bars::CROWD),
    },
    Requirement {
        scenario: "crowd-64-waits",
        // Without bb8: it serves out of turn, and a p99.9 does not show the few callers who pay.
        what: "p99.9 wait",
        of: "pool-core",
        against: &["deadpool", "fastpool", "mobc"],
        bar: Some(bars::CROWD_WAITS),
    },
    Requirement {
        scenario: "growth-idle",
        what: "growth",
        of: "pool-core",
        against: &["semaphore"],
        bar: Some(bars::GROWTH),
    },
    Requirement {
        scenario: "growth-connections",
        what: "growth",
        of: "pool-core",
        against: &["semaphore"],
        bar: Some(bars::GROWTH),
    },
    Requirement {
        scenario: "growth-waiters",
        what: "growth",
        of: "pool-core",
        against: &["semaphore"],
        bar: Some(bars::GROWTH),
    },
    Requirement {
        scenario: "expiry",
        what: "CPU per waiter",
        of: "pool-core",
        against: &["semaphore"],
        bar: Some(bars::EXPIRY),
    },
    Requirement {
        scenario: "budget",
        what: "time per operation in a budget",
        of: "pool in a budget",
        against: &["pool-core"],
        bar: Some(bars::BUDGET),
    },
    Requirement {
        scenario: "many-keys",
        what: "time per operation over 1 000 keys",
        of: "1 000 keys",
        against: &["one pool, one use each"],
        bar: Some(bars::MANY_KEYS),
    },
    Requirement {
        scenario: "by-key",
        what: "time per operation by key",
        of: "keyed pool, by key",
        against: &["pools in a DashMap"],
        bar: None,
    },
    Requirement {
        scenario: "by-key",
        what: "time per operation by handle",
        of: "keyed pool, by handle",
        against: &["pools in a DashMap"],
        bar: None,
    },
];

#[cfg(test)]
mod tests {
    use super::{REQUIREMENTS, figures, needs};
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
        assert!(needs("growth-idle", "pool-core"));
        assert!(needs("growth-idle", "semaphore"));
        assert!(!needs("growth-idle", "bb8"));
        assert!(needs("uncontended", "bb8"));
    }

    #[test]
    fn every_requirement_names_a_scenario_and_subjects_that_exist() {
        let scenarios = all_scenarios();
        for one in REQUIREMENTS {
            let scenario = scenarios.iter().find(|it| it.name == one.scenario);
            let subjects = (scenario.expect(one.scenario).subjects)();
            for name in one.against.iter().chain([&one.of]) {
                assert!(subjects.iter().any(|it| it.name == *name), "{one:?}");
            }
        }
    }
}
