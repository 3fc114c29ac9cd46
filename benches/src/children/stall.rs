//! How long the other tasks of a runtime wait while a hundred children are started.
//!
//! A task ticks once in a millisecond, on a runtime of one thread; its longest gap is what it feels.
//! On a machine whose cores are busy with starting the children a tick is late whoever starts them,
//! so the time that the starting tasks hold the thread is told beside it: that is what they do to
//! the runtime.

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

use super::program::Program;
use super::spawn::elapsed;
use super::{Bar, Chapter, Effort, Judgement, Measured};
use pool_reuse::measure::clock::Stopwatch;
use pool_reuse::measure::stats::{Summary, median, ratio_of_medians};
use pool_reuse::measure::table::Table;

/// Measures it.
///
/// # Errors
///
/// If a child cannot be had.
pub fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let program = Program::native()?;
    let (mut nothing, mut ours, mut bare) =
        (Series::default(), Series::default(), Series::default());
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
                series.gaps.push(gap);
                series.held.push(held);
            }
        }
    }
    let table = table([
        ("nothing", &nothing),
        ("100 children by pool-stdio", &ours),
        ("100 children by tokio::process", &bare),
    ]);
    Ok(Chapter {
        title: "what other tasks wait while 100 children are started",
        paragraphs: vec![table],
        pictures: Vec::new(),
        judgements: vec![
            Judgement {
                what: "longest gap / tokio::process".to_owned(),
                figure: ratio_of_medians(&ours.gaps, &bare.gaps),
                bar: Bar::Open,
            },
            Judgement {
                what: "time that starting holds the runtime / tokio::process".to_owned(),
                figure: ratio_of_medians(&ours.held, &bare.held),
                bar: Bar::Open,
            },
        ],
    })
}

/// Samples of each round, in nanoseconds.
#[derive(Debug, Default)]
struct Series {
    /// The longest time between two ticks.
    gaps: Vec<f64>,
    /// How long the starting tasks held the thread, in all.
    held: Vec<f64>,
}

fn table(rows: [(&str, &Series); 3]) -> String {
    let mut table = Table::new(&[
        "meanwhile",
        "longest gap ms",
        "least",
        "greatest",
        "thread held ms",
    ]);
    for (name, series) in rows {
        let (Some(gaps), Some(held)) = (Summary::of(&series.gaps), median(&series.held)) else {
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
    table.to_string()
}

/// The longest time between two ticks while the work is done, and what the work says.
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
    let longest = ticker.join_next().await.ok_or("there is one")?;
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

/// Tells as well how long it was being polled, in nanoseconds.
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
    reason = "the children that a pool's are compared with are not the pool's"
)]
fn start_one(command: &mut Command) -> std::io::Result<tokio::process::Child> {
    command.spawn()
}

const COUNT: usize = 100;
const ROUNDS: usize = 9;
/// About as long as a hundred children take.
const QUIET: Duration = Duration::from_millis(50);
