//! Trees of processes, and how all of them end: the matrix M1 to M11 and the families F2 to F4,
//! beside the published results of a JavaScript baseline for the same fixtures.
//!
//! The baseline is the `terminateTree` of an agent that starts its tools as children: it lists the
//! descendants once, sends SIGTERM to the group, waits half a second, and kills those of the list
//! that are left. Its figures are as published, measured elsewhere: what is compared is what lives
//! on, not milliseconds.
//!
//! What lives is counted at the very moment when the call returns, which is stricter than the
//! baseline's count 150 ms later: every process of a tree carries a mark in its environment.

mod baseline;
mod endings;
mod families;

use pool_testkit::census::Census;

use super::chapter::{Chapter, Topic};
use crate::bars;
use crate::effort::Effort;
use baseline::{Baseline, baseline};
use pool_reuse::measure::Measured;
use pool_reuse::measure::Table;
use pool_reuse::measure::median;

/// One way to end one tree.
#[derive(Debug, Clone, Copy)]
struct Ending {
    /// From the call to its return.
    millis: f64,
    /// Processes that live on.
    live: usize,
}

/// What ours made of a row, by each way.
#[derive(Debug)]
struct Row {
    id: &'static str,
    what: &'static str,
    /// SIGKILL at once; or what the family is about.
    forced: Vec<Ending>,
    /// SIGTERM, half a second of grace, SIGKILL: what the baseline does.
    asked: Vec<Ending>,
    baseline: Baseline,
}

impl Row {
    fn new(id: &'static str, what: &'static str) -> Self {
        Self {
            id,
            what,
            forced: Vec::new(),
            asked: Vec::new(),
            baseline: baseline(id),
        }
    }

    fn live(&self) -> usize {
        let all = self.forced.iter().chain(&self.asked);
        all.map(|ending| ending.live).max().unwrap_or(0)
    }

    fn verdict(&self) -> &'static str {
        match (self.live(), self.baseline.fails) {
            (0, true) => "PASS, baseline fails",
            (0, false) => "PASS",
            _ => "FAIL",
        }
    }
}

/// The matrix and the families.
pub(super) const TOPIC: Topic = Topic {
    name: "tree-kill",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    let census = Census::begin();
    let mut rows = endings::play(&census, effort.rounds(ROUNDS))?;
    rows.extend(families::play(&census, effort.rounds(ROUNDS))?);
    let mut table = Table::new(&[
        "row",
        "tree",
        "SIGKILL ms / live",
        "SIGTERM, 500 ms, SIGKILL",
        "baseline, group leader",
        "baseline, plain child",
        "verdict",
    ]);
    for row in &rows {
        table.add_row([
            row.id.to_owned(),
            row.what.to_owned(),
            show(&row.forced),
            show(&row.asked),
            row.baseline.leader.to_owned(),
            row.baseline.plain.to_owned(),
            row.verdict().to_owned(),
        ]);
    }
    let covered = rows.iter().filter(|row| row.baseline.fails);
    let covered: Vec<&str> = covered
        .filter(|row| row.live() == 0)
        .map(|row| row.id)
        .collect();
    let about = format!(
        "Rows that the baseline fails and this covers: {}.",
        covered.join(", ")
    );
    let live: usize = rows.iter().map(Row::live).sum();
    let mut chapter = Chapter::new(
        TOPIC.name,
        "Trees of processes, and what outlives their end",
    );
    chapter.say(table);
    chapter.say(about);
    chapter.figure(
        format!("processes that live on, in {} rows", rows.len()),
        Some(f64::from(u32::try_from(live)?)),
        bars::NONE,
    );
    Ok(chapter)
}

/// The median time, and the most that lived on.
fn show(endings: &[Ending]) -> String {
    let millis: Vec<f64> = endings.iter().map(|ending| ending.millis).collect();
    let live = endings.iter().map(|ending| ending.live).max();
    median(&millis)
        .zip(live)
        .map_or("-".to_owned(), |(millis, live)| {
            format!("{millis:.1} / {live}")
        })
}

const ROUNDS: usize = 5;
