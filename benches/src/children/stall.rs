//! How long the other tasks of a runtime wait while a hundred children are started.
//!
//! A task ticks once in a millisecond, on a runtime of one thread; its longest gap is what counts.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_stdio::{Children, Stop};
use tokio::process::Command;
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::chapter::new_table;
use super::program::Program;
use super::spawn::elapsed;
use super::{Bar, Chapter, Effort, Judgement, Outcome};
use crate::clock::Stopwatch;
use crate::stats::{Summary, median, ratio};

/// Measures it.
///
/// # Errors
///
/// If a child cannot be had.
pub fn measure(effort: Effort) -> Outcome<Chapter> {
    pool_stdio::prepare()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let program = Program::native()?;
    let (mut nothing, mut ours, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=effort.rounds(ROUNDS) {
        let found = runtime.block_on(async {
            let nothing = longest_gap(async {
                sleep(QUIET).await;
                Ok(())
            });
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((
                nothing.await?,
                longest_gap(start_ours(&program)).await?,
                longest_gap(start_bare(&program)).await?,
            ))
        })?;
        if round > 0 {
            nothing.push(found.0);
            ours.push(found.1);
            bare.push(found.2);
        }
    }
    let mut table = new_table(&["meanwhile", "longest gap ms", "least", "greatest"]);
    for (name, all) in [
        ("nothing", &nothing),
        ("100 children by pool-stdio", &ours),
        ("100 children by tokio::process", &bare),
    ] {
        let Some(summary) = Summary::of(all) else {
            continue;
        };
        let millis = |ns: f64| format!("{:.2}", ns / 1e6);
        table.add_row([
            name.to_owned(),
            millis(summary.median),
            millis(summary.least),
            millis(summary.greatest),
        ]);
    }
    let over = |reference: &[f64]| {
        median(&ours)
            .zip(median(reference))
            .and_then(|(ours, reference)| ratio(ours, reference))
    };
    Ok(Chapter {
        title: "what other tasks wait while 100 children are started",
        paragraphs: vec![table.to_string()],
        judgements: vec![
            Judgement {
                what: "longest gap / tokio::process".to_owned(),
                figure: over(&bare),
                bar: Bar::Open,
            },
            Judgement {
                what: "longest gap / doing nothing".to_owned(),
                figure: over(&nothing),
                bar: Bar::Open,
            },
        ],
    })
}

/// The longest time between two ticks while the work is done, in nanoseconds.
async fn longest_gap(work: impl Future<Output = Outcome<()>>) -> Outcome<f64> {
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
    work.await?;
    is_over.store(true, Ordering::Relaxed);
    let longest = ticker.join_next().await.ok_or("there is one")?;
    Ok(longest?)
}

async fn start_ours(program: &Program) -> Outcome<()> {
    let command = program.spec().build()?;
    let children = Children::new();
    let mut starting = JoinSet::new();
    for _ in 0..COUNT {
        starting.spawn(children.spawn(&command));
    }
    let mut started = Vec::new();
    while let Some(child) = starting.join_next().await {
        started.push(child??);
    }
    let mut ending = JoinSet::new();
    for child in started {
        ending.spawn(child.terminate(Stop::Force));
    }
    while ending.join_next().await.is_some() {}
    Ok(())
}

async fn start_bare(program: &Program) -> Outcome<()> {
    let mut starting = JoinSet::new();
    for _ in 0..COUNT {
        let mut command = Command::from(program.command());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        starting.spawn(async move { start_one(&mut command) });
    }
    let mut started = Vec::new();
    while let Some(child) = starting.join_next().await {
        started.push(child??);
    }
    for mut child in started {
        child.kill().await?;
    }
    Ok(())
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
