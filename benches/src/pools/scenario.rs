//! What is asked of the subjects, and what they answered.

use std::time::Duration;

use crate::pools::contender::Contender;
use crate::pools::load::{Hold, Load, Workers};
use crate::pools::rounds::{Series, interleave};
use crate::pools::spike::{self, Spike};
use crate::pools::stampede::{self, Stampede};
use crate::pools::subjects::Role;
use pool_reuse::measure::stats::{Percentiles, median, ratio_of_medians};

/// One thing that is asked of all subjects.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// A short name, to choose it by.
    pub name: &'static str,
    /// What is done, in half a sentence.
    pub about: &'static str,
    /// What is measured.
    pub kind: Kind,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Time per operation, without clock reads in between.
    Throughput(Load),
    /// How long the callers wait.
    Waits(Load),
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
}

/// What the subjects answered.
#[derive(Debug, Clone)]
pub enum Answers {
    /// Nanoseconds per operation.
    Throughput(Vec<Series<f64>>),
    /// Waits.
    Waits(Vec<Series<Percentiles>>),
    /// Nanoseconds per operation under the small and the large load.
    Growth(Vec<Series<(f64, f64)>>),
    /// Who was served.
    Stampede(Vec<Series<stampede::Outcome>>),
    /// What was opened.
    Spike(Vec<Series<spike::Outcome>>),
}

/// The one figure by which a subject is judged in a scenario; less is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The subject's name.
    pub name: &'static str,
    /// What it is compared as.
    pub role: Role,
    /// Nanoseconds per operation, p99.9 of the waits in nanoseconds, the factor of growth, or
    /// seconds to the end of a burst.
    pub figure: f64,
}

impl Scenario {
    /// The same scenario with about `1 / divisor` of the operations.
    #[must_use]
    pub fn shortened(self, divisor: usize) -> Self {
        let kind = match self.kind {
            Kind::Throughput(load) => Kind::Throughput(load.shortened(divisor)),
            Kind::Waits(load) => Kind::Waits(load.shortened(divisor)),
            Kind::Growth { small, large } => Kind::Growth {
                small: small.shortened(divisor),
                large: large.shortened(divisor),
            },
            Kind::Stampede(_) | Kind::Spike(_) => self.kind,
        };
        Self { kind, ..self }
    }

