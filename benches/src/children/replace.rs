//! From the SIGKILL of an idle child until another one is idle in its place, without any traffic.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pool_core::{ConnectionPool, Event, EventKind, Observer};
use pool_stdio::StdioConnector;
use tokio::runtime;
use tokio::sync::mpsc;

use super::program::Program;
use super::spawn::elapsed;
use super::{Bar, Chapter, Effort, Judgement, Measured};
use pool_reuse::measure::clock::Stopwatch;
use pool_reuse::measure::stats::{Summary, ratio_of_medians};
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
    let (replaced, spawned) = runtime.block_on(rounds(effort.rounds(ROUNDS)))?;
    let mut table = Table::new(&["what", "us", "least", "greatest"]);
    for (name, all) in [
        ("from SIGKILL to the next idle child", &replaced),
        ("a spawn, for orientation", &spawned),
    ] {
        let Some(summary) = Summary::of(all) else {
            continue;
        };
        let micros = |ns: f64| format!("{:.0}", ns / 1e3);
        table.add_row([
            name.to_owned(),
            micros(summary.median),
            micros(summary.least),
            micros(summary.greatest),
        ]);
    }
    let times = ratio_of_medians(&replaced, &spawned);
    let about = "The pacer is out of the way: `min_uptime` zero, or a child that is killed within its \
                 first seconds would be replaced after a delay. It is not the pool that is slow then.";
    Ok(Chapter {
        title: "an idle child that is killed, and the next",
        paragraphs: vec![table.to_string(), about.to_owned()],
        pictures: Vec::new(),
        judgements: vec![Judgement {
            what: "killed to replaced / a spawn".to_owned(),
            figure: times,
            bar: Bar::Open,
        }],
    })
}

struct Opened {
    sender: mpsc::UnboundedSender<()>,
}

impl Observer for Opened {
    fn on_event(&self, event: &Event) {
        if let EventKind::Opened { .. } = event.kind {
            // Nobody counts any more once the rounds are over.
            let (Ok(()) | Err(_)) = self.sender.send(());
        }
    }
}

async fn rounds(count: usize) -> Measured<(Vec<f64>, Vec<f64>)> {
    let program = Program::native()?;
    let command = program.spec().build()?;
    let connector = StdioConnector::new(program.spec())?;
    let children = connector.children();
    let (sender, mut opened) = mpsc::unbounded_channel();
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .min_idle(1)
        .min_uptime(Duration::ZERO)
        .observer(Arc::new(Opened { sender }))
        .build()?;
    let (mut replaced, mut spawned) = (Vec::new(), Vec::new());
    opened.recv().await.ok_or("the pool lives")?;
    for round in 0..=count {
        let pids = children.pids();
        let pid = pids.last().ok_or("a child is idle")?;
        let watch = Stopwatch::start();
        kill(Pid::from_raw((*pid).try_into()?), Signal::SIGKILL)?;
        opened.recv().await.ok_or("the pool lives")?;
        let taken = elapsed(&watch);
        let watch = Stopwatch::start();
        let child = command.spawn().await?;
        let spawn = elapsed(&watch);
        drop(child);
        if round > 0 {
            replaced.push(taken);
            spawned.push(spawn);
        }
    }
    pool.close(Duration::from_secs(5)).await;
    Ok((replaced, spawned))
}

const ROUNDS: usize = 201;
