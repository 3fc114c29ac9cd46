//! What one event of one child costs beside a thousand idle children.
//!
//! The event is a line on stderr, which a host reads and hands to a sink. The cost is CPU time of the host, from the
//! request that makes the child write the line until the sink has it. Two hosts are measured in turns: one has the
//! idle children, the other none. Both are this program in another role.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use pool_core::ConnectionPool;
use pool_reuse::builtin::ROLE;
use pool_reuse::measure::{Measured, Table, paired};
use pool_stdio::{Child, Children, CommandSpec, StdioConnection, StdioConnector};
use pool_tests::children::{OUTER_DEADLINE, block_on};
use tokio::runtime;

use super::chapter::{Chapter, Topic, spread};
use crate::bars;
use crate::effort::Effort;

/// What an event costs beside idle children.
pub(super) const TOPIC: Topic = Topic {
    name: "idle-children",
    measure,
};
/// The role of a host.
pub(super) const HOST: &str = "idle-children-host";

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let idle_count = match effort {
        Effort::Full => 1_000,
        Effort::Quick => 300,
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (alone, beside) = runtime.block_on(rounds(idle_count))?;
    let mut table = Table::new(&["idle children", "CPU us per line", "least", "greatest"]);
    for (count, times) in [(0, &alone), (idle_count, &beside)] {
        let mut row = vec![count.to_string()];
        row.extend(spread(times, 1));
        table.add_row(row);
    }
    let mut chapter = Chapter::new(TOPIC.name, "An event of one child beside idle children");
    chapter.say(table);
    chapter.figure(
        "CPU per event beside many idle children / beside none",
        paired(&beside, &alone),
        bars::IDLE_CHILDREN,
    );
    Ok(chapter)
}

/// CPU microseconds per line, one figure for each round: of the host without idle children, and of the other.
async fn rounds(idle_count: usize) -> Measured<(Vec<f64>, Vec<f64>)> {
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let pools = [host(0)?, host(idle_count)?];
    let mut hosts = [pools[0].acquire().await?, pools[1].acquire().await?];
    // The first round warms everything up.
    for number in 0..=ROUNDS {
        let mut turns: Vec<_> = hosts.iter_mut().zip([&mut alone, &mut beside]).collect();
        if number % 2 == 1 {
            turns.reverse();
        }
        for (host, times) in turns {
            let reply = host.request("round").within(OUTER_DEADLINE).await?;
            times.push(std::str::from_utf8(&reply.bytes)?.parse()?);
        }
    }
    drop(hosts);
    for pool in pools {
        // They end their children first, and the next topic measures without them.
        pool.close(OUTER_DEADLINE).await;
    }
    Ok((alone.split_off(1), beside.split_off(1)))
}

fn host(idle_count: usize) -> Measured<ConnectionPool<StdioConnection>> {
    let spec = CommandSpec::new(env::current_exe()?).arg(idle_count.to_string());
    let connector = StdioConnector::new(spec.env(ROLE, HOST))?;
    Ok(ConnectionPool::builder(connector).max_size(1).build()?)
}

/// Plays a host: starts as many idle children as its argument says, and measures a round for each line that it reads.
///
/// # Errors
///
/// If a child does not start, or a pipe fails.
pub(super) fn act() -> io::Result<ExitCode> {
    serve().map_err(io::Error::other)?;
    Ok(ExitCode::SUCCESS)
}

fn serve() -> Measured<()> {
    let idle_count = env::args().nth(1).ok_or("a host is told a number")?;
    let mut talker = Talker::start()?;
    let idle = Children::new();
    let crowd = start_idle(&idle, idle_count.parse()?)?;
    for line in io::stdin().lock().lines() {
        line?;
        let mut stdout = io::stdout();
        writeln!(stdout, "{}", talker.round()?)?;
        stdout.flush()?;
    }
    drop(crowd);
    block_on(idle.emptied());
    Ok(())
}

fn start_idle(children: &Children, count: usize) -> Measured<Vec<Child>> {
    let command = CommandSpec::new("sleep").arg("600").build()?;
    let start = |_| Ok(block_on(children.spawn(&command))?);
    (0..count).map(start).collect()
}

/// A child that writes a line to stderr whenever it reads one.
struct Talker {
    stdin: File,
    lines: mpsc::Receiver<()>,
    /// Ends the child when it is dropped.
    _child: Child,
}

impl Talker {
    fn start() -> Measured<Self> {
        let (sender, lines) = mpsc::channel();
        let script = "while read -r line; do echo \"$line\" >&2; done";
        let spec = CommandSpec::new("sh").args(["-c", script]);
        let command = spec.stderr_lines(move |_| {
            // The receiver is gone when the child is ended.
            let (Ok(()) | Err(_)) = sender.send(());
        });
        let command = command.build()?;
        let mut child = block_on(command.spawn())?;
        let stdin = child.take_stdin().ok_or("a new child has its stdin")?;
        Ok(Self {
            stdin: stdin.into(),
            lines,
            _child: child,
        })
    }

    /// CPU microseconds per line.
    fn round(&mut self) -> Measured<f64> {
        let before = cpu_time()?;
        for _ in 0..LINES {
            self.stdin.write_all(b"here\n")?;
            self.lines.recv_timeout(OUTER_DEADLINE)?;
        }
        let used = cpu_time()? - before;
        Ok(used.as_secs_f64() * 1e6 / f64::from(LINES))
    }
}

/// CPU time of this process so far, of all its threads.
fn cpu_time() -> Measured<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

const LINES: u32 = 200;
const ROUNDS: usize = 9;
