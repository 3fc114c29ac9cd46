//! Many trees that are ended at once, beside a few: each end looks for processes that have left the
//! group, and all of them together must not take much longer than one.
//!
//! The root of each tree leaves at the end of its input; a process in a session of its own lives on
//! until SIGTERM. So an end takes the whole grace after the end of input and no more, and none needs
//! SIGKILL.

use pool_reuse::measure::{Measured, Stopwatch, Summary, Table, median, ratio};
use pool_stdio::{Child, Children, KillScope, Rung, Stop};
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::{Beacon, block_on};
use tokio::runtime;
use tokio::task::JoinSet;

use super::chapter::{Chapter, Topic, spread};
use super::program::fixture;
use crate::bars;
use crate::effort::Effort;

/// How long many trees take to end at once.
pub(super) const TOPIC: Topic = Topic {
    name: "many-ends",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let rounds = match effort {
        Effort::Full => 3,
        Effort::Quick => 1,
    };
    let (mut few, mut many, mut kills) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        few.push(end_at_once(FEW)?.seconds);
        let ends = end_at_once(MANY)?;
        many.push(ends.seconds);
        kills = kills.max(ends.kills);
    }
    let mut table = Table::new(&["trees ended at once", "s", "least", "greatest"]);
    for (count, times) in [(FEW, &few), (MANY, &many)] {
        let mut row = vec![count.to_string()];
        row.extend(spread(times, 2));
        table.add_row(row);
    }
    let mut chapter = Chapter::new(TOPIC.name, "Many trees that are ended at once");
    chapter.say(table);
    chapter.figure(
        format!("time to end {MANY} trees / {FEW} trees"),
        // The least: a disturbance of the few would hide one of the many.
        median(&many)
            .zip(least(&few))
            .and_then(|(many, few)| ratio(many, few)),
        bars::MANY_ENDS,
    );
    chapter.figure(
        format!("trees of {MANY} that were killed though SIGTERM ends them"),
        Some(f64::from(kills)),
        bars::NONE,
    );
    Ok(chapter)
}

fn least(times: &[f64]) -> Option<f64> {
    Some(Summary::of(times)?.least)
}

/// How it went.
struct Ends {
    seconds: f64,
    /// How many ends report SIGKILL.
    kills: u32,
}

fn end_at_once(count: usize) -> Measured<Ends> {
    let beacon = Beacon::new()?;
    let daemon = Behaviour::new().then(Step::LeaveSession);
    let daemon = daemon.announce(beacon.path(), "daemon").hang();
    let tree = Behaviour::new().start(daemon).read_to_end().exit(0);
    let command = fixture(&tree)?.kill_scope(KillScope::Tree).build()?;
    let children = Children::new();
    let start = |_| {
        let child = block_on(children.spawn(&command))?;
        drop(beacon.expect(1));
        Ok(child)
    };
    let all: Measured<Vec<Child>> = (0..count).map(start).collect();
    let all = all?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let watch = Stopwatch::start();
    let kills = runtime.block_on(async {
        let mut ending = JoinSet::new();
        for child in all {
            ending.spawn(child.terminate(Stop::Orderly));
        }
        let mut kills = 0;
        while let Some(ended) = ending.join_next().await {
            kills += u32::from(ended?.rung == Rung::Kill);
        }
        Measured::Ok(kills)
    })?;
    let seconds = watch.elapsed().as_secs_f64();
    block_on(children.emptied());
    Ok(Ends { seconds, kills })
}

const FEW: usize = 5;
const MANY: usize = 180;
