//! One child beside four, behind one pool: what more children bring depends on the child.
//!
//! A child that takes its time for each request, one at a time, is served by more of them as far as
//! there are cores, or farther if it only waits. A child that is done with a request at once is best
//! left alone: it answers many requests for each switch to it, and four share what one had together.

use std::time::Duration;

use pool_core::SharedPool;
use pool_stdio::JsonRpcConnection;
use tokio::task::JoinSet;

use super::client::{call, connector};
use super::two_workers;
use crate::children::chapter::spread;
use crate::children::{Bar, Chapter, Effort, Judgement, Measured, Picture};
use pool_reuse::builtin::server::Tool;
use pool_reuse::measure::clock::Stopwatch;
use pool_reuse::measure::plot::{Chart, ChartBar, Side};
use pool_reuse::measure::stats::{median, paired};
use pool_reuse::measure::table::Table;

/// What is asked of the children, and how often in a round.
struct Load {
    what: &'static str,
    tool: Tool,
    calls: u32,
    /// Whether four should be better than one.
    gains: bool,
}

const LOADS: [Load; 3] = [
    Load {
        what: "burns 1 ms per request",
        tool: Tool::Burn,
        calls: 256,
        gains: true,
    },
    Load {
        what: "waits 1 ms per request",
        tool: Tool::Wait,
        calls: 256,
        gains: true,
    },
    Load {
        what: "multiplexes",
        tool: Tool::Answer,
        calls: 16_000,
        gains: false,
    },
];

/// Measures it.
///
/// # Errors
///
/// If a child cannot be had, or does not answer.
pub fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let all = two_workers()?.block_on(rounds(effort.rounds(ROUNDS)))?;
    let mut chapter = Chapter::new("JSON-RPC: four children beside one");
    let header = [
        "a child that",
        "one: requests/s",
        "least",
        "greatest",
        "four: requests/s",
        "least",
        "greatest",
        "four / one",
        "least",
        "greatest",
    ];
    let mut table = Table::new(&header);
    for (load, [one, four]) in LOADS.iter().zip(&all) {
        let mut row = vec![load.what.to_owned()];
        row.extend(spread(one, 0));
        row.extend(spread(four, 0));
        let times = four.iter().zip(one).map(|(four, one)| four / one);
        row.extend(spread(&times.collect::<Vec<_>>(), 2));
        table.add_row(row);
        chapter.judgements.push(judgement(load, one, four));
    }
    chapter.paragraphs.push(ABOUT.to_owned());
    chapter.paragraphs.push(table.to_string());
    chapter.pictures.push(Picture {
        name: "rate".to_owned(),
        chart: Chart {
            title: "64 callers, one child beside four".to_owned(),
            unit: "requests per second (more is better)".to_owned(),
            bars: chart_bars(&all),
        },
    });
    Ok(chapter)
}

fn judgement(load: &Load, one: &[f64], four: &[f64]) -> Judgement {
    let (what, figure) = if load.gains {
        ("four children / one", paired(four, one))
    } else {
        ("one child / four", paired(one, four))
    };
    Judgement {
        what: format!("requests/s of {what}, a child that {}", load.what),
        figure,
        bar: Bar::Open,
    }
}

/// Requests per second of one child, and of four, for each load.
type Rates = [[Vec<f64>; 2]; LOADS.len()];

async fn rounds(count: usize) -> Measured<Rates> {
    let pools = [pool(1).await?, pool(4).await?];
    let mut all = Rates::default();
    // The first round is for warming up.
    for number in 0..=count {
        for (load, rates) in LOADS.iter().zip(&mut all) {
            for turn in 0..pools.len() {
                let which = (number + turn) % pools.len();
                let rate = round(&pools[which], load).await?;
                if number > 0 {
                    rates[which].push(rate);
                }
            }
        }
    }
    for pool in pools {
        pool.close(Duration::from_secs(5)).await;
    }
    Ok(all)
}

/// All its children are there, and each is to have its part of the callers.
async fn pool(children: u32) -> Measured<SharedPool<JsonRpcConnection>> {
    let pool = SharedPool::builder(connector()?)
        .max_size(usize::try_from(children)?)
        .target_leases(CALLERS / children)
        .build()?;
    pool.warm_up(usize::try_from(children)?).await?;
    Ok(pool)
}

async fn round(pool: &SharedPool<JsonRpcConnection>, load: &Load) -> Measured<f64> {
    let (each, tool) = (load.calls / CALLERS, load.tool);
    let mut tasks: JoinSet<Measured<()>> = JoinSet::new();
    let watch = Stopwatch::start();
    for _ in 0..CALLERS {
        let pool = pool.clone();
        tasks.spawn(async move {
            for _ in 0..each {
                let child = pool.acquire().await?;
                call(&child, tool).await?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(f64::from(each * CALLERS) / watch.elapsed().as_secs_f64())
}

fn chart_bars(all: &Rates) -> Vec<ChartBar> {
    let pairs = LOADS.iter().zip(all);
    let bars = pairs.flat_map(|(load, rates)| {
        let named = [("one", Side::Other), ("four", Side::Ours)];
        named
            .into_iter()
            .zip(rates)
            .filter_map(|((how_many, side), rates)| {
                let value = median(rates)?;
                Some(ChartBar {
                    name: format!("{}: {how_many}", load.what),
                    value,
                    label: format!("{value:.0}"),
                    side,
                })
            })
    });
    bars.collect()
}

const ABOUT: &str = "\
64 callers on two workers, each with a lease of its own for each request. The three differ in what the
same child does for a request. It answers one at a time; what burns keeps a core busy, so that four of
them gain no more than there are cores for them, and the callers need some of that too.";
const ROUNDS: usize = 15;
const CALLERS: u32 = 64;
