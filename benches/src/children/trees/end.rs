//! M1 to M9: a tree runs, and `pool-stdio` ends it.

use std::time::Duration;

use pool_reuse::measure::Measured;
use pool_stdio::{Children, LadderTimes, Stop};
use pool_testkit::census::Census;
use pool_tests::children::{Beacon, RootEnds, Tree, block_on, trees};

use super::row::{Ending, Row};
use super::scene::Scene;

/// Plays each tree in so many rounds.
pub(super) fn play(census: &Census, rounds: usize) -> Measured<Vec<Row>> {
    let mut rows = Vec::new();
    for (number, tree) in trees(Beacon::new()?.path()).into_iter().enumerate() {
        let mut row = Row::new(tree.id, tree.what);
        for _ in 0..rounds {
            row.forced.push(end(census, number, Duration::ZERO)?);
            row.asked.push(end(census, number, GRACE)?);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Starts the tree and ends it. Without a grace it starts with SIGKILL.
fn end(census: &Census, number: usize, grace: Duration) -> Measured<Ending> {
    let scene = Scene::new(census)?;
    let Tree {
        behaviour,
        announced,
        root,
        ..
    } = trees(scene.beacon.path()).swap_remove(number);
    let mut times = LadderTimes::default();
    times.force_grace = grace;
    let spec = scene.spec(&behaviour)?.ladder_times(times);
    let children = Children::new();
    let child = block_on(children.spawn(&spec.build()?))?;
    let seen = scene.beacon.expect(announced);
    if root == RootEnds::Before {
        block_on(child.exited());
    }
    scene.begin();
    block_on(child.terminate(Stop::Force));
    let ending = scene.ending();
    drop(seen);
    block_on(children.emptied());
    Ok(ending)
}

/// The same grace as the baselines have.
const GRACE: Duration = Duration::from_millis(500);
