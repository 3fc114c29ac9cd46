//! The list of scenarios.

use std::time::Duration;

use super::contenders::{all_contenders, by_key, many_keys_and_one_pool, with_and_without_budget};
use super::expiry::Expiry;
use super::load::{Afterwards, Hold, Load, Workers};
use super::scenario::{Scenario, ScenarioKind, WaitFigure};
use super::spike::Spike;
use super::stampede::Stampede;

/// All scenarios, in the order of the report.
#[must_use]
pub fn all_scenarios() -> Vec<Scenario> {
    let mut all = throughput_and_waits();
    all.extend(growths());
    all.extend(bursts());
    all.extend(budgets_and_keys());
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
            kind: ScenarioKind::Throughput(UNCONTENDED),
            subjects: all_contenders,
        },
        Scenario {
            name: "pair",
            about: "2 tasks, 2 connections, 2 workers: acquire and drop",
            kind: ScenarioKind::Throughput(pair),
            subjects: all_contenders,
        },
        Scenario {
            name: "crowd-64",
            about: "64 tasks, 4 connections, 2 workers: acquire, yield once, drop",
            kind: ScenarioKind::Throughput(CROWD),
            subjects: all_contenders,
        },
        Scenario {
            name: "crowd-64-waits",
            about: "the same; how long acquire waits",
            kind: ScenarioKind::Waits(CROWD, WaitFigure::P999),
            subjects: all_contenders,
        },
        // With two workers the rest of the machine decides how often they meet in the lock. With one
        // worker the figure is steady.
        Scenario {
            name: "crowd-64-one-worker",
            about: "64 tasks, 4 connections, current-thread runtime: acquire, yield once, drop",
            kind: ScenarioKind::Throughput(Load {
                workers: Workers::One,
                ..CROWD
            }),
            subjects: all_contenders,
        },
        Scenario {
            name: "crowd-512",
            about: "512 tasks, 8 connections, 2 workers: acquire, yield once, drop",
            kind: ScenarioKind::Throughput(wide),
            subjects: all_contenders,
        },
        Scenario {
            name: "crowd-512-waits",
            about: "the same; how long acquire waits",
            kind: ScenarioKind::Waits(wide, WaitFigure::P999),
            subjects: all_contenders,
        },
        // A runtime that runs the woken waiter on the releasing worker, after its present task, lets
        // the connection lie unused for as long as that task computes: jackc/puddle#46.
        Scenario {
            name: "compute-after-release",
            about: "4 tasks, 1 connection, 2 workers: acquire, drop, compute for 200 us; how long \
                    acquire waits",
            kind: ScenarioKind::Waits(COMPUTING, WaitFigure::Mean),
            subjects: all_contenders,
        },
    ]
}

/// Growth is a property of data structures: with one worker the scheduler has no part in it.
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
        afterwards: Afterwards::Nothing,
        workers: Workers::One,
    };
    vec![
        Scenario {
            name: "growth-idle",
            about: "10 to 1 000 idle connections, 1 task: acquire and drop",
            kind: ScenarioKind::Growth {
                small: idle(10),
                large: idle(1_000),
            },
            subjects: all_contenders,
        },
        Scenario {
            name: "growth-connections",
            about: "10 to 1 000 leased connections, 10 waiters: acquire, yield once, drop",
            kind: ScenarioKind::Growth {
                small: queue(10, 10),
                large: queue(1_000, 10),
            },
            subjects: all_contenders,
        },
        Scenario {
            name: "growth-waiters",
            about: "10 to 10 000 waiters, 4 connections: acquire, yield once, drop",
            kind: ScenarioKind::Growth {
                small: queue(4, 10),
                large: queue(4, 10_000),
            },
            subjects: all_contenders,
        },
    ]
}

fn bursts() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "stampede",
            about: "25 000 tasks at once, 3 connections, 2 workers: is everybody served?",
            kind: ScenarioKind::Stampede(Stampede {
                tasks: 25_000,
                connections: 3,
            }),
            subjects: all_contenders,
        },
        Scenario {
            name: "spike",
            about: "50 requests of 2 ms at once; 5 warm connections, at most 50, connect 150 ms",
            kind: ScenarioKind::Spike(Spike {
                requests: 50,
                connections: 50,
                warm: 5,
                connect_time: Duration::from_millis(150),
                work_time: Duration::from_millis(2),
            }),
            subjects: all_contenders,
        },
        Scenario {
            name: "expiry",
            about: "60 000 waiters that all give up, one after the other, from 0.5 s to 1.5 s; CPU \
                    of all",
            kind: ScenarioKind::Expiry(Expiry {
                waiters: 60_000,
                first: Duration::from_millis(500),
                spread: Duration::from_secs(1),
            }),
            subjects: all_contenders,
        },
    ]
}

fn budgets_and_keys() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "budget",
            about: "1 task, 8 connections, current-thread runtime: acquire and drop, with room in the budget",
            kind: ScenarioKind::Throughput(UNCONTENDED),
            subjects: with_and_without_budget,
        },
        Scenario {
            name: "many-keys",
            about: "1 task, 1 000 keys with a pool each, 16 connections in all: acquire of a random key \
                    and drop; nearly each lease replaces a connection",
            kind: ScenarioKind::Throughput(Load {
                connections: 16,
                ops: 20_000,
                ..UNCONTENDED
            }),
            subjects: many_keys_and_one_pool,
        },
        Scenario {
            name: "by-key",
            about: "1 task, 1 000 keys, 8 connections of one of them: find its pool, acquire and drop",
            kind: ScenarioKind::Throughput(UNCONTENDED),
            subjects: by_key,
        },
    ]
}

/// One task that never has to wait.
pub const UNCONTENDED: Load = Load {
    tasks: 1,
    connections: 8,
    ops: 200_000,
    hold: Hold::Nothing,
    afterwards: Afterwards::Nothing,
    workers: Workers::One,
};

/// Sixteen tasks for each connection.
pub const CROWD: Load = Load {
    tasks: 64,
    connections: 4,
    ops: 128_000,
    hold: Hold::OneYield,
    afterwards: Afterwards::Nothing,
    workers: Workers::Two,
};

/// Tasks that give their connection back and go on computing.
const COMPUTING: Load = Load {
    tasks: 4,
    connections: 1,
    ops: 4_000,
    hold: Hold::Nothing,
    afterwards: Afterwards::Compute(Duration::from_micros(200)),
    workers: Workers::Two,
};
