//! What the guardian is told of a start: that it begins, what it made, and how it ended.

use std::path::Path;

use super::keeper::{cgroup_made, cgroup_removed, ended, note, rootless};
use super::told::{CgroupPath, Known};
use crate::process::cgroup::Cgroup;
use crate::process::record::ChildId;
use crate::process::sys::PidState;
use crate::process::terminate::KillScope;

/// A start that the guardian knows of. Dropping it means that it has failed.
#[derive(Debug)]
pub(crate) struct GuardedStart {
    child: ChildId,
    cgroup: Option<Cgroup>,
    is_done: bool,
}

impl GuardedStart {
    /// A start is about to be made.
    pub(crate) fn begin(child: ChildId) -> Self {
        note(child, Known::Starting);
        Self {
            child,
            cgroup: None,
            is_done: false,
        }
    }

    /// The child is about to get the control group of this path. If the path does not fit into a line, the guardian
    /// learns nothing of it, and only this program removes the group.
    pub(crate) fn cgroup_made(&mut self, path: &Path) {
        self.cgroup = Some(Cgroup::at(path));
        if let Some(path) = CgroupPath::new(path) {
            cgroup_made(self.child, path);
        }
    }

    /// The child runs. From now on [`ended`] is to be called. If its pid means it, so does the group of
    /// that number.
    pub(crate) fn succeed(mut self, scope: KillScope, pid: u32, pid_state: PidState) {
        self.is_done = true;
        match pid_state {
            PidState::Held => note(self.child, Known::Running { scope, pid }),
            PidState::Released => rootless(self.child, scope, pid),
        }
    }
}

impl Drop for GuardedStart {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        ended(self.child);
        // One in which a process still lives is left to the guardian.
        if self.cgroup.as_ref().is_some_and(Cgroup::remove) {
            cgroup_removed(self.child);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::process::guardian::keeper::knows;

    #[test]
    fn the_control_group_of_a_failed_start_is_known_until_it_is_removed() {
        let name = format!("pool-start-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let in_use = path.join("in-use");
        for (child, is_in_use) in [(ChildId(u64::MAX), true), (ChildId(u64::MAX - 1), false)] {
            let mut start = GuardedStart::begin(child);
            start.cgroup_made(&path);
            fs::create_dir_all(if is_in_use { &in_use } else { &path }).expect("it is writable");
            if is_in_use {
                fs::write(in_use.join("file"), "").expect("it is writable");
            }
            drop(start);
            assert_eq!(path.exists(), is_in_use);
            assert_eq!(knows(child), (false, is_in_use));
            cgroup_removed(child);
            drop(fs::remove_dir_all(&path));
        }
    }
}
