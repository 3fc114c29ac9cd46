//! A test on Windows: the children that it starts, and nothing that would need a list of processes.

use pool_stdio::CommandSpec;
use pool_testkit::fixture::Behaviour;

/// One test.
pub(crate) struct Scene {
    pub(crate) census: Jobs,
}

/// What there is in place of a census: the job of each child says that it is empty, before the child counts as ended.
pub(crate) struct Jobs;

/// There is nothing that could be left without its job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leftover {}

impl Scene {
    pub(crate) const fn new() -> Self {
        Self { census: Jobs }
    }

    pub(crate) fn spec(&self, behaviour: &Behaviour) -> CommandSpec {
        self.census.mark(behaviour.command(FIXTURE))
    }

    pub(crate) fn end(self, left: Vec<Leftover>) {
        assert_eq!(left, []);
    }
}

impl Jobs {
    #[expect(clippy::unused_self, reason = "the same signature as of a census")]
    pub(crate) fn mark(&self, spec: CommandSpec) -> CommandSpec {
        spec
    }

    #[expect(clippy::unused_self, reason = "the same signature as of a census")]
    pub(crate) const fn leftovers(&self) -> Vec<Leftover> {
        Vec::new()
    }
}

const FIXTURE: &str = env!("CARGO_BIN_EXE_pool-fixture");
