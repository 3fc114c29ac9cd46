//! What a row needs: a census that counts, a beacon at which processes announce themselves, and the
//! two trees that the library of trees does not have.

use std::cell::Cell;
use std::path::Path;

use pool_core::{ConnectContext, ConnectionId};
use pool_reuse::measure::{Measured, Stopwatch};
use pool_stdio::{CommandSpec, KillScope};
use pool_testkit::census::Census;
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::{Beacon, OUTER_DEADLINE};
use tokio::runtime;
use tokio::time::Instant;

use super::row::Ending;
use crate::children::program::fixture;

/// One playing of one row.
pub(super) struct Scene<'a> {
    census: &'a Census,
    pub(super) beacon: Beacon,
    pub(super) runtime: runtime::Runtime,
    /// Restarted when the timed part starts.
    watch: Cell<Stopwatch>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(census: &'a Census) -> Measured<Self> {
        Ok(Self {
            census,
            beacon: Beacon::new()?,
            runtime: runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            watch: Cell::new(Stopwatch::start()),
        })
    }

    /// The timed part starts.
    pub(super) fn begin(&self) {
        self.watch.set(Stopwatch::start());
    }

    /// The timed part is over: what lives is counted now.
    pub(super) fn ending(&self) -> Ending {
        Ending::Returned {
            millis: self.watch.get().elapsed().as_secs_f64() * 1e3,
            live: self.census.processes().len(),
        }
    }

    /// Milliseconds since the timed part started.
    pub(super) fn millis(&self) -> f64 {
        self.watch.get().elapsed().as_secs_f64() * 1e3
    }

    /// Living processes of the tree, without this one.
    pub(super) fn live_without(&self, pid: u32) -> usize {
        let all = self.census.processes().into_iter();
        all.filter(|process| process.pid != pid).count()
    }

    pub(super) fn actor(&self, tag: &str) -> Behaviour {
        Behaviour::new().announce(self.beacon.path(), tag)
    }

    /// A marked command whose whole tree is ended.
    pub(super) fn spec(&self, behaviour: &Behaviour) -> Measured<CommandSpec> {
        Ok(self.mark(fixture(behaviour)?))
    }

    /// Marks a command, and ends its whole tree.
    pub(super) fn mark(&self, spec: CommandSpec) -> CommandSpec {
        self.census.mark(spec).kill_scope(KillScope::Tree)
    }
}

/// The context of a child that is opened outside a pool.
pub(super) fn context() -> ConnectContext {
    let deadline = Instant::now() + OUTER_DEADLINE;
    ConnectContext::new(ConnectionId::from_u64(0), 1, deadline)
}

/// M10: the root prints and exits, and this leaf holds its stdout.
pub(super) fn held_by(leaf: Behaviour) -> Behaviour {
    Behaviour::new().start(leaf).print("done\n").exit(0)
}

/// M11: the root hangs, and a daemon holds its stdout. Both announce themselves.
pub(super) fn daemonised(socket: &Path) -> Behaviour {
    let actor = |tag| Behaviour::new().announce(socket, tag);
    let daemon = Behaviour::new().then(Step::LeaveSession);
    let daemon = daemon.start(actor("daemon").hang()).exit(0);
    actor("root").start(daemon).hang()
}
