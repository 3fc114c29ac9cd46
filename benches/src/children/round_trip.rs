//! One request to a running child: through the pool, and through bare pipes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::{StdioConnection, StdioConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::runtime;

use super::chapter::{Chapter, Topic};
use super::cores::Cores;
use super::program::{MESSAGE, Program, check, check_content, content};
use crate::bars;
use crate::effort::Effort;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::{Summary, paired};

/// A pooled request beside bare pipes, pinned and unpinned.
pub(super) const TOPIC: Topic = Topic {
    name: "round-trip",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let mut chapter = Chapter::new(TOPIC.name, "A request to a running child");
    for cores in Cores::choices()? {
        cores.move_here()?;
        let samples = rounds(&cores, effort.rounds(ROUNDS))?;
        chapter.say(format!("{}:\n\n{}", cores.what, table(&samples)));
        chapter.figure(
            format!("pooled request / bare tokio, {}", cores.what),
            paired(&samples.pooled, &samples.bare),
            (cores.what != Cores::UNPINNED).then_some(bars::EXCLUSIVE_REQUEST),
        );
    }
    Ok(chapter)
}

/// The samples of each subject, one for each round, in nanoseconds per request.
#[derive(Debug, Default)]
struct Samples {
    blocking: Vec<f64>,
    bare: Vec<f64>,
    held: Vec<f64>,
    pooled: Vec<f64>,
}

fn rounds(cores: &Cores, count: usize) -> Measured<Samples> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let program = Program::native()?;
        let mut samples = Samples::default();
        let mut blocking = Blocking::start(&program)?;
        let mut bare = Bare::start(&program)?;
        let connector = StdioConnector::new(program.spec())?;
        let pool = ConnectionPool::builder(connector).max_size(1).build()?;
        cores.move_child(pool.acquire().await?.process().pid())?;
        // The first round warms everything up.
        for round in 0..=count {
            // Each round starts with another subject, so that none always follows the same one.
            for turn in 0..4 {
                let (sample, all) = match (round + turn) % 4 {
                    0 => (blocking.round()?, &mut samples.blocking),
                    1 => (bare.round().await?, &mut samples.bare),
                    2 => (held_round(&pool).await?, &mut samples.held),
                    _ => (pooled_round(&pool).await?, &mut samples.pooled),
                };
                if round > 0 {
                    all.push(sample);
                }
            }
        }
        pool.close(Duration::from_secs(5)).await;
        Ok(samples)
    })
}

/// A thread that writes and reads and does nothing else.
struct Blocking {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    child: Child,
}

impl Blocking {
    fn start(program: &Program) -> Measured<Self> {
        let (child, stdin, stdout) = program.start()?;
        Ok(Self {
            stdin,
            stdout: BufReader::new(stdout),
            child,
        })
    }

    fn round(&mut self) -> Measured<f64> {
        let mut line = Vec::new();
        let watch = Stopwatch::start();
        for _ in 0..REQUESTS {
            self.stdin.write_all(MESSAGE)?;
            line.clear();
            self.stdout.read_until(b'\n', &mut line)?;
            check(&line)?;
        }
        Ok(per_request(&watch, REQUESTS))
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A task that writes and reads and does nothing else.
struct Bare {
    stdin: Sender,
    stdout: Receiver,
    child: Child,
}

impl Bare {
    fn start(program: &Program) -> Measured<Self> {
        let (child, stdin, stdout) = program.start()?;
        Ok(Self {
            stdin: Sender::from_owned_fd(stdin.into())?,
            stdout: Receiver::from_owned_fd(stdout.into())?,
            child,
        })
    }

    async fn round(&mut self) -> Measured<f64> {
        let mut line = Vec::with_capacity(4096);
        let watch = Stopwatch::start();
        for _ in 0..REQUESTS {
            self.stdin.write_all(MESSAGE).await?;
            line.clear();
            while line.last() != Some(&b'\n') {
                self.stdout.read_buf(&mut line).await?;
            }
            check(&line)?;
        }
        Ok(per_request(&watch, REQUESTS))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills and reaps it.
fn end(child: &mut Child) {
    if child.kill().is_ok() {
        drop(child.wait());
    }
}

/// One lease for all requests.
async fn held_round(pool: &ConnectionPool<StdioConnection>) -> Measured<f64> {
    let mut lease = pool.acquire().await?;
    let watch = Stopwatch::start();
    for _ in 0..REQUESTS {
        let line = lease.request(content()).await?;
        check_content(&line.bytes)?;
    }
    Ok(per_request(&watch, REQUESTS))
}

/// One lease for each request.
async fn pooled_round(pool: &ConnectionPool<StdioConnection>) -> Measured<f64> {
    ask(pool, REQUESTS).await
}

/// Nanoseconds per request, each with a lease of its own.
pub(super) async fn ask(pool: &ConnectionPool<StdioConnection>, requests: u32) -> Measured<f64> {
    let watch = Stopwatch::start();
    for _ in 0..requests {
        let mut lease = pool.acquire().await?;
        let line = lease.request(content()).await?;
        check_content(&line.bytes)?;
    }
    Ok(per_request(&watch, requests))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
pub(super) fn per_request(watch: &Stopwatch, requests: u32) -> f64 {
    watch.elapsed_ns() as f64 / f64::from(requests)
}

fn table(samples: &Samples) -> String {
    let rows = [
        ("blocking pipe", &samples.blocking),
        ("bare tokio", &samples.bare),
        ("one lease, many requests", &samples.held),
        ("pooled: acquire, request, drop", &samples.pooled),
    ];
    let mut table = Table::new(&["subject", "us", "least", "greatest", "x bare tokio"]);
    for (name, all) in rows {
        let Some(summary) = Summary::of(all) else {
            continue;
        };
        let micros = |ns: f64| format!("{:.2}", ns / 1e3);
        table.add_row([
            name.to_owned(),
            micros(summary.median),
            micros(summary.least),
            micros(summary.greatest),
            paired(all, &samples.bare).map_or("-".to_owned(), |times| format!("{times:.2}")),
        ]);
    }
    table.to_string()
}

/// Many short rounds: a round must not be longer than a disturbance of the machine.
const ROUNDS: usize = 61;
const REQUESTS: u32 = 1_000;
