//! What is measured, in which order, with which progress.

use std::fs;

use pool_reuse::measure::Measured;
use pool_reuse::measure::Progress;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::bars::Bar;
use crate::children::{Chapter, TOPICS, Topic};
use crate::effort::Effort;
use crate::figure::Figure;
use crate::known_misses::KNOWN_MISSES;
use crate::pools::{self, Answers, Contender, Scenario, all_scenarios};
use pool_reuse::measure::Stopwatch;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Pools side by side.
    pub(super) pools: Vec<(Scenario, Answers)>,
    /// Children, topic by topic.
    pub(super) chapters: Vec<Chapter>,
    /// All figures, with and without a bar.
    pub(super) figures: Vec<Figure>,
    /// What could not be measured, and why.
    pub(super) gaps: Vec<String>,
    /// Why something was measured twice.
    pub(super) repeats: Vec<String>,
    /// Of each pool, in each scenario.
    pub(super) rounds: usize,
}

impl Findings {
    /// Why the run fails, if it does.
    pub(super) fn failures(&self) -> Vec<String> {
        let missed = self.figures.iter().filter_map(Figure::failure);
        missed
            .chain(self.gaps.iter().cloned())
            .chain(self.stale_known_misses())
            .collect()
    }

    /// Known misses of topics that were measured, but without such a figure.
    fn stale_known_misses(&self) -> impl Iterator<Item = String> {
        let stale = KNOWN_MISSES.iter().filter(|miss| {
            let is_of_topic = |one: &&Figure| miss.figure.starts_with(&format!("{}: ", one.topic));
            let mut of_topic = self.figures.iter().filter(is_of_topic).peekable();
            of_topic.peek().is_some() && of_topic.all(|one| one.name() != miss.figure)
        });
        stale.map(|miss| format!("known_misses.rs names no figure: {}", miss.figure))
    }

    fn add_pools(&mut self, scenario: Scenario, answers: Answers) {
        self.figures
            .extend(pools::figures(scenario.name, &answers.standings()));
        self.pools.push((scenario, answers));
    }

    fn add_children(&mut self, topic: Topic, measured: Measured<Chapter>) {
        match measured {
            Ok(chapter) => {
                self.figures.extend(chapter.figures.iter().cloned());
                self.chapters.push(chapter);
            }
            Err(why) => self
                .gaps
                .push(format!("{} could not be measured: {why}", topic.name)),
        }
    }
}

/// Measures everything, or with a quick effort what has a bar.
pub(super) fn all(effort: Effort) -> Findings {
    hear_interrupts();
    let chosen = chosen(effort);
    let mut findings = Findings {
        rounds: match effort {
            Effort::Full => FULL_ROUNDS,
            Effort::Quick => QUICK_ROUNDS,
        },
        ..Findings::default()
    };
    let mut progress = Progress::new(chosen.len() + TOPICS.len());
    for scenario in chosen {
        let contenders = subjects_for(&scenario, effort);
        let measure = || scenario.run(&contenders, findings.rounds, |_, _| {});
        let why =
            |answers: &Answers| why_again(&pools::figures(scenario.name, &answers.standings()));
        let (answers, repeats) = step(&mut progress, scenario.name, || confirmed(measure, why));
        findings.add_pools(scenario, answers);
        findings.repeats.extend(repeats);
    }
    for topic in TOPICS {
        let why = |measured: &Measured<Chapter>| match measured {
            Ok(chapter) => why_again(&chapter.figures),
            Err(why) => vec![format!("{} could not be measured: {why}", topic.name)],
        };
        let measure = || (topic.measure)(effort);
        let (measured, repeats) = step(&mut progress, topic.name, || confirmed(measure, why));
        findings.add_children(topic, measured);
        findings.repeats.extend(repeats);
    }
    progress.clear();
    findings
}

