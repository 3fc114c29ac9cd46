//! A scenario: how it is run with all subjects, and what they showed.

use super::contender::Contender;
use super::expiry::Expiry;
use super::load::Load;
use super::rounds::{Series, interleave};
use super::spike::{Spike, SpikeCounts};
use super::stampede::{Stampede, StampedeCounts};
use super::subjects::ComparedAs;
use pool_reuse::measure::{Percentiles, median, ratio_of_medians};

/// One thing that several subjects do.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// A short name to choose it by.
    pub name: &'static str,
    /// What is done, in a few words.
    pub about: &'static str,
    /// What is measured.
    pub kind: ScenarioKind,
    /// Of which subjects.
    pub subjects: fn() -> Vec<Contender>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScenarioKind {
    /// Time per operation, without clock reads in between.
    Throughput(Load),
    /// How long the callers wait; this figure of the waits is compared.
    Waits(Load, WaitFigure),
    /// Time per operation under a small and a large load.
    Growth {
        /// The small one.
        small: Load,
        /// The large one.
        large: Load,
    },
    /// Whether everybody is served.
    Stampede(Stampede),
    /// How many connections are opened.
    Spike(Spike),
    /// What waiters cost that reach their deadlines.
    Expiry(Expiry),
}

/// A figure of the waits of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFigure {
    /// The wait that 999 of 1 000 do not exceed.
    P999,
    /// The mean wait.
    Mean,
}

impl WaitFigure {
    /// Its value in nanoseconds.
    #[must_use]
    pub const fn of(self, waits: &Percentiles) -> f64 {
        match self {
            Self::P999 => waits.p999 as f64,
            Self::Mean => waits.mean,
        }
    }

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P999 => "p99.9",
            Self::Mean => "mean",
        }
    }
}

/// What the subjects showed.
#[derive(Debug, Clone)]
pub enum Answers {
    /// Nanoseconds per operation.
    Throughput(Vec<Series<f64>>),
    /// Waits, and the figure of them that is compared.
    Waits(Vec<Series<Percentiles>>, WaitFigure),
    /// Nanoseconds per operation under the small and the large load.
    Growth(Vec<Series<(f64, f64)>>),
    /// Who was served.
    Stampede(Vec<Series<StampedeCounts>>),
    /// What was opened.
    Spike(Vec<Series<SpikeCounts>>),
    /// CPU nanoseconds per waiter.
    Expiry(Vec<Series<f64>>),
}

/// The one figure by which a subject is judged in a scenario; less is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The subject's name.
    pub name: &'static str,
    /// How it takes part in the comparison.
    pub compared_as: ComparedAs,
    /// Nanoseconds per operation or waiter, a figure of the waits in nanoseconds, the factor of
    /// growth, or seconds until the end of a burst.
    pub figure: f64,
}

impl Scenario {
    /// The same scenario with about `1 / divisor` of the operations.
    #[must_use]
    pub fn shortened(self, divisor: usize) -> Self {
        let kind = match self.kind {
            ScenarioKind::Throughput(load) => ScenarioKind::Throughput(load.shortened(divisor)),
            ScenarioKind::Waits(load, figure) => {
                ScenarioKind::Waits(load.shortened(divisor), figure)
            }
            ScenarioKind::Growth { small, large } => ScenarioKind::Growth {
                small: small.shortened(divisor),
                large: large.shortened(divisor),
            },
            ScenarioKind::Stampede(_) | ScenarioKind::Spike(_) | ScenarioKind::Expiry(_) => {
                self.kind
            }
        };
        Self { kind, ..self }
    }

    /// Runs it with all subjects in interleaved rounds. `progress` gets the round and the subject
    /// before each measurement.
    pub fn run(
        &self,
        contenders: &[Contender],
        rounds: usize,
        progress: impl Fn(usize, &Contender),
    ) -> Answers {
        let told = |round, contender: &Contender| progress(round, contender);
        match self.kind {
            ScenarioKind::Throughput(load) => {
                Answers::Throughput(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.per_op_ns(&load)
                }))
            }
            ScenarioKind::Waits(load, figure) => {
                let waits = interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.waits(&load)
                });
                Answers::Waits(waits, figure)
            }
            ScenarioKind::Growth { small, large } => {
                Answers::Growth(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.growth_ns(&small, &large)
                }))
            }
            ScenarioKind::Stampede(stampede) => {
                let rounds = rounds.min(BURST_ROUNDS_MAX);
                Answers::Stampede(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.stampede(&stampede)
                }))
            }
            ScenarioKind::Spike(spike) => {
                let rounds = rounds.min(BURST_ROUNDS_MAX);
                Answers::Spike(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.spike(&spike)
                }))
            }
            ScenarioKind::Expiry(expiry) => {
                let rounds = rounds.min(BURST_ROUNDS_MAX);
                Answers::Expiry(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.expiry_ns(&expiry)
                }))
            }
        }
    }
}

impl Answers {
    /// One figure for each subject that answered: see [`Standing::figure`].
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        match self {
            Self::Throughput(all) | Self::Expiry(all) => standings(all, median),
            Self::Waits(all, figure) => {
                standings(all, |samples| median_of(samples, |waits| figure.of(waits)))
            }
            Self::Growth(all) => standings(all, growth),
            Self::Stampede(all) => standings(all, |samples| {
                median_of(samples, |one| one.took.as_secs_f64())
            }),
            Self::Spike(all) => standings(all, |samples| {
                median_of(samples, |one| one.took.as_secs_f64())
            }),
        }
    }
}

/// How many times as much an operation costs under the large load.
#[must_use]
pub(super) fn growth(samples: &[(f64, f64)]) -> Option<f64> {
    let (small, large): (Vec<f64>, Vec<f64>) = samples.iter().copied().unzip();
    ratio_of_medians(&large, &small)
}

/// The median of one figure of each sample.
pub(super) fn median_of<T>(samples: &[T], figure: impl Fn(&T) -> f64) -> Option<f64> {
    median(&samples.iter().map(figure).collect::<Vec<f64>>())
}

fn standings<T>(all: &[Series<T>], figure: impl Fn(&[T]) -> Option<f64>) -> Vec<Standing> {
    all.iter()
        .filter_map(|series| {
            let figure = figure(&series.samples)?;
            Some(Standing {
                name: series.name,
                compared_as: series.compared_as,
                figure,
            })
        })
        .collect()
}

const BURST_ROUNDS_MAX: usize = 3;
