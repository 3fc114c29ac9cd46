//! The same rows by programs of Node: a script that lists the descendants and signals them, and the
//! npm packages execa and tree-kill.
//!
//! The script does what a well-known agent does that starts its tools as children: it lists the
//! descendants once, sends SIGTERM to the group, waits half a second, and kills what is left of its
//! list. execa runs with `killDescendants` and half a second until it kills; tree-kill sends SIGKILL.
//! `.ci/install-baselines` installs the packages. Survivors are counted 150 ms after a call has
//! returned, later than for ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pool_core::Connector;
use pool_reuse::measure::Measured;
use pool_stdio::{CommandSpec, StdioConnection, StdioConnector, StdioError, Stop};
use pool_testkit::census::Census;
use pool_testkit::fixture::Behaviour;
use pool_tests::children::{OUTER_DEADLINE, RootEnds, trees};
use tokio::time::sleep;

use super::row::Ending;
use super::scene::{Scene, context, daemonised, held_by};
use crate::children::program::as_fixture;

/// A way of Node to end a tree.
#[derive(Debug, Clone)]
pub(super) struct Baseline {
    /// Its name in the table.
    pub(super) name: &'static str,
    method: &'static str,
    node: PathBuf,
    /// A copy beside the packages, where Node finds them.
    script: PathBuf,
}

/// Those that can run here, and what is said of those that cannot.
#[derive(Debug, Default)]
pub(super) struct Available {
    pub(super) baselines: Vec<Baseline>,
    pub(super) skipped: Vec<String>,
}

/// Looks for Node and the packages.
pub(super) fn available() -> Available {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/baselines");
    let installed = folder.join("node_modules/.bin/node");
    let has_packages = installed.is_file() && folder.join("node_modules/execa").is_dir();
    let node = if has_packages {
        installed
    } else {
        PathBuf::from("node")
    };
    let is_there = Command::new(&node).arg("--version").output();
    let mut found = Available::default();
    if !is_there.is_ok_and(|output| output.status.success()) {
        found
            .skipped
            .push("SKIPPED: there is no node, so nothing is compared.".to_owned());
        return found;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/end_tree.mjs");
    let script = if has_packages {
        folder.join("end_tree.mjs")
    } else {
        source.clone()
    };
    if has_packages && let Err(why) = std::fs::copy(&source, &script) {
        found.skipped.push(format!("SKIPPED: {why}"));
        return found;
    }
    let methods = if has_packages {
        METHODS.as_slice()
    } else {
        let hint = "SKIPPED: execa and tree-kill are not installed: run .ci/install-baselines.";
        found.skipped.push(hint.to_owned());
        &METHODS[..SCRIPTS]
    };
    found.baselines = methods
        .iter()
        .map(|(name, method)| Baseline {
            name,
            method,
            node: node.clone(),
            script: script.clone(),
        })
        .collect();
    found
}

impl Baseline {
    /// Plays the row with this id once.
    pub(super) fn play(&self, census: &Census, id: &str) -> Measured<Ending> {
        let scene = Scene::new(census)?;
        let Part {
            behaviour,
            announced,
            mode,
            root,
        } = part(&scene, id)?;
        let spec = CommandSpec::new(&self.node)
            .arg(&self.script)
            .args([self.method, mode])
            .arg(std::env::current_exe()?)
            .arg(behaviour.to_string());
        let connector = StdioConnector::new(scene.mark(as_fixture(spec)))?;
        scene.runtime.block_on(async {
            let mut node = connector.connect(&context()).await?;
            let ending = end(&scene, &mut node, announced, root).await;
            // Ends the rest of the tree too, for the next row.
            node.terminate(Stop::Force).await;
            ending
        })
    }
}

async fn end(
    scene: &Scene<'_>,
    node: &mut StdioConnection,
    announced: usize,
    root: RootEnds,
) -> Measured<Ending> {
    expect(node, "started").await?;
    drop(scene.beacon.expect(announced));
    if root == RootEnds::Before {
        expect(node, "exited").await?;
    }
    scene.begin();
    let answer = node
        .request("go")
        .until(|line| line.bytes == "ended")
        .within(PENDING)
        .await;
    let millis = scene.millis();
    match answer {
        Ok(_) => {
            sleep(COUNTED_AFTER).await;
            Ok(Ending::Returned {
                millis,
                live: scene.live_without(node.process().pid()),
            })
        }
        Err(StdioError::TimedOut { .. }) => Ok(Ending::Pending(PENDING.as_secs_f64())),
        Err(error) => Err(error.into()),
    }
}

async fn expect(node: &mut StdioConnection, line: &str) -> Measured<()> {
    let said = node.recv().within(OUTER_DEADLINE).await?;
    if said.bytes == line.as_bytes() {
        Ok(())
    } else {
        Err(format!("{line} was expected: {said:?}").into())
    }
}

/// What a row is made of for a baseline.
struct Part {
    behaviour: Behaviour,
    announced: usize,
    mode: &'static str,
    root: RootEnds,
}

fn part(scene: &Scene<'_>, id: &str) -> Measured<Part> {
    Ok(match id {
        "M10" => Part {
            behaviour: held_by(scene.actor("leaf").hang()),
            announced: 1,
            mode: "run",
            root: RootEnds::Before,
        },
        "M11" => Part {
            behaviour: daemonised(scene.beacon.path()),
            announced: 2,
            mode: "abort",
            root: RootEnds::WhenTold,
        },
        _ => {
            let mut all = trees(scene.beacon.path()).into_iter();
            let tree = all.find(|tree| tree.id == id).ok_or("an unknown row")?;
            Part {
                behaviour: tree.behaviour,
                announced: tree.announced,
                // Programs of this kind have a call for a root that may have exited by itself.
                mode: if id == "M7" { "stop" } else { "end" },
                root: tree.root,
            }
        }
    })
}

/// How long a call can take before it counts as one that does not return.
const PENDING: Duration = Duration::from_millis(2500);
/// How long after a call what lives on is counted.
const COUNTED_AFTER: Duration = Duration::from_millis(150);
/// The scripts need no package.
const SCRIPTS: usize = 2;
const METHODS: [(&str, &str); 4] = [
    ("script, group leader", "script-leader"),
    ("script, plain child", "script-plain"),
    ("execa, killDescendants", "execa"),
    ("tree-kill, SIGKILL", "tree-kill"),
];
