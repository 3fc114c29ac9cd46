//! How long the other tasks of a runtime wait while a hundred children are started.
//!
//! On a runtime with one thread, one task ticks once per millisecond; its longest gap is recorded.
//! Starting a hundred processes keeps all cores busy, so a tick is late whoever starts them. The
//! time for which the starting tasks hold the runtime's thread is recorded as well: that is their
//! own share.

use std::future::poll_fn;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_stdio::{Children, Stop};
use tokio::process::Command;
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::chapter::{Chapter, Topic};
use super::program::Program;
use super::spawn::elapsed;
use crate::effort::Effort;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::{Summary, median, ratio_of_medians};

/// What starting children does to the other tasks.
pub(super) const TOPIC: Topic = Topic {
    name: "stall",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let program = Program::native()?;
    let (mut nothing, mut ours, mut bare) = (Gaps::default(), Gaps::default(), Gaps::default());
    for round in 0..=effort.rounds(ROUNDS) {
        let quiet = longest_gap(async {
            sleep(QUIET).await;
            Ok(0.0)
        });
        let found = [
            (&mut nothing, runtime.block_on(quiet)?),
            (
                &mut ours,
                runtime.block_on(longest_gap(start_ours(&program)))?,
            ),
            (
                &mut bare,
                runtime.block_on(longest_gap(start_bare(&program)))?,
            ),
        ];
        for (series, (gap, held)) in found {
            if round > 0 {
                series.longest.push(gap);
                series.held.push(held);
            }
        }
    }
    let mut chapter = Chapter::new(
        TOPIC.name,
        "How long other tasks wait while 100 children are started",
    );
    chapter.say(table([
        ("nothing", &nothing),
        ("100 children by pool-stdio", &ours),
        ("100 children by tokio::process", &bare),
    ]));
    chapter.figure(
        "longest gap / tokio::process",
        ratio_of_medians(&ours.longest, &bare.longest),
        None,
    );
    chapter.figure(
        "time that starting holds the runtime / tokio::process",
        ratio_of_medians(&ours.held, &bare.held),
        None,
    );
    Ok(chapter)
}

/// Samples of each round, in nanoseconds.
#[derive(Debug, Default)]
struct Gaps {
    /// The longest time between two ticks.
    longest: Vec<f64>,
    /// How long the starting tasks held the thread in all.
    held: Vec<f64>,
}

fn table(rows: [(&str, &Gaps); 3]) -> Table {
    let mut table = Table::new(&[
        "meanwhile",
        "longest gap ms",
        "least",
        "greatest",
        "thread held ms",
    ]);
    for (name, series) in rows {
        let (Some(gaps), Some(held)) = (Summary::of(&series.longest), median(&series.held)) else {
            continue;
        };
        let millis = |ns: f64| format!("{:.2}", ns / 1e6);
        table.add_row([
            name.to_owned(),
            millis(gaps.median),
            millis(gaps.least),
            millis(gaps.greatest),
            millis(held),
        ]);
    }
    table
}

/// The longest time between two ticks during the work, and the result of the work.
async fn longest_gap(work: impl Future<Output = Measured<f64>>) -> Measured<(f64, f64)> {
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let mut ticker = JoinSet::new();
    ticker.spawn(async move {
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut longest: f64 = 0.0;
        ticks.tick().await;
        while !over.load(Ordering::Relaxed) {
            let watch = Stopwatch::start();
            ticks.tick().await;
            longest = longest.max(elapsed(&watch));
        }
        longest
    });
    let held = work.await?;
    is_over.store(true, Ordering::Relaxed);
    let longest = ticker.join_next().await.ok_or("the ticker was spawned")?;
    Ok((longest?, held))
}

async fn start_ours(program: &Program) -> Measured<f64> {
    let command = program.spec().build()?;
    let children = Children::new();
    let mut starting = JoinSet::new();
    for _ in 0..COUNT {
        let (children, command) = (children.clone(), command.clone());
        starting.spawn(timed(async move { children.spawn(&command).await }));
    }
    let (mut started, mut held) = (Vec::new(), 0.0);
    while let Some(ended) = starting.join_next().await {
        let (child, polled) = ended?;
        started.push(child?);
        held += polled;
    }
    let mut ending = JoinSet::new();
    for child in started {
        ending.spawn(child.terminate(Stop::Force));
    }
    while ending.join_next().await.is_some() {}
    Ok(held)
}

async fn start_bare(program: &Program) -> Measured<f64> {
    let mut starting = JoinSet::new();
    for _ in 0..COUNT {
        let mut command = Command::from(program.command());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        starting.spawn(timed(async move { start_one(&mut command) }));
    }
    let (mut started, mut held) = (Vec::new(), 0.0);
    while let Some(ended) = starting.join_next().await {
        let (child, polled) = ended?;
        started.push(child?);
        held += polled;
    }
    for mut child in started {
        child.kill().await?;
    }
    Ok(held)
}

/// Adds how long the future was being polled, in nanoseconds.
async fn timed<T>(future: impl Future<Output = T>) -> (T, f64) {
    let mut future = pin!(future);
    let mut polled = 0.0;
    poll_fn(move |cx| {
        let watch = Stopwatch::start();
        let poll = future.as_mut().poll(cx);
        polled += elapsed(&watch);
        poll.map(|output| (output, polled))
    })
    .await
}

#[expect(
    clippy::disallowed_methods,
    reason = "children that are compared with those of a pool"
)]
fn start_one(command: &mut Command) -> std::io::Result<tokio::process::Child> {
    command.spawn()
}

const COUNT: usize = 100;
const ROUNDS: usize = 9;
/// About as long as starting a hundred children takes.
const QUIET: Duration = Duration::from_millis(50);
