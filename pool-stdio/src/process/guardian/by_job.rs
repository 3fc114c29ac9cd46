//! Windows needs no guardian: the job of a child ends with this program, however that ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::process::health;
use crate::process::record::ChildId;
use crate::process::sys::Root;
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

pub(crate) const fn on_loss(_replace: fn()) {}

pub(crate) fn ensure() -> Started {
    health::set_guardian(true);
    Started::No
}

pub(crate) const fn running(_: ChildId, _: KillScope, _: u32) {}

pub(crate) const fn ended(_: ChildId) {}

pub(crate) const fn exited(_: &Arc<Root>) {}

/// A start that no guardian has to know of.
#[derive(Debug)]
pub(crate) struct GuardedStart;

impl GuardedStart {
    pub(crate) const fn begin(_: ChildId) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn succeed(self, _: KillScope, _: u32) {}
}
