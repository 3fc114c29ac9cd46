//! The time from the SIGKILL of an idle child until its replacement is idle, without any traffic.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pool_core::{ConnectionPool, Event, EventKind, Observer};
use pool_stdio::StdioConnector;
use tokio::runtime;
use tokio::sync::mpsc;

use super::chapter::{Chapter, Topic};
use super::program::Program;
use super::spawn::elapsed;
use crate::effort::Effort;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::{Summary, ratio_of_medians};

/// How fast an idle child that was killed is replaced.
pub(super) const TOPIC: Topic = Topic {
    name: "replace",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
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
    let mut chapter = Chapter::new(TOPIC.name, "Replacing an idle child that was killed");
    chapter.say(table);
    chapter.say(
        "`min_uptime` is zero here. With its default, a child that dies within its first seconds is \
         replaced after a delay.",
    );
    chapter.figure(
        "killed to replaced / a spawn",
        ratio_of_medians(&replaced, &spawned),
        None,
    );
    Ok(chapter)
}

/// Reports each connection that a pool opens.
struct OpenedObserver {
    sender: mpsc::UnboundedSender<()>,
}

impl Observer for OpenedObserver {
    fn on_event(&self, event: &Event) {
        if let EventKind::Opened { .. } = event.kind {
            // The receiver is gone once the rounds are over.
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
        .observer(Arc::new(OpenedObserver { sender }))
        .build()?;
    let (mut replaced, mut spawned) = (Vec::new(), Vec::new());
    opened
        .recv()
        .await
        .ok_or("the pool reports what it opens")?;
    for round in 0..=count {
        let pids = children.pids();
        let pid = pids.last().ok_or("the pool keeps one child idle")?;
        let watch = Stopwatch::start();
        kill(Pid::from_raw((*pid).try_into()?), Signal::SIGKILL)?;
        opened
            .recv()
            .await
            .ok_or("the pool reports what it opens")?;
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
