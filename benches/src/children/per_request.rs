//! What reuse saves: a request to a pooled child beside a child started for each request, for a
//! native child and for interpreters.

use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::StdioConnector;
use tokio::runtime;

use super::chapter::{Chapter, Topic};
use super::cores::Cores;
use super::program::Program;
use super::round_trip::{ask, per_request};
use crate::bars::{self, Bar};
use crate::effort::Effort;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::{Summary, median, paired};

/// A kind of child.
#[derive(Debug, Clone, Copy)]
struct ChildKind {
    name: &'static str,
    where_it_is: &'static str,
    script: &'static str,
    /// Pinned, then unpinned.
    bars: Option<[Bar; 2]>,
    rounds: usize,
    spawns: u32,
}

const CHILD_KINDS: [ChildKind; 3] = [
    ChildKind {
        name: "native",
        where_it_is: "",
        script: "",
        bars: Some([bars::NATIVE_SPAWN_PINNED, bars::NATIVE_SPAWN]),
        rounds: 31,
        spawns: 20,
    },
    ChildKind {
        name: "python3",
        where_it_is: "import os; print(os.path.realpath('/proc/self/exe'))",
        script: "import sys\nfor line in sys.stdin:\n sys.stdout.write(line)\n sys.stdout.flush()",
        bars: Some([bars::INTERPRETER_SPAWN; 2]),
        rounds: 9,
        spawns: 4,
    },
    ChildKind {
        name: "node",
        where_it_is: "console.log(process.execPath)",
        script: "process.stdin.on('data', data => process.stdout.write(data))",
        bars: None,
        rounds: 9,
        spawns: 4,
    },
];

/// A process for each request beside a pooled request, pinned and unpinned.
pub(super) const TOPIC: Topic = Topic {
    name: "reuse",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let mut chapter = Chapter::new(TOPIC.name, "Reuse beside a process for each request");
    let header = [
        "child",
        "pooled us",
        "spawned us",
        "spawned / pooled",
        "least",
        "greatest",
    ];
    let mut table = Table::new(&header);
    for (which, cores) in Cores::choices()?.into_iter().enumerate() {
        for kind in CHILD_KINDS {
            let name = format!("{}, {}", kind.name, cores.what);
            let found = match kind.name {
                "native" => Program::native(),
                name => Program::interpreter(name, kind.where_it_is, kind.script),
            };
            let program = match found {
                Ok(program) => program,
                Err(why) => {
                    chapter.say(format!(
                        "{}: skipped, it does not run here: {why}",
                        kind.name
                    ));
                    continue;
                }
            };
            cores.move_here()?;
            let count = effort.rounds(kind.rounds);
            let (pooled, spawned) = rounds(&program, &cores, count, kind.spawns)?;
            let times = paired(&spawned, &pooled);
            let ratios = spawned.iter().zip(&pooled).map(|(own, pool)| own / pool);
            let spread = Summary::of(&ratios.collect::<Vec<f64>>());
            let whole = |times: Option<f64>| times.map_or("-".to_owned(), |it| format!("{it:.0}"));
            let micros = |all: &[f64]| median(all).unwrap_or(f64::NAN) / 1e3;
            table.add_row([
                name.clone(),
                format!("{:.2}", micros(&pooled)),
                format!("{:.0}", micros(&spawned)),
                whole(times),
                whole(spread.map(|all| all.least)),
                whole(spread.map(|all| all.greatest)),
            ]);
            let bar = kind.bars.map(|bars| bars[which]);
            chapter.figure(format!("spawn per request / pooled, {name}"), times, bar);
        }
    }
    chapter.say(table);
    Ok(chapter)
}

/// Nanoseconds per request in each round: with the pool, and with a child for each request.
fn rounds(
    program: &Program,
    cores: &Cores,
    count: usize,
    spawns: u32,
) -> Measured<(Vec<f64>, Vec<f64>)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let connector = StdioConnector::new(program.spec())?;
        let pool = ConnectionPool::builder(connector).max_size(1).build()?;
        cores.move_child(pool.acquire().await?.process().pid())?;
        let (mut pooled, mut spawned) = (Vec::new(), Vec::new());
        // The first round warms everything up.
        for round in 0..=count {
            let reused = ask(&pool, REQUESTS).await?;
            let watch = Stopwatch::start();
            for _ in 0..spawns {
                program.ask_alone()?;
            }
            if round > 0 {
                pooled.push(reused);
                spawned.push(per_request(&watch, spawns));
            }
        }
        pool.close(Duration::from_secs(5)).await;
        Ok((pooled, spawned))
    })
}

const REQUESTS: u32 = 1_000;
