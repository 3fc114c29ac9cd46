//! Prints what one request to a child costs: through the pool, through bare pipes, and with a child
//! of its own.
//!
//! The child is this program itself, which echoes lines. Every round measures each subject once;
//! what counts are the ratios of the medians. Pinned means that this program and its children share
//! one core, which leaves out the cost of waking another one.

#![cfg(target_os = "linux")]
#![expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use pool_benches::clock::Stopwatch;
use pool_benches::stats::{Summary, ratio};
use pool_core::ConnectionPool;
use pool_stdio::{CommandSpec, StdioConnection, StdioConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::runtime;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    if std::env::args().any(|argument| argument == ECHO) {
        return Ok(echo()?);
    }
    pool_stdio::prepare()?;
    let everywhere = sched_getaffinity(THIS_THREAD)?;
    let mut one_core = CpuSet::new();
    let first = (0..CpuSet::count()).find(|core| everywhere.is_set(*core).unwrap_or(false));
    one_core.set(first.unwrap_or(0))?;
    for (title, cores) in [("pinned to one core", one_core), ("unpinned", everywhere)] {
        sched_setaffinity(THIS_THREAD, &cores)?;
        println!("## {title}\n\n{}\n", table(&measure(&cores)?));
    }
    Ok(())
}

/// The child: echoes each line as soon as it has it.
fn echo() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        output.write_all(&line)?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}

/// The samples of each subject, one for each round, in nanoseconds per request.
#[derive(Default)]
struct Samples {
    blocking: Vec<f64>,
    bare: Vec<f64>,
    held: Vec<f64>,
    pooled: Vec<f64>,
    spawned: Vec<f64>,
}

fn measure(cores: &CpuSet) -> Outcome<Samples> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut samples = Samples::default();
        let mut blocking = Blocking::start()?;
        let mut bare = Bare::start()?;
        let connector = StdioConnector::new(CommandSpec::new(std::env::current_exe()?).arg(ECHO))?;
        let pool = ConnectionPool::builder(connector).max_size(1).build()?;
        let pid = pool.acquire().await?.pid();
        sched_setaffinity(Pid::from_raw(pid.try_into()?), cores)?;
        for round in 0..=ROUNDS {
            let found = Samples {
                blocking: vec![blocking.round()?],
                bare: vec![bare.round().await?],
                held: vec![held_round(&pool).await?],
                pooled: vec![pooled_round(&pool).await?],
                spawned: vec![spawn_round()?],
            };
            // The first round is for warming up.
            if round > 0 {
                samples.extend(found);
            }
        }
        pool.close(Duration::from_secs(5)).await;
        Ok(samples)
    })
}

impl Samples {
    fn extend(&mut self, found: Self) {
        self.blocking.extend(found.blocking);
        self.bare.extend(found.bare);
        self.held.extend(found.held);
        self.pooled.extend(found.pooled);
        self.spawned.extend(found.spawned);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the children it is compared with are not the pool's"
)]
fn start_child() -> Outcome<(Child, ChildStdin, ChildStdout)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(ECHO)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (stdin, stdout) = pipes.ok_or("both were asked for")?;
    Ok((child, stdin, stdout))
}

/// A thread that writes and reads, and nothing else.
struct Blocking {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _child: Child,
}

impl Blocking {
    fn start() -> Outcome<Self> {
        let (child, stdin, stdout) = start_child()?;
        Ok(Self {
            stdin,
            stdout: BufReader::new(stdout),
            _child: child,
        })
    }

    fn round(&mut self) -> Outcome<f64> {
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

/// A task that writes and reads, and nothing else.
struct Bare {
    stdin: Sender,
    stdout: Receiver,
    _child: Child,
}

impl Bare {
    fn start() -> Outcome<Self> {
        let (child, stdin, stdout) = start_child()?;
        Ok(Self {
            stdin: Sender::from_owned_fd(stdin.into())?,
            stdout: Receiver::from_owned_fd(stdout.into())?,
            _child: child,
        })
    }

    async fn round(&mut self) -> Outcome<f64> {
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

/// One lease for all requests.
async fn held_round(pool: &ConnectionPool<StdioConnection>) -> Outcome<f64> {
    let mut lease = pool.acquire().await?;
    let watch = Stopwatch::start();
    for _ in 0..REQUESTS {
        let line = lease.request(&MESSAGE[..MESSAGE.len() - 1]).await?;
        check_content(&line.bytes)?;
    }
    Ok(per_request(&watch, REQUESTS))
}

/// One lease for each request.
async fn pooled_round(pool: &ConnectionPool<StdioConnection>) -> Outcome<f64> {
    let watch = Stopwatch::start();
    for _ in 0..REQUESTS {
        let mut lease = pool.acquire().await?;
        let line = lease.request(&MESSAGE[..MESSAGE.len() - 1]).await?;
        check_content(&line.bytes)?;
    }
    Ok(per_request(&watch, REQUESTS))
}

/// One child for each request, in the fastest way there is.
fn spawn_round() -> Outcome<f64> {
    let watch = Stopwatch::start();
    for _ in 0..SPAWNS {
        let (mut child, mut stdin, mut stdout) = start_child()?;
        stdin.write_all(MESSAGE)?;
        drop(stdin);
        let mut line = Vec::new();
        stdout.read_to_end(&mut line)?;
        check(&line)?;
        child.wait()?;
    }
    Ok(per_request(&watch, SPAWNS))
}

fn check(line: &[u8]) -> Outcome<()> {
    check_content(line.strip_suffix(b"\n").unwrap_or_default())
}

fn check_content(line: &[u8]) -> Outcome<()> {
    if line == &MESSAGE[..MESSAGE.len() - 1] {
        Ok(())
    } else {
        Err("the echo is not what was said".into())
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
fn per_request(watch: &Stopwatch, requests: u32) -> f64 {
    watch.elapsed_ns() as f64 / f64::from(requests)
}

fn table(samples: &Samples) -> String {
    let rows = [
        ("blocking pipe", &samples.blocking),
        ("bare tokio", &samples.bare),
        ("one lease, many requests", &samples.held),
        ("pooled: acquire, request, drop", &samples.pooled),
        ("spawn per request", &samples.spawned),
    ];
    let median = |all: &[f64]| Summary::of(all).map_or(f64::NAN, |summary| summary.median);
    let (bare, pooled) = (median(&samples.bare), median(&samples.pooled));
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "subject",
        "us/request",
        "least",
        "greatest",
        "x bare tokio",
        "x pooled",
    ]);
    for (name, all) in rows {
        let Some(summary) = Summary::of(all) else {
            continue;
        };
        let micros = |ns: f64| format!("{:.2}", ns / 1e3);
        let times = |reference| {
            ratio(summary.median, reference).map_or("-".to_owned(), |times| format!("{times:.2}"))
        };
        table.add_row([
            name.to_owned(),
            micros(summary.median),
            micros(summary.least),
            micros(summary.greatest),
            times(bare),
            times(pooled),
        ]);
    }
    table.to_string()
}

const ECHO: &str = "--echo-lines";
const THIS_THREAD: Pid = Pid::from_raw(0);
const ROUNDS: usize = 15;
const REQUESTS: u32 = 4_000;
const SPAWNS: u32 = 20;
/// 70 bytes.
const MESSAGE: &[u8; 70] =
    b"{\"jsonrpc\":\"2.0\",\"id\":12345678,\"method\":\"tools/call\",\"params\":[true]}\n";
