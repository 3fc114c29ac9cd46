//! What one event of one child costs beside a thousand idle children.
//!
//! The event is a line on stderr, which this process reads and hands to a sink. The cost is CPU time
//! of this process, from the request that makes the child write the line until the sink has it.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use pool_reuse::measure::{Measured, Table, median, ratio};
use pool_stdio::{Child, Children, CommandSpec};
use pool_tests::children::{OUTER_DEADLINE, block_on};

use super::chapter::{Chapter, Topic, spread};
use crate::bars;
use crate::effort::Effort;

/// What an event costs beside idle children.
pub(super) const TOPIC: Topic = Topic {
    name: "idle-children",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let (idle_count, rounds) = match effort {
        Effort::Full => (1_000, ROUNDS),
        Effort::Quick => (300, ROUNDS),
    };
    let mut talker = Talker::start()?;
    let alone = talker.rounds(rounds)?;
    let idle = Children::new();
    let crowd = start_idle(&idle, idle_count)?;
    let beside = talker.rounds(rounds)?;
    drop(crowd);
    block_on(idle.emptied());
    // Once more, in case the machine has changed meanwhile.
    let again = talker.rounds(rounds)?;
    let alone: Vec<f64> = alone.into_iter().chain(again).collect();

    let mut table = Table::new(&["idle children", "CPU us per line", "least", "greatest"]);
    for (count, times) in [(0, &alone), (idle_count, &beside)] {
        let mut row = vec![count.to_string()];
        row.extend(spread(times, 1));
        table.add_row(row);
    }
    let mut chapter = Chapter::new(TOPIC.name, "An event of one child beside idle children");
    chapter.say(table);
    let figure = median(&beside).zip(median(&alone));
    chapter.figure(
        "CPU per event beside many idle children / beside none",
        figure.and_then(|(beside, alone)| ratio(beside, alone)),
        bars::IDLE_CHILDREN,
    );
    Ok(chapter)
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

    /// CPU microseconds per line, one figure for each round.
    fn rounds(&mut self, count: usize) -> Measured<Vec<f64>> {
        // The first round warms everything up.
        let rounds: Measured<Vec<f64>> = (0..=count).map(|_| self.round()).collect();
        Ok(rounds?.split_off(1))
    }

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
