//! A shared pool with default settings beside the best fixed setting, in front of a child that
//! serves one request at a time and in front of one that multiplexes.
//!
//! The first wants a child for each caller, the second one child for all of them. A user who does
//! not know which of the two the child is leaves the settings alone, and should lose little by it.

use std::time::Duration;

use pool_core::SharedPool;
use pool_reuse::builtin::Tool;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::paired;
use pool_stdio::JsonRpcConnection;
use tokio::task::JoinSet;

use super::client::connector;
use super::place::two_workers;
use super::tool_call::call;
use crate::bars::{self, Bar};
use crate::children::chapter::{Chapter, Topic, spread};
use crate::effort::Effort;

/// What default settings lose.
pub(in crate::children) const TOPIC: Topic = Topic {
    name: "json-rpc-sharing",
    measure,
};

/// A kind of child, and the fixed settings that default settings are compared with.
struct SharedChild {
    what: &'static str,
    tool: Tool,
    fixed: &'static [Fixed],
    /// What the best of them is called.
    best: &'static str,
    /// How often it is measured.
    rounds: usize,
    bar: Bar,
}

/// A fixed setting.
#[derive(Clone, Copy)]
struct Fixed {
    max_size: u32,
    /// Requests that one connection serves at once before another one is opened.
    target_leases: u32,
}

const fn fixed(max_size: u32, target_leases: u32) -> Fixed {
    Fixed {
        max_size,
        target_leases,
    }
}

const SHARED_CHILDREN: [SharedChild; 2] = [
    SharedChild {
        what: "serial child, 10 ms per request",
        tool: Tool::Pause,
        fixed: &[
            fixed(CALLERS, 1),
            fixed(CALLERS, 4),
            fixed(CALLERS, CALLERS),
        ],
        best: "best fixed",
        rounds: 3,
        bar: bars::SHARED_SERIAL,
    },
    SharedChild {
        what: "multiplexing child",
        tool: Tool::Answer,
        // With room for a second child this setting would open one, since all callers together fill the first.
        fixed: &[fixed(1, CALLERS)],
        best: "one child",
        // Whether the cores are shared decides, so one sample says little.
        rounds: 9,
        bar: bars::SHARED_MULTIPLEXING,
    },
];

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let mut chapter = Chapter::new(
        TOPIC.name,
        "JSON-RPC: a shared pool with default settings beside the best fixed setting",
    );
    let mut table = Table::new(&[
        "16 callers; by default at most 16 children",
        "requests/s",
        "least",
        "greatest",
    ]);
    for child in SHARED_CHILDREN {
        let rates = two_workers()?.block_on(rounds(&child, effort.rounds(child.rounds)))?;
        let names = child.fixed.iter().map(|fixed| {
            format!(
                "target_leases {}, max_size {}",
                fixed.target_leases, fixed.max_size
            )
        });
        for (name, rates) in ["default".to_owned()].into_iter().chain(names).zip(&rates) {
            let mut row = vec![format!("{}: {name}", child.what)];
            row.extend(spread(rates, 0));
            table.add_row(row);
        }
        // Beside each fixed setting: the least is beside the best.
        let figure = rates.split_first().and_then(|(default, fixed)| {
            let ratios = fixed.iter().filter_map(|fixed| paired(default, fixed));
            ratios.min_by(f64::total_cmp)
        });
        let what = format!(
            "requests/s of default settings / {}, {}",
            child.best, child.what
        );
        chapter.figure(what, figure, child.bar);
    }
    chapter.say(format!(
        "The pool with default settings serves for {LEARNING:?}, the others for {WARM_UP:?}, before \
         each is measured for {MEASURED:?}. A figure is the median of the ratios of each round."
    ));
    chapter.say(table);
    Ok(chapter)
}

/// Requests per second of each round: with default settings, then with each fixed one.
async fn rounds(child: &SharedChild, count: usize) -> Measured<Vec<Vec<f64>>> {
    let settings: Vec<Option<Fixed>> = [None]
        .into_iter()
        .chain(child.fixed.iter().copied().map(Some))
        .collect();
    let mut rates = vec![Vec::new(); settings.len()];
    for round in 0..count {
        // Each round begins with another one.
        for turn in 0..settings.len() {
            let which = (round + turn) % settings.len();
            let (setting, rates) = (&settings[which], &mut rates[which]);
            // A new pool each time: what it has learned belongs to what is measured.
            let pool = pool(*setting)?;
            let before = if setting.is_none() { LEARNING } else { WARM_UP };
            serve(&pool, child.tool, before).await?;
            rates.push(serve(&pool, child.tool, MEASURED).await?);
            pool.close(Duration::from_secs(5)).await;
        }
    }
    Ok(rates)
}

fn pool(fixed: Option<Fixed>) -> Measured<SharedPool<JsonRpcConnection>> {
    let max_size = fixed.map_or(CALLERS, |fixed| fixed.max_size);
    let builder = SharedPool::builder(connector()?).max_size(usize::try_from(max_size)?);
    Ok(match fixed {
        Some(fixed) => builder.target_leases(fixed.target_leases),
        None => builder,
    }
    .build()?)
}

/// Requests per second of all callers, each of which takes a lease for each request.
async fn serve(pool: &SharedPool<JsonRpcConnection>, tool: Tool, time: Duration) -> Measured<f64> {
    let mut tasks: JoinSet<Measured<u32>> = JoinSet::new();
    let watch = Stopwatch::start();
    for _ in 0..CALLERS {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut served = 0;
            while watch.elapsed() < time {
                let child = pool.acquire().await?;
                call(&child, tool).await?;
                served += 1;
            }
            Ok(served)
        });
    }
    let mut served = 0;
    while let Some(done) = tasks.join_next().await {
        served += done??;
    }
    Ok(f64::from(served) / watch.elapsed().as_secs_f64())
}

const CALLERS: u32 = 16;
/// How long a pool can take to find out what its children are like.
const LEARNING: Duration = Duration::from_secs(3);
/// How long a pool with a fixed setting needs to open its children.
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(1);
