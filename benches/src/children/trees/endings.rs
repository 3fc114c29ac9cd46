//! M1 to M9: a tree stands, and is ended.

use std::time::Duration;

use pool_stdio::{Children, KillScope, LadderTimes, Stop};
use pool_testkit::census::Census;
use pool_tests::children::{Beacon, RootEnds, Tree, block_on, trees};

use super::{Ending, Row};
use crate::children::program::fixture;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;

pub(super) fn play(census: &Census, rounds: usize) -> Measured<Vec<Row>> {
    let count = trees(Beacon::new()?.path()).len();
    let mut rows = Vec::new();
    for number in 0..count {
        let tree = trees(Beacon::new()?.path()).swap_remove(number);
        let mut row = Row::new(tree.id, tree.what);
        for _ in 0..rounds {
            row.forced.push(end(census, number, Duration::ZERO)?);
            row.asked.push(end(census, number, GRACE)?);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Builds the tree, and ends it: with SIGKILL at once if the grace is zero.
fn end(census: &Census, number: usize, grace: Duration) -> Measured<Ending> {
    let beacon = Beacon::new()?;
    let Tree {
        behaviour,
        announced,
        root,
        ..
    } = trees(beacon.path()).swap_remove(number);
    let mut times = LadderTimes::default();
    times.force_grace = grace;
    let spec = census.mark(fixture(&behaviour)?);
    let spec = spec.kill_scope(KillScope::Tree).ladder_times(times);
    let children = Children::new();
    let child = block_on(children.spawn(&spec.build()?))?;
    let seen = beacon.expect(announced);
    if root == RootEnds::Before {
        block_on(child.exited());
    }
    let watch = Stopwatch::start();
    block_on(child.terminate(Stop::Force));
    let ending = Ending {
        millis: watch.elapsed().as_secs_f64() * 1e3,
        live: census.processes().len(),
    };
    drop(seen);
    block_on(children.emptied());
    Ok(ending)
}

/// That of the baseline.
const GRACE: Duration = Duration::from_millis(500);
