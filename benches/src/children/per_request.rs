//! What reuse saves: a request to a child of the pool beside one to a child of its own, for a native
//! child and for interpreters.

use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::StdioConnector;
use tokio::runtime;

use super::program::{Cores, Program};
use super::round_trip::{ask, per_request};
use super::{Bar, Chapter, Effort, Judgement, Measured};
use pool_reuse::measure::clock::Stopwatch;
use pool_reuse::measure::stats::{Summary, median, paired};
use pool_reuse::measure::table::Table;

/// A kind of child.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    where_it_is: &'static str,
    script: &'static str,
    /// Pinned, then unpinned.
    bars: [Bar; 2],
    rounds: usize,
    spawns: u32,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "native",
        where_it_is: "",
        script: "",
        bars: [Bar::AtLeast(100.0), Bar::AtLeast(15.0)],
        rounds: 31,
        spawns: 20,
    },
    Kind {
        name: "python3",
        where_it_is: "import os; print(os.path.realpath('/proc/self/exe'))",
        script: "import sys\nfor line in sys.stdin:\n sys.stdout.write(line)\n sys.stdout.flush()",
        bars: [Bar::AtLeast(200.0), Bar::AtLeast(200.0)],
        rounds: 9,
        spawns: 4,
    },
    Kind {
        name: "node",
        where_it_is: "console.log(process.execPath)",
        script: "process.stdin.on('data', data => process.stdout.write(data))",
        bars: [Bar::Open, Bar::Open],
        rounds: 9,
        spawns: 4,
    },
];

/// Measures it, pinned and unpinned.
///
/// # Errors
///
/// If a child cannot be had, or does not answer.
pub fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let mut chapter = Chapter::new("reuse beside spawn-per-request");
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
        for kind in KINDS {
            let name = format!("{}, {}", kind.name, cores.what);
            let found = match kind.name {
                "native" => Program::native(),
                name => Program::interpreter(name, kind.where_it_is, kind.script),
            };
            let program = match found {
                Ok(program) => program,
                Err(why) => {
                    let remark = format!("{}: skipped, not to be had here: {why}", kind.name);
                    chapter.paragraphs.push(remark);
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
            chapter.judgements.push(Judgement {
                what: format!("spawn per request / pooled, {name}"),
                figure: times,
                bar: kind.bars[which],
            });
        }
    }
    chapter.paragraphs.push(table.to_string());
    Ok(chapter)
}

/// Of each round: nanoseconds per request with the pool, and with a child of its own.
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
        cores.move_child(pool.acquire().await?.pid())?;
        let (mut pooled, mut spawned) = (Vec::new(), Vec::new());
        // The first round is for warming up.
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
