//! How long it takes until a child is there, when the parent has much in memory and when it has not.
//!
//! Two times are told: from the wish to the handle, and from the wish to the first answer. A child
//! is made by sharing memory with its parent for a moment (`posix_spawn`), or by copying the tables
//! of all its memory (`fork`). For orientation the standard library is measured in both ways: a
//! user id, though the present one, makes it fork.
//!
//! The time to the handle has two modes. The thread that started the child, and the one that wants
//! it, are woken when the child has begun to run; on a core where it runs, Linux lets it have its
//! first slice (0.7 ms) or lets them have the core at once. Which of the two says nothing about the
//! size of the parent, and moves a median from the one to the other. So what is judged is the least
//! of each round, and the time to the first answer, which has the child's start in it anyway.

use std::hint::black_box;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{StdioConnector, Stop};
use tokio::runtime;
use tokio::time::Instant;

use super::program::{Program, check_content, content};
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
    let mut all = BALLASTS_MIB.map(|_| Samples::default());
    // The first round is for warming up.
    for round in 0..=effort.rounds(ROUNDS) {
        for (mib, samples) in BALLASTS_MIB.into_iter().zip(&mut all) {
            let ballast = ballast(mib);
            let (middle, least) = runtime.block_on(ours(&program))?;
            let found = Samples {
                ours: vec![middle],
                least: vec![least],
                answer: vec![runtime.block_on(first_answer(&program))?],
                standard: vec![standard(&program, Way::Spawn)?],
                forked: vec![standard(&program, Way::Fork)?],
            };
            drop(black_box(ballast));
            if round > 0 {
                samples.extend(found);
            }
        }
    }
    let [empty, _, full] = &all;
    let judgement = |what: &str, pick: fn(&Samples) -> &[f64], bar| Judgement {
        what: format!("{what} with a parent of 1 GiB / of nothing"),
        figure: ratio_of_medians(pick(full), pick(empty)),
        bar,
    };
    Ok(Chapter {
        title: "starting a child",
        paragraphs: vec![table(&all)],
        pictures: Vec::new(),
        judgements: vec![
            judgement("undisturbed spawn", |all| &all.least, Bar::AtMost(1.5)),
            judgement("first answer", |all| &all.answer, Bar::AtMost(1.5)),
            judgement("median spawn", |all| &all.ours, Bar::Open),
        ],
    })
}

/// Medians of each round, in nanoseconds for a child.
#[derive(Debug, Default)]
struct Samples {
    ours: Vec<f64>,
    /// Not the median, but the least.
    least: Vec<f64>,
    answer: Vec<f64>,
    standard: Vec<f64>,
    forked: Vec<f64>,
}

impl Samples {
    fn extend(&mut self, found: Self) {
        self.ours.extend(found.ours);
        self.least.extend(found.least);
        self.answer.extend(found.answer);
        self.standard.extend(found.standard);
        self.forked.extend(found.forked);
    }
}

/// Memory that is really there.
fn ballast(mib: usize) -> Vec<u8> {
    let mut bytes = vec![0; mib << 20];
    for page in bytes.chunks_mut(PAGE) {
        page[0] = 1;
    }
    black_box(bytes)
}

/// To the handle: the median, and the least.
async fn ours(program: &Program) -> Measured<(f64, f64)> {
    let command = program.spec().build()?;
    let mut samples = Vec::new();
    for _ in 0..SPAWNS {
        let watch = Stopwatch::start();
        let child = command.spawn().await?;
        samples.push(elapsed(&watch));
        child.terminate(Stop::Force).await;
    }
    let summary = Summary::of(&samples).ok_or("there was no spawn")?;
    Ok((summary.median, summary.least))
}

async fn first_answer(program: &Program) -> Measured<f64> {
    let connector = StdioConnector::new(program.spec())?;
    let mut samples = Vec::new();
    for _ in 0..SPAWNS {
        let deadline = Instant::now() + Duration::from_secs(10);
        let context = ConnectContext::new(ConnectionId::from_u64(0), 1, deadline);
        let watch = Stopwatch::start();
        let mut connection = connector.connect(&context).await?;
        check_content(&connection.request(content()).await?.bytes)?;
        samples.push(elapsed(&watch));
        connection.terminate(Stop::Force).await;
    }
    median(&samples).ok_or_else(|| "there was no spawn".into())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Spawn,
    Fork,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the children that a pool's are compared with are not the pool's"
)]
fn standard(program: &Program, way: Way) -> Measured<f64> {
    let mut samples = Vec::new();
    for _ in 0..if way == Way::Spawn { SPAWNS } else { FORKS } {
        let mut command: Command = program.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if way == Way::Fork {
            command.uid(std::fs::metadata("/proc/self")?.uid());
        }
        let watch = Stopwatch::start();
        let mut child = command.spawn()?;
        samples.push(elapsed(&watch));
        child.kill()?;
        child.wait()?;
    }
    median(&samples).ok_or_else(|| "there was no spawn".into())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
pub(super) fn elapsed(watch: &Stopwatch) -> f64 {
    watch.elapsed_ns() as f64
}

fn table(all: &[Samples; 3]) -> String {
    let mut table = Table::new(&[
        "parent",
        "pool-stdio us",
        "least",
        "first answer us",
        "std us",
        "std, forking us",
    ]);
    for (mib, samples) in BALLASTS_MIB.into_iter().zip(all) {
        let micros = |ns: Option<f64>| ns.map_or("-".to_owned(), |ns| format!("{:.0}", ns / 1e3));
        table.add_row([
            format!("{mib} MiB"),
            micros(median(&samples.ours)),
            micros(median(&samples.least)),
            micros(median(&samples.answer)),
            micros(median(&samples.standard)),
            micros(median(&samples.forked)),
        ]);
    }
    table.to_string()
}

const BALLASTS_MIB: [usize; 3] = [0, 256, 1024];
const ROUNDS: usize = 9;
const SPAWNS: usize = 30;
const FORKS: usize = 3;
const PAGE: usize = 4096;
