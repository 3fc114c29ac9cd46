//! Children that are started, used and ended in several ways.

use std::fmt;

use crate::children::OUTER_DEADLINE;
use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{
    Children, CommandSpec, KillScope, Rung, StdioConnector, Stop, Survivors, Termination,
};
use pool_testkit::fixture::{Behaviour, Step};
use tokio::time::Instant;

use crate::children::Stage;

/// How many children were ended in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Ended in an orderly way, by the end of their input.
    pub orderly: usize,
    /// Ended by force.
    pub forced: usize,
    /// Dropped.
    pub dropped: usize,
    /// Killed from outside, then ended.
    pub killed: usize,
    /// Dropped before they were started.
    pub cancelled: usize,
    /// Ended together with a grandchild that had left the group.
    pub trees: usize,
    /// Sent a request as a connection, then ended in an orderly way.
    pub asked: usize,
}

impl Done {
    /// How many in all.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.orderly
            + self.forced
            + self.dropped
            + self.killed
            + self.cancelled
            + self.trees
            + self.asked
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orderly, {} forced, {} dropped, {} killed from outside, {} cancelled, {} trees, \
             {} asked",
            self.orderly,
            self.forced,
            self.dropped,
            self.killed,
            self.cancelled,
            self.trees,
            self.asked
        )
    }
}

/// Starts and ends this many children, one after the other, and waits until the last has gone.
///
/// # Panics
///
/// If a child does not start, or is ended by another rung than expected.
pub async fn run(stage: &Stage<'_>, cycles: usize) -> Done {
    let children = Children::new();
    let echo = stage.spec(&Behaviour::echo());
    let leaf = Behaviour::new().then(Step::LeaveSession).hang();
    let tree = stage.spec(&Behaviour::new().start(leaf).print("up\n").hang());
    let connector = StdioConnector::new(echo.clone()).expect("the program is there");
    let mut done = Done::default();
    for cycle in 0..cycles {
        match cycle % EACH {
            0 | 7 => {
                assert_eq!(end(&children, &echo, Stop::Orderly).await.rung, Rung::Eof);
                done.orderly += 1;
            }
            1 | 8 => {
                assert_eq!(end(&children, &echo, Stop::Force).await.rung, Rung::Kill);
                done.forced += 1;
            }
            2 | 9 => {
                drop(start(&children, &echo).await);
                done.dropped += 1;
            }
            3 => {
                let child = start(&children, &echo).await;
                crate::children::kill(child.pid());
                let exit = child.exited().await;
                assert_eq!(child.terminate(Stop::Orderly).await.exit, exit);
                done.killed += 1;
            }
            4 => {
                drop(children.spawn(&command(&echo)));
                done.cancelled += 1;
            }
            // Only sometimes, since each needs a scan of all processes.
            5 if cycle % (TREE_EACH * EACH) == 5 => {
                let tree = tree.clone().kill_scope(KillScope::Tree);
                let end = end(&children, &tree, Stop::Force).await;
                assert_eq!((end.rung, end.survivors), (Rung::Kill, Survivors::Known(0)));
                done.trees += 1;
            }
            _ => {
                ask(&connector, cycle).await;
                done.asked += 1;
            }
        }
    }
    connector.children().emptied().await;
    children.emptied().await;
    done
}

fn command(spec: &CommandSpec) -> pool_stdio::Command {
    spec.clone().build().expect("the program is there")
}

async fn start(children: &Children, spec: &CommandSpec) -> pool_stdio::Child {
    let spawned = children.spawn(&command(spec)).await;
    spawned.expect("a child starts")
}

async fn end(children: &Children, spec: &CommandSpec, stop: Stop) -> Termination {
    start(children, spec).await.terminate(stop).await
}

async fn ask(connector: &StdioConnector, cycle: usize) {
    let deadline = Instant::now() + OUTER_DEADLINE;
    let id = ConnectionId::from_u64(cycle as u64);
    let context = ConnectContext::new(id, 1, deadline);
    let connected = connector.connect(&context).await;
    let mut connection = connected.expect("a child starts");
    let line = format!("cycle {cycle}");
    let reply = connection.request(line.clone()).await;
    assert_eq!(reply.expect("it echoes").bytes, line);
    let end = connection.terminate(Stop::Orderly).await;
    assert_eq!(end.rung, Rung::Eof);
}

const EACH: usize = 10;
const TREE_EACH: usize = 10;
