//! One child beside four, behind one pool: what more children bring depends on the child.
//!
//! If a child works on one request at a time, more children serve more requests: as many times more
//! as there are cores, or as there are children if they only wait. A child that answers at once is
//! best left alone: it answers many requests in a row, while four children cause more switches.

use std::time::Duration;

use pool_core::SharedPool;
use pool_stdio::JsonRpcConnection;
use tokio::task::JoinSet;

use super::client::connector;
use super::place::two_workers;
use super::tool_call::call;
use crate::children::chapter::{Chapter, Picture, Topic, spread};
use crate::effort::Effort;
use pool_reuse::builtin::Tool;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::{Chart, ChartBar, Side};
use pool_reuse::measure::{median, paired};

/// The work of a request, and how many requests a round has.
struct Work {
    what: &'static str,
    tool: Tool,
    calls: u32,
    /// Whether four should be better than one.
    gains: bool,
}

const WORKS: [Work; 3] = [
    Work {
        what: "burns 1 ms per request",
        tool: Tool::Burn,
        calls: 256,
        gains: true,
    },
    Work {
        what: "waits 1 ms per request",
        tool: Tool::Wait,
        calls: 256,
        gains: true,
    },
    Work {
        what: "multiplexes",
        tool: Tool::Answer,
        calls: 16_000,
        gains: false,
    },
];

/// What more children bring.
pub(in crate::children) const TOPIC: Topic = Topic {
    name: "json-rpc-crowd",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let all = two_workers()?.block_on(rounds(effort.rounds(ROUNDS)))?;
    let mut chapter = Chapter::new(TOPIC.name, "JSON-RPC: four children beside one");
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
    for (work, [one, four]) in WORKS.iter().zip(&all) {
        let mut row = vec![work.what.to_owned()];
        row.extend(spread(one, 0));
        row.extend(spread(four, 0));
        let times = four.iter().zip(one).map(|(four, one)| four / one);
        row.extend(spread(&times.collect::<Vec<_>>(), 2));
        table.add_row(row);
        let (what, value) = figure(work, one, four);
        chapter.figure(what, value, None);
    }
    chapter.say(ABOUT);
    chapter.say(table);
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

/// The ratio that should be above one for this work.
fn figure(work: &Work, one: &[f64], four: &[f64]) -> (String, Option<f64>) {
    let (what, value) = if work.gains {
        ("four children / one", paired(four, one))
    } else {
        ("one child / four", paired(one, four))
    };
    let what = format!("requests/s of {what}, a child that {}", work.what);
    (what, value)
}

/// Requests per second of one child, and of four, for each work.
type Rates = [[Vec<f64>; 2]; WORKS.len()];

async fn rounds(count: usize) -> Measured<Rates> {
    let pools = [pool(1).await?, pool(4).await?];
    let mut all = Rates::default();
    // The first round warms everything up.
    for number in 0..=count {
        for (work, rates) in WORKS.iter().zip(&mut all) {
            for turn in 0..pools.len() {
                let which = (number + turn) % pools.len();
                let rate = round(&pools[which], work).await?;
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

/// A pool whose children all run, each with its share of the callers.
async fn pool(children: u32) -> Measured<SharedPool<JsonRpcConnection>> {
    let pool = SharedPool::builder(connector()?)
        .max_size(usize::try_from(children)?)
        .target_leases(CALLERS / children)
        .build()?;
    pool.warm_up(usize::try_from(children)?).await?;
    Ok(pool)
}

async fn round(pool: &SharedPool<JsonRpcConnection>, work: &Work) -> Measured<f64> {
    let (each, tool) = (work.calls / CALLERS, work.tool);
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
    let pairs = WORKS.iter().zip(all);
    let bars = pairs.flat_map(|(work, rates)| {
        let named = [("one", Side::Other), ("four", Side::Ours)];
        named
            .into_iter()
            .zip(rates)
            .filter_map(|((how_many, side), rates)| {
                let value = median(rates)?;
                Some(ChartBar {
                    name: format!("{}: {how_many}", work.what),
                    value,
                    label: format!("{value:.0}"),
                    side,
                })
            })
    });
    bars.collect()
}

const ABOUT: &str = "\
64 callers on two workers, with a lease for each request. The same child does three kinds of work, one
request at a time. A child that burns keeps a core busy, so four of them gain no more than there are
cores, and the callers need some of that too.";
const ROUNDS: usize = 15;
const CALLERS: u32 = 64;