    /// Asks all subjects, in interleaved rounds. `progress` is told the round and the subject
    /// before each measurement.
    pub fn run(
        &self,
        contenders: &[Contender],
        rounds: usize,
        progress: impl Fn(usize, &Contender),
    ) -> Answers {
        let told = |round, contender: &Contender| progress(round, contender);
        match self.kind {
            Kind::Throughput(load) => {
                Answers::Throughput(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.per_op_ns(&load)
                }))
            }
            Kind::Waits(load) => Answers::Waits(interleave(contenders, rounds, |n, one| {
                told(n, one);
                one.waits(&load)
            })),
            Kind::Growth { small, large } => {
                Answers::Growth(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.growth_ns(&small, &large)
                }))
            }
            Kind::Stampede(stampede) => {
                let rounds = rounds.min(BURST_ROUNDS_MAX);
                Answers::Stampede(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.stampede(&stampede)
                }))
            }
            Kind::Spike(spike) => {
                let rounds = rounds.min(BURST_ROUNDS_MAX);
                Answers::Spike(interleave(contenders, rounds, |n, one| {
                    told(n, one);
                    one.spike(&spike)
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
            Self::Throughput(all) => standings(all, median),
            Self::Waits(all) => {
                standings(all, |samples| median_of(samples, |waits| waits.p999 as f64))
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
pub fn growth(samples: &[(f64, f64)]) -> Option<f64> {
    let (small, large): (Vec<f64>, Vec<f64>) = samples.iter().copied().unzip();
    ratio_of_medians(&large, &small)
}

/// The median of one figure of each sample.
pub fn median_of<T>(samples: &[T], figure: impl Fn(&T) -> f64) -> Option<f64> {
    median(&samples.iter().map(figure).collect::<Vec<f64>>())
}

fn standings<T>(all: &[Series<T>], figure: impl Fn(&[T]) -> Option<f64>) -> Vec<Standing> {
    all.iter()
        .filter_map(|series| {
            let figure = figure(&series.samples)?;
            Some(Standing {
                name: series.name,
                role: series.role,
                figure,
            })
        })
        .collect()
}

/// All scenarios, in the order of the report.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let mut all = throughput_and_waits();
    all.extend(growths());
    all.extend(bursts());
    all
}

fn throughput_and_waits() -> Vec<Scenario> {
    let pair = Load {
        tasks: 2,
        connections: 2,
        workers: Workers::Two,
        ..UNCONTENDED
    };
    let wide = Load {
        tasks: 512,
        connections: 8,
        ..CROWD
    };
    vec![
        Scenario {
            name: "uncontended",
            about: "1 task, 8 connections, current-thread runtime: acquire and drop",
            kind: Kind::Throughput(UNCONTENDED),
        },
        Scenario {
            name: "pair",
            about: "2 tasks, 2 connections, 2 workers: acquire and drop",
            kind: Kind::Throughput(pair),
        },
        Scenario {
            name: "crowd-64",
            about: "64 tasks, 4 connections, 2 workers: acquire, yield once, drop",
            kind: Kind::Throughput(CROWD),
        },
        Scenario {
            name: "crowd-64-waits",
            about: "the same; how long acquire waits",
            kind: Kind::Waits(CROWD),
        },
        // On two workers the rest of the machine decides how often they are in each other's way;
        // on one the figure is steady.
        Scenario {
            name: "crowd-64-one-worker",
            about: "64 tasks, 4 connections, current-thread runtime: acquire, yield once, drop",
            kind: Kind::Throughput(Load {
                workers: Workers::One,
                ..CROWD
            }),
        },
        Scenario {
            name: "crowd-512",
            about: "512 tasks, 8 connections, 2 workers: acquire, yield once, drop",
            kind: Kind::Throughput(wide),
        },
        Scenario {
            name: "crowd-512-waits",
            about: "the same; how long acquire waits",
            kind: Kind::Waits(wide),
        },
    ]
}

/// Growth is a property of data structures: one worker, so that the scheduler has no part in it.
fn growths() -> Vec<Scenario> {
    let idle = |connections| Load {
        connections,
        ..UNCONTENDED
    };
    let queue = |connections, waiters| Load {
        tasks: connections + waiters,
        connections,
        ops: 200_000,
        hold: Hold::OneYield,
        workers: Workers::One,
    };
    vec![
        Scenario {
            name: "growth-idle",
            about: "10 to 1 000 idle connections, 1 task: acquire and drop",
            kind: Kind::Growth {
                small: idle(10),
                large: idle(1_000),
            },
        },
        Scenario {
            name: "growth-connections",
            about: "10 to 1 000 leased connections, 10 waiters: acquire, yield once, drop",
            kind: Kind::Growth {
                small: queue(10, 10),
                large: queue(1_000, 10),
            },
        },
        Scenario {
            name: "growth-waiters",
            about: "10 to 10 000 waiters, 4 connections: acquire, yield once, drop",
            kind: Kind::Growth {
                small: queue(4, 10),
                large: queue(4, 10_000),
            },
        },
    ]
}

fn bursts() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "stampede",
            about: "25 000 tasks at once, 3 connections, 2 workers: is everybody served?",
            kind: Kind::Stampede(Stampede {
                tasks: 25_000,
                connections: 3,
            }),
        },
        Scenario {
            name: "spike",
            about: "50 requests of 2 ms at once; 5 warm connections, at most 50, connect 150 ms",
            kind: Kind::Spike(Spike {
                requests: 50,
                connections: 50,
                warm: 5,
                connect_time: Duration::from_millis(150),
                work_time: Duration::from_millis(2),
            }),
        },
    ]
}

/// One task that never has to wait.
pub const UNCONTENDED: Load = Load {
    tasks: 1,
    connections: 8,
    ops: 200_000,
    hold: Hold::Nothing,
    workers: Workers::One,
};

/// Sixteen tasks for each connection.
pub const CROWD: Load = Load {
    tasks: 64,
    connections: 4,
    ops: 128_000,
    hold: Hold::OneYield,
    workers: Workers::Two,
};

const BURST_ROUNDS_MAX: usize = 3;
