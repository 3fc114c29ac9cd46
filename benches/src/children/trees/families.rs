//! M10, M11 and the families F2 to F4: pipes that are held, unfinished writes, signals.
//!
//! Family F1, the end of a tree, is M1 to M9.

use std::time::Duration;

use pool_core::Connector;
use pool_stdio::{Children, OneShotConnector, Signal, StdioConnector, Stop};
use pool_testkit::census::Census;
use pool_testkit::fixture::{Behaviour, Step, Stream};
use pool_tests::children::{OUTER_DEADLINE, block_on};
use tokio::time::timeout;

use super::row::Row;
use super::scene::{Scene, context, daemonised, held_by};
use pool_reuse::measure::Measured;

type Play = fn(&Scene<'_>) -> Measured<()>;

const FAMILIES: [(&str, &str, Play); 8] = [
    ("M10", "run: a grandchild holds stdout", held_in_silence),
    ("M11", "run, aborted: a daemon holds stdout", aborted),
    ("F2a", "10 MB, then exit: all of it is read", all_is_read),
    (
        "F2b",
        "a grandchild holds stdout, and prints",
        held_by_a_printer,
    ),
    (
        "F3",
        "1 MB unfinished, the child never reads",
        write_under_way,
    ),
    ("F4a", "SIGINT passed on to a group", passed_on_interrupt),
    ("F4b", "SIGTERM passed on to a group", passed_on_terminate),
    ("F4c", "SIGTERM to a stopped child", stopped),
];

/// Plays each family in so many rounds.
pub(super) fn play(census: &Census, rounds: usize) -> Measured<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, what, play) in FAMILIES {
        let mut row = Row::new(id, what);
        for _ in 0..rounds {
            let scene = Scene::new(census)?;
            play(&scene)?;
            row.forced.push(scene.ending());
        }
        rows.push(row);
    }
    Ok(rows)
}

fn held_in_silence(scene: &Scene<'_>) -> Measured<()> {
    let leaf = scene.actor("leaf").hang();
    held(scene, leaf)
}

fn held_by_a_printer(scene: &Scene<'_>) -> Measured<()> {
    let leaf = scene.actor("leaf");
    held(
        scene,
        leaf.then(Step::PrintEvery {
            gap: Duration::from_millis(50),
            text: "here\n".into(),
        }),
    )
}

/// The caller gets the output in bounded time, and then nothing lives.
fn held(scene: &Scene<'_>, leaf: Behaviour) -> Measured<()> {
    let spec = scene.spec(&held_by(leaf))?;
    scene.runtime.block_on(async {
        let connector = OneShotConnector::new(spec)?;
        let children = connector.children();
        let mut child = connector.connect(&context()).await?;
        let seen = scene.beacon.expect(1);
        scene.begin();
        let output = child.run("").await?;
        drop((child, seen));
        children.emptied().await;
        // The leaf can have printed first.
        let mut lines = output.stdout.split(|byte| *byte == b'\n');
        if lines.any(|line| line == b"done") {
            Ok(())
        } else {
            Err(format!("the output is incomplete: {output:?}").into())
        }
    })
}

fn aborted(scene: &Scene<'_>) -> Measured<()> {
    let spec = scene.spec(&daemonised(scene.beacon.path()))?;
    scene.runtime.block_on(async {
        let connector = OneShotConnector::new(spec)?;
        let children = connector.children();
        let mut child = connector.connect(&context()).await?;
        let seen = scene.beacon.expect(2);
        let given_up = timeout(MOMENT, child.run("x".repeat(1 << 20))).await;
        scene.begin();
        drop((child, seen));
        children.emptied().await;
        match given_up {
            Err(_) => Ok(()),
            Ok(outcome) => Err(format!("a child that never answers answered: {outcome:?}").into()),
        }
    })
}

fn all_is_read(scene: &Scene<'_>) -> Measured<()> {
    let spec = scene.spec(
        &Behaviour::new()
            .then(Step::Flood {
                stream: Stream::Stdout,
                bytes: TEN_MEGABYTES,
            })
            .exit(0),
    )?;
    scene.runtime.block_on(async {
        let limit = usize::try_from(TEN_MEGABYTES)?;
        let connector = OneShotConnector::with_output_bytes_max(spec, limit)?;
        let children = connector.children();
        scene.begin();
        let mut child = connector.connect(&context()).await?;
        let output = child.run("").await?;
        drop(child);
        children.emptied().await;
        if output.stdout.len() == limit {
            Ok(())
        } else {
            Err(format!("{} bytes", output.stdout.len()).into())
        }
    })
}

fn write_under_way(scene: &Scene<'_>) -> Measured<()> {
    let spec = scene.spec(&scene.actor("root").hang())?;
    scene.runtime.block_on(async {
        let connector = StdioConnector::new(spec)?;
        let mut child = connector.connect(&context()).await?;
        let seen = scene.beacon.expect(1);
        let outcome = child.request("x".repeat(1 << 20)).within(MOMENT).await;
        scene.begin();
        child.terminate(Stop::Force).await;
        drop(seen);
        match outcome {
            Err(_) => Ok(()),
            Ok(reply) => Err(format!("a child that never answers answered: {reply:?}").into()),
        }
    })
}

fn passed_on_interrupt(scene: &Scene<'_>) -> Measured<()> {
    passed_on(scene, Signal::Interrupt)
}

fn passed_on_terminate(scene: &Scene<'_>) -> Measured<()> {
    passed_on(scene, Signal::Terminate)
}

/// A program that gets a signal passes it on, and its children end.
fn passed_on(scene: &Scene<'_>, signal: Signal) -> Measured<()> {
    let tree = scene.actor("root").start(scene.actor("leaf").hang()).hang();
    let children = Children::new();
    let child = block_on(children.spawn(&scene.spec(&tree)?.build()?))?;
    let seen = scene.beacon.expect(2);
    scene.begin();
    let unreached = children.signal_all(signal);
    let are_gone = seen.iter().all(|one| one.dies_within(OUTER_DEADLINE));
    drop((child, seen));
    block_on(children.emptied());
    if unreached.is_empty() && are_gone {
        Ok(())
    } else {
        Err("the signal did not reach all processes".into())
    }
}

fn stopped(scene: &Scene<'_>) -> Measured<()> {
    let root = scene.actor("root").then(Step::Raise(SIGSTOP)).hang();
    let children = Children::new();
    let child = block_on(children.spawn(&scene.spec(&root)?.build()?))?;
    let seen = scene.beacon.expect(1);
    scene.begin();
    let report = block_on(children.terminate_all(OUTER_DEADLINE));
    drop((child, seen));
    if report.left.is_empty() {
        Ok(())
    } else {
        Err(format!("{report:?}").into())
    }
}

const MOMENT: Duration = Duration::from_millis(50);
const TEN_MEGABYTES: u64 = 10_000_000;
const SIGSTOP: i32 = nix::sys::signal::Signal::SIGSTOP as i32;