/// Measures once more if there is a reason to, and says which. Then the second result counts, whatever it is.
fn confirmed<T>(measure: impl Fn() -> T, why: impl Fn(&T) -> Vec<String>) -> (T, Vec<String>) {
    let first = measure();
    let failed = why(&first);
    if failed.is_empty() {
        return (first, failed);
    }
    (measure(), failed)
}

/// Why to measure once more: the failures, if the load of the machine can be the cause of all of them. It cannot be that of
/// a count.
fn why_again(figures: &[Figure]) -> Vec<String> {
    let failed = || figures.iter().filter(|one| one.failure().is_some());
    if failed().any(|one| one.bar.is_some_and(Bar::is_of_count)) {
        return Vec::new();
    }
    failed().filter_map(Figure::failure).collect()
}

/// A shell starts background programs with SIGINT ignored, and children inherit that. Some trees are
/// ended by SIGINT, so this program handles it: then children start with the default.
fn hear_interrupts() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !ignores_interrupt(&status) {
        return;
    }
    if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
        let _inside = runtime.enter();
        // The handler stays when its listener is dropped.
        drop(signal(SignalKind::interrupt()));
    }
}

fn ignores_interrupt(status: &str) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 << (SIGINT - 1) != 0)
}

/// All of them, or with a quick effort those that a judged ratio needs.
fn subjects_for(scenario: &Scenario, effort: Effort) -> Vec<Contender> {
    let mut all = (scenario.subjects)();
    if effort == Effort::Quick {
        all.retain(|one| pools::needs(scenario.name, one.name));
    }
    all
}

fn chosen(effort: Effort) -> Vec<Scenario> {
    let has_bar = |one: &Scenario| pools::has_bar(one.name);
    let all = all_scenarios().into_iter();
    match effort {
        Effort::Full => all.collect(),
        Effort::Quick => all
            .filter(has_bar)
            .map(|one| one.shortened(QUICK_DIVISOR))
            .collect(),
    }
}

/// Does one step: progress on a terminal, a line for the log elsewhere.
#[expect(clippy::print_stderr, reason = "progress, apart from the report")]
fn step<T>(progress: &mut Progress, name: &'static str, work: impl FnOnce() -> T) -> T {
    progress.begin(name);
    let watch = Stopwatch::start();
    let made = work();
    if !progress.is_terminal() {
        eprintln!("{name}: {:.1} s", watch.elapsed().as_secs_f64());
    }
    progress.advance();
    made
}

const SIGINT: i32 = nix::sys::signal::Signal::SIGINT as i32;
const FULL_ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 5;
const QUICK_DIVISOR: usize = 2;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{confirmed, ignores_interrupt, why_again};
    use crate::bars;
    use crate::figure::Figure;

    #[test]
    fn a_count_that_fails_is_not_measured_again() {
        let figure = |value, bar| Figure {
            topic: "ends",
            what: "something".into(),
            value: Some(value),
            bar: Some(bar),
        };
        let slow = figure(99.0, bars::IDLE_CHILDREN);
        assert_eq!(why_again(std::slice::from_ref(&slow)).len(), 1);
        for count in [figure(1.0, bars::NONE), figure(5.0, bars::DESCRIPTORS)] {
            assert!(why_again(&[slow.clone(), count]).is_empty());
        }
    }

    #[test]
    fn the_second_result_counts_if_the_first_one_failed() {
        let numbers = Cell::new(0);
        let next = || {
            numbers.set(numbers.get() + 1);
            numbers.get()
        };
        let fails_below =
            |least| move |number: &i32| vec![format!("{number}"); usize::from(*number < least)];
        assert_eq!(confirmed(next, fails_below(1)), (1, vec![]));
        assert_eq!(confirmed(next, fails_below(9)), (3, vec!["2".to_owned()]));
    }

    #[test]
    fn an_ignored_interrupt_is_seen_in_the_mask() {
        assert!(ignores_interrupt(
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000006\n"
        ));
        assert!(!ignores_interrupt("SigIgn:\t0000000000000005\n"));
        assert!(!ignores_interrupt(""));
    }
}
