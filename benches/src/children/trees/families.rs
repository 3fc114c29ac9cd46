//! M10, M11 and the families F2 to F4: pipes that are held, writes that are under way, signals.
//!
//! F1, the tree kill itself, is M1 to M9.

use std::time::Duration;

use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{
    Children, CommandSpec, KillScope, OneShotConnector, Signal, StdioConnector, Stop,
};
use pool_testkit::census::Census;
use pool_testkit::fixture::{Behaviour, Step, Stream};
use pool_tests::children::{Beacon, OUTER_DEADLINE, block_on};
use tokio::runtime;
use tokio::time::{Instant, timeout};

use super::{Ending, Row};
use crate::children::program::fixture;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;

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
        "1 MB under way to one that never reads",
        write_under_way,
    ),
    ("F4a", "SIGINT, passed on to a group", passed_on_interrupt),
    ("F4b", "SIGTERM, passed on to a group", passed_on_terminate),
    ("F4c", "SIGTERM to a stopped child", stopped),
];

pub(super) fn play(census: &Census, rounds: usize) -> Measured<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, what, play) in FAMILIES {
        let mut row = Row::new(id, what);
        for _ in 0..rounds {
            let scene = Scene::new(census)?;
            play(&scene)?;
            row.forced.push(Ending {
                millis: scene.watch.get().elapsed().as_secs_f64() * 1e3,
                live: census.processes().len(),
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

struct Scene<'a> {
    census: &'a Census,
    beacon: Beacon,
    runtime: runtime::Runtime,
    /// Started when what is timed begins.
    watch: std::cell::Cell<Stopwatch>,
}

impl<'a> Scene<'a> {
    fn new(census: &'a Census) -> Measured<Self> {
        Ok(Self {
            census,
            beacon: Beacon::new()?,
            runtime: runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            watch: std::cell::Cell::new(Stopwatch::start()),
        })
    }

    fn begin(&self) {
        self.watch.set(Stopwatch::start());
    }

    fn actor(&self, tag: &str) -> Behaviour {
        Behaviour::new().announce(self.beacon.path(), tag)
    }

    fn spec(&self, behaviour: &Behaviour) -> Measured<CommandSpec> {
        let spec = self.census.mark(fixture(behaviour)?);
        Ok(spec.kill_scope(KillScope::Tree))
    }
}

fn context() -> ConnectContext {
    let deadline = Instant::now() + OUTER_DEADLINE;
    ConnectContext::new(ConnectionId::from_u64(0), 1, deadline)
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

/// The caller has its output in bounded time, and then nothing lives.
fn held(scene: &Scene<'_>, leaf: Behaviour) -> Measured<()> {
    let spec = scene.spec(&Behaviour::new().start(leaf).print("done\n").exit(0))?;
    scene.runtime.block_on(async {
        let connector = OneShotConnector::new(spec)?;
        let children = connector.children();
        let mut child = connector.connect(&context()).await?;
        let seen = scene.beacon.expect(1);
        scene.begin();
        let output = child.run("").await?;
        drop((child, seen));
        children.emptied().await;
        // The other may have been first.
        let mut lines = output.stdout.split(|byte| *byte == b'\n');
        if lines.any(|line| line == b"done") {
            Ok(())
        } else {
            Err(format!("half of the output: {output:?}").into())
        }
    })
}

fn aborted(scene: &Scene<'_>) -> Measured<()> {
    let daemon = Behaviour::new().then(Step::LeaveSession);
    let daemon = daemon.start(scene.actor("daemon").hang()).exit(0);
    let spec = scene.spec(&scene.actor("root").start(daemon).hang())?;
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
            Ok(outcome) => Err(format!("nobody answers: {outcome:?}").into()),
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
            Ok(reply) => Err(format!("nobody answers: {reply:?}").into()),
        }
    })
}

fn passed_on_interrupt(scene: &Scene<'_>) -> Measured<()> {
    passed_on(scene, Signal::Interrupt)
}

fn passed_on_terminate(scene: &Scene<'_>) -> Measured<()> {
    passed_on(scene, Signal::Terminate)
}

/// What a program does that got a signal: it passes it on, and sees its children leave.
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
        Err("it did not reach everybody".into())
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
