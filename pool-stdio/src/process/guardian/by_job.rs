//! Windows needs no guardian: the job of a child ends with this program, however that ends.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::process::health;
use crate::process::outcome::Exit;
use crate::process::record::ChildId;
use crate::process::sys::{PidState, Root};
use crate::process::terminate::KillScope;

/// Lets this program be its own guardian, where there is one. On Windows this does nothing: the system
/// ends the children.
pub const fn guard_main() {}

/// How long children that outlive this program have to act on the end of their input. On Windows this
/// does nothing: the system ends them at once.
pub const fn set_host_death_grace(_grace: Duration) {}

/// What a start of a guardian came to.
#[derive(Debug)]
#[expect(dead_code, reason = "the same variants on every system")]
pub(crate) enum Started {
    Guardian(Arc<Root>),
    No,
    Later(Instant),
}

/// What other parts would do for a guardian.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "the same fields on every system")]
pub(crate) struct Hooks {
    pub(crate) replace: fn(),
    pub(crate) flush_at: fn(Instant),
}

pub(crate) const fn set_hooks(_: Hooks) {}

pub(crate) const fn flush(_: Instant) -> Option<Instant> {
    None
}

pub(crate) fn ensure() -> Started {
    health::set_guardian(true);
    Started::No
}

pub(crate) const fn rootless(_: ChildId, _: KillScope, _: u32) {}

pub(crate) const fn ended(_: ChildId) {}

pub(crate) const fn cgroup_removed(_: ChildId) {}

pub(crate) const fn exited(_: &Arc<Root>, _: Exit) {}

/// A start that no guardian has to know of.
#[derive(Debug)]
pub(crate) struct GuardedStart;

impl GuardedStart {
    pub(crate) const fn begin(_: ChildId) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn cgroup_made(&mut self, _: &Path) {}

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn succeed(self, _: KillScope, _: u32, _: PidState) {}
}
