//! How long it takes to start a child from a small parent and from a large one.
//!
//! Two times are measured: until the caller has the handle, and until the child's first answer.
//! `posix_spawn` shares the parent's memory for a moment; `fork` copies its page tables. For
//! orientation the standard library is measured in both ways: setting a user id, even the present
//! one, makes it fork.
//!
//! The time to the handle has two modes. The threads that wait for the child are woken when it has
//! begun to run. If it runs on their core, Linux either gives them the core at once or lets the
//! child finish its first slice of 0.7 ms. Which of the two happens does not depend on the size of
//! the parent, but it moves a median. So the least time of each round is judged, and the time to
//! the first answer, which contains the start of the child in either mode.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{StdioConnector, Stop};
use tokio::runtime;
use tokio::time::Instant;

use super::chapter::{Chapter, Topic};
use super::program::{Program, check_content, content};
use crate::bars;
use crate::effort::Effort;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::{Summary, median, ratio_of_medians};

/// Starting a child from parents of different sizes.
pub(super) const TOPIC: Topic = Topic {
    name: "spawn",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let program = Program::native()?;
    let sizes_mib = [0, 256, large_parent_mib()];
    let mut all = sizes_mib.map(|_| Samples::default());
    // The first round warms everything up.
    for round in 0..=effort.rounds(ROUNDS) {
        for (mib, samples) in sizes_mib.into_iter().zip(&mut all) {
            let ballast = ballast(mib);
            let (middle, least) = runtime.block_on(ours(&program))?;
            let found = Samples {
                ours: vec![middle],
                least: vec![least],
                answer: vec![runtime.block_on(first_answer(&program))?],
                standard: vec![standard(&program, StartCall::Spawn)?],
                forked: vec![standard(&program, StartCall::Fork)?],
            };
            drop(black_box(ballast));
            if round > 0 {
                samples.extend(found);
            }
        }
    }
    let [empty, _, full] = &all;
    let mut chapter = Chapter::new(TOPIC.name, "Starting a child");
    let mut add = |what: &str, pick: fn(&Samples) -> &[f64], bar| {
        let large = sizes_mib[2] / 1024;
        let what = format!("{what} from a parent of {large} GiB / from an empty one");
        chapter.figure(what, ratio_of_medians(pick(full), pick(empty)), bar);
    };
    add(
        "undisturbed spawn",
        |all| &all.least,
        Some(bars::LARGE_PARENT),
    );
    add("first answer", |all| &all.answer, Some(bars::LARGE_PARENT));
    add("median spawn", |all| &all.ours, None);
    chapter.say(table(sizes_mib, &all));
    Ok(chapter)
}

/// Three GiB, or one where memory is short.
fn large_parent_mib() -> usize {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    if kib.is_some_and(|kib| kib > 6 << 20) {
        3 << 10
    } else {
        1 << 10
    }
}

/// Medians of each round, in nanoseconds per child.
#[derive(Debug, Default)]
struct Samples {
    ours: Vec<f64>,
    /// The least of each round.
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

/// Memory whose pages are all resident.
fn ballast(mib: usize) -> Vec<u8> {
    let mut bytes = vec![0; mib << 20];
    for page in bytes.chunks_mut(PAGE) {
        page[0] = 1;
    }
    black_box(bytes)
}

/// The time to the handle: the median and the least.
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
enum StartCall {
    Spawn,
    Fork,
}

#[expect(
    clippy::disallowed_methods,
    reason = "children that are compared with those of a pool"
)]
fn standard(program: &Program, call: StartCall) -> Measured<f64> {
    let mut samples = Vec::new();
    for _ in 0..if call == StartCall::Spawn {
        SPAWNS
    } else {
        FORKS
    } {
        let mut command: Command = program.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if call == StartCall::Fork {
            command.uid(fs::metadata("/proc/self")?.uid());
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

fn table(sizes_mib: [usize; 3], all: &[Samples; 3]) -> Table {
    let mut table = Table::new(&[
        "parent",
        "pool-stdio us",
        "least",
        "first answer us",
        "std us",
        "std, forking us",
    ]);
    for (mib, samples) in sizes_mib.into_iter().zip(all) {
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
    table
}

const ROUNDS: usize = 9;
const SPAWNS: usize = 30;
const FORKS: usize = 3;
const PAGE: usize = 4096;
