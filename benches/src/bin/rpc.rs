//! Prints what JSON-RPC calls cost through this and through rmcp's client, for 1 to 256 callers on
//! one child, and what it costs to forward a megabyte.
//!
//! The child is this program itself. Every round measures each client once; what counts are the
//! ratios of the medians.

#![cfg(target_os = "linux")]
#![expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use bytes::{Bytes, BytesMut};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use pool_benches::clock::Stopwatch;
use pool_benches::rpc::{Client, Outcome, Round, SERVE, large_request, round, serve};
use pool_benches::stats::median;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::runtime;

fn main() -> Outcome<()> {
    if std::env::args().any(|argument| argument == SERVE) {
        return Ok(serve()?);
    }
    let one = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let two = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    for (title, runtime) in [("one thread", one), ("two workers", two)] {
        println!("## {title}\n\n{}\n", runtime.block_on(calls())?);
        println!("{}\n", runtime.block_on(forwards())?);
    }
    Ok(())
}

async fn calls() -> Outcome<Table> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "callers", "ours/s", "rmcp/s", "x rmcp", "p50 us", "rmcp p50", "x rmcp", "p99 us",
        "rmcp p99",
    ]);
    let (ours, rmcp) = (Client::ours().await?, Client::rmcp().await?);
    for (callers, calls) in [(1, 4_000), (16, 20_000), (64, 20_000), (256, 20_000)] {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for number in 0..=ROUNDS {
            let found = (
                round(&ours, callers, calls).await?,
                round(&rmcp, callers, calls / 4).await?,
            );
            // The first round is for warming up.
            if number > 0 {
                mine.push(found.0);
                theirs.push(found.1);
            }
        }
        table.add_row(row(callers, &mine, &theirs));
    }
    Ok(table)
}

fn row(callers: u32, mine: &[Round], theirs: &[Round]) -> Vec<String> {
    let of = |rounds: &[Round], what: fn(&Round) -> f64| {
        median(&rounds.iter().map(what).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    let rate = |rounds| of(rounds, |round| round.rate);
    let (p50, p99) = (
        |rounds| of(rounds, |round| round.p50) / 1e3,
        |rounds| of(rounds, |round| round.p99) / 1e3,
    );
    vec![
        callers.to_string(),
        format!("{:.0}", rate(mine)),
        format!("{:.0}", rate(theirs)),
        format!("{:.2}", rate(mine) / rate(theirs)),
        format!("{:.1}", p50(mine)),
        format!("{:.1}", p50(theirs)),
        format!("{:.2}", p50(mine) / p50(theirs)),
        format!("{:.1}", p99(mine)),
        format!("{:.1}", p99(theirs)),
    ]
}

/// A megabyte to the child and back: forwarded, and through bare pipes.
async fn forwards() -> Outcome<Table> {
    let Client::Ours(child) = Client::ours().await? else {
        return Err("ours was asked for".into());
    };
    let mut bare = Bare::start()?;
    let request = Bytes::from(large_request(1 << 20));
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for number in 0..=FORWARDS {
        let watch = Stopwatch::start();
        let reply = child.forward(request.clone()).await?;
        let forwarded = watch.elapsed();
        if reply.is_none_or(|reply| reply.len() < 1 << 20) {
            return Err("the echo is too short".into());
        }
        let watch = Stopwatch::start();
        bare.exchange(&request).await?;
        let piped = watch.elapsed();
        let watch = Stopwatch::start();
        std::hint::black_box(request.to_vec());
        let copied = watch.elapsed();
        if number > 0 {
            for (all, time) in samples.iter_mut().zip([forwarded, piped, copied]) {
                all.push(time.as_secs_f64() * 1e6);
            }
        }
    }
    let [forwarded, piped, copied] = samples.map(|all| median(&all).unwrap_or(f64::NAN));
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["1 MiB there and back", "us"]);
    table.add_row(["forwarded".to_owned(), format!("{forwarded:.0}")]);
    table.add_row(["bare pipes".to_owned(), format!("{piped:.0}")]);
    table.add_row(["one copy of it".to_owned(), format!("{copied:.0}")]);
    let allowed = piped + 2.0 * copied;
    table.add_row([
        "x (pipes + 2 copies)".to_owned(),
        format!("{:.2}", forwarded / allowed),
    ]);
    Ok(table)
}

/// Writes and reads at once, and nothing else.
struct Bare {
    child: tokio::process::Child,
    read: BytesMut,
}

impl Bare {
    #[expect(
        clippy::disallowed_methods,
        reason = "the child it is compared with is not the pool's"
    )]
    fn start() -> Outcome<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            child,
            read: BytesMut::new(),
        })
    }

    async fn exchange(&mut self, request: &[u8]) -> Outcome<()> {
        let pipes = self.child.stdin.as_mut().zip(self.child.stdout.as_mut());
        let (stdin, stdout) = pipes.ok_or("both were asked for")?;
        self.read.clear();
        let write = async {
            stdin.write_all(request).await?;
            stdin.write_all(b"\n").await
        };
        let read = async {
            while self.read.last() != Some(&b'\n') {
                self.read.reserve(1 << 16);
                stdout.read_buf(&mut self.read).await?;
            }
            Ok(())
        };
        tokio::try_join!(write, read)?;
        Ok(())
    }
}

const ROUNDS: usize = 9;
const FORWARDS: usize = 60;
