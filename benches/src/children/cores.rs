//! Where the measuring thread and its children run.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use pool_reuse::measure::Measured;

/// The cores on which this thread and what it starts can run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    /// Their name in tables.
    pub(super) what: &'static str,
    /// The cores themselves.
    pub(super) set: CpuSet,
}

impl Cores {
    /// The name of all cores together.
    pub(super) const UNPINNED: &str = "unpinned";

    /// One core, then all of them. On one core no request pays for waking another core.
    ///
    /// # Errors
    ///
    /// If the system does not say which cores there are.
    pub(super) fn choices() -> Measured<[Self; 2]> {
        let everywhere = sched_getaffinity(THIS_THREAD)?;
        let mut one = CpuSet::new();
        let first = (0..CpuSet::count()).find(|core| everywhere.is_set(*core).unwrap_or(false));
        one.set(first.unwrap_or(0))?;
        Ok([
            Self {
                what: "pinned to one core",
                set: one,
            },
            Self {
                what: Self::UNPINNED,
                set: everywhere,
            },
        ])
    }

    /// Moves this thread and whatever it starts from now on.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(super) fn move_here(&self) -> Measured<()> {
        Ok(sched_setaffinity(THIS_THREAD, &self.set)?)
    }

    /// Moves a child that another thread started.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(super) fn move_child(&self, pid: u32) -> Measured<()> {
        Ok(sched_setaffinity(
            Pid::from_raw(pid.try_into()?),
            &self.set,
        )?)
    }
}

const THIS_THREAD: Pid = Pid::from_raw(0);
