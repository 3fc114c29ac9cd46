//! What is measured, in which order, with which progress.

use std::fs;

use pool_reuse::measure::progress::Progress;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::judged::Judged;
use crate::bars;
use crate::children::{Chapter, Effort, Measured, TOPICS, Topic};
use crate::pools::scenario::{Answers, Scenario, scenarios};
use crate::pools::subjects::contenders;
use pool_reuse::measure::clock::Stopwatch;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Pools side by side.
    pub(super) pools: Vec<(Scenario, Answers)>,
    /// Children, topic by topic.
    pub(super) chapters: Vec<(&'static str, Chapter)>,
    /// All figures that have a bar, or are told all the same.
    pub(super) judged: Vec<Judged>,
    /// What could not be measured, and why.
    pub(super) gaps: Vec<String>,
    /// Of each pool, in each scenario.
    pub(super) rounds: usize,
}

impl Findings {
    /// What a run fails for, in words.
    pub(super) fn failures(&self) -> Vec<String> {
        let missed = self.judged.iter().filter(|one| one.is_failure());
        let missed = missed.map(|one| {
            let figure = one.figure.map_or("-".to_owned(), |it| format!("{it:.2}"));
            format!("{}: {figure}, tolerated {}", one.what, one.tolerated())
        });
        missed.chain(self.gaps.iter().cloned()).collect()
    }

    fn add_pools(&mut self, scenario: Scenario, answers: Answers) {
        let verdicts = bars::judge(scenario.name, &answers.standings());
        self.judged.extend(verdicts.iter().map(Judged::of_pools));
        self.pools.push((scenario, answers));
    }

    fn add_children(&mut self, topic: Topic, outcome: Measured<Chapter>) {
        match outcome {
            Ok(chapter) => {
                let judged = chapter.judgements.iter();
                let judged = judged.map(|one| Judged::of_children(topic.name, one));
                self.judged.extend(judged);
                self.chapters.push((topic.name, chapter));
            }
            Err(why) => self
                .gaps
                .push(format!("{} could not be measured: {why}", topic.name)),
        }
    }
}

/// Measures all of it, or what has a bar.
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
    let contenders = contenders();
    let mut progress = Progress::new(chosen.len() + TOPICS.len());
    for scenario in chosen {
        let answers = step(&mut progress, scenario.name, || {
            scenario.run(&contenders, findings.rounds, |_, _| {})
        });
        findings.add_pools(scenario, answers);
    }
    for topic in TOPICS {
        let outcome = step(&mut progress, topic.name, || {
            // Once more: a child that was not had once is the machine's mood, twice it is a fact.
            (topic.measure)(effort).or_else(|_| (topic.measure)(effort))
        });
        findings.add_children(topic, outcome);
    }
    progress.clear();
    findings
}

/// Children inherit that an interrupt is ignored, as it is in a program that a shell runs in the
/// background, and some of the trees are ended by one. Handling it undoes that for them.
fn hear_interrupts() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !ignores_interrupt(&status) {
        return;
    }
    if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
        let _inside = runtime.enter();
        // The handler stays when its listener has gone.
        drop(signal(SignalKind::interrupt()));
    }
}

fn ignores_interrupt(status: &str) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 << (SIGINT - 1) != 0)
}

fn chosen(effort: Effort) -> Vec<Scenario> {
    let has_bar = |one: &Scenario| bars::BARS.iter().any(|bar| bar.scenario == one.name);
    let all = scenarios().into_iter();
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
    use super::ignores_interrupt;

    #[test]
    fn an_ignored_interrupt_is_seen_in_the_mask() {
        assert!(ignores_interrupt(
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000006\n"
        ));
        assert!(!ignores_interrupt("SigIgn:\t0000000000000005\n"));
        assert!(!ignores_interrupt(""));
    }
}
