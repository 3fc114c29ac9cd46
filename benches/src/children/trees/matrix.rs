//! The table of all rows, and what is judged.

use pool_reuse::measure::{Measured, Table};
use pool_testkit::census::Census;

use super::baselines::{Available, available};
use super::row::{Row, cell};
use super::{end, families};
use crate::bars;
use crate::children::chapter::{Chapter, Topic};
use crate::effort::Effort;

/// The matrix and the families.
pub(in crate::children) const TOPIC: Topic = Topic {
    name: "tree-kill",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    let census = Census::begin();
    let mut rows = end::play(&census, effort.rounds(ROUNDS))?;
    rows.extend(families::play(&census, effort.rounds(ROUNDS))?);
    let found = available();
    play_baselines(&census, &found, &mut rows, effort)?;
    let mut chapter = Chapter::new(
        TOPIC.name,
        "Trees of processes, and what outlives their end",
    );
    chapter.say(ABOUT);
    chapter.say(table(&rows, &found));
    for skipped in &found.skipped {
        chapter.say(skipped);
    }
    let won: Vec<&str> = rows
        .iter()
        .filter(|row| row.is_won())
        .map(|row| row.id)
        .collect();
    chapter.say(format!(
        "Rows in which a baseline leaves a process or does not return, and pool-stdio leaves none: {}.",
        won.join(", ")
    ));
    let live: usize = rows.iter().map(Row::live).sum();
    chapter.figure(
        format!("processes that live on, in {} rows", rows.len()),
        Some(f64::from(u32::try_from(live)?)),
        bars::NONE,
    );
    Ok(chapter)
}

fn play_baselines(
    census: &Census,
    found: &Available,
    rows: &mut [Row],
    effort: Effort,
) -> Measured<()> {
    // A quick run only sees whether they still work.
    let (rounds, count) = match effort {
        Effort::Full => (BASELINE_ROUNDS, MATRIX_ROWS),
        Effort::Quick => (1, MATRIX_ROWS / 2),
    };
    for row in rows.iter_mut().take(count) {
        for baseline in &found.baselines {
            let mut endings = Vec::new();
            for _ in 0..rounds {
                endings.push(baseline.play(census, row.id)?);
            }
            row.baselines.push(endings);
        }
    }
    Ok(())
}

fn table(rows: &[Row], found: &Available) -> Table {
    let mut header = vec![
        "row",
        "tree",
        "SIGKILL ms / live",
        "SIGTERM, 500 ms, SIGKILL",
    ];
    header.extend(found.baselines.iter().map(|one| one.name));
    let mut table = Table::new(&header).text_columns(2);
    for row in rows {
        let mut cells = vec![
            row.id.to_owned(),
            row.what.to_owned(),
            cell(&row.forced),
            cell(&row.asked),
        ];
        for place in 0..found.baselines.len() {
            let endings = row.baselines.get(place);
            cells.push(cell(endings.map_or(&[], Vec::as_slice)));
        }
        table.add_row(cells);
    }
    table
}

const ABOUT: &str = "\
Milliseconds until the call returns (median), and the most processes of the tree that live on. For
pool-stdio they are counted at the moment when the call returns, for the baselines 150 ms later.";
const ROUNDS: usize = 5;
const BASELINE_ROUNDS: usize = 3;
/// M1 to M11, which come first.
const MATRIX_ROWS: usize = 11;
