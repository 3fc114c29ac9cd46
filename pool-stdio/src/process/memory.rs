//! How much memory the processes of a child's scope occupy.
//!
//! One look over the processes of the system answers for all children for a while: callers that come
//! meanwhile wait for it, or take what it found.
//!
//! What counts is the group of the root, and all that descend from it and its members by their parents.
//! A process that left the group *and* whose parent has gone is not found; the environment of all
//! processes would have to be read for it. Memory that processes share counts once for each.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sys::{self, Process};
use super::terminate::KillScope;

/// The processes of the system at one moment.
#[derive(Debug)]
struct Snapshot {
    taken: Instant,
    processes: Vec<Process>,
    by_group: HashMap<u32, Vec<usize>>,
    by_parent: HashMap<u32, Vec<usize>>,
}

/// The resident memory of a child's scope, in bytes. `None` if that cannot be seen.
///
/// Can block on a process that is stuck in the kernel.
pub(crate) fn resident_bytes(root: u32, scope: KillScope) -> Option<u64> {
    latest().and_then(|snapshot| snapshot.resident_bytes(root, scope))
}

fn latest() -> Option<Arc<Snapshot>> {
    static LATEST: Mutex<Option<Arc<Snapshot>>> = Mutex::new(None);
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    // Order: taken under the lock, so that all who come meanwhile share it.
    if latest.as_ref().is_none_or(|it| it.taken.elapsed() >= FRESH) {
        *latest = sys::processes().ok().map(Snapshot::of).map(Arc::new);
    }
    latest.clone()
}

/// For how long a look is good enough.
const FRESH: Duration = Duration::from_millis(100);

impl Snapshot {
    #[expect(
        clippy::disallowed_methods,
        reason = "the memory of processes does not stop with the clock of a test"
    )]
    fn of(processes: Vec<Process>) -> Self {
        let mut by_group: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut by_parent: HashMap<u32, Vec<usize>> = HashMap::new();
        for (place, process) in processes.iter().enumerate() {
            by_group.entry(process.group).or_default().push(place);
            by_parent.entry(process.parent).or_default().push(place);
        }
        Self {
            taken: Instant::now(),
            processes,
            by_group,
            by_parent,
        }
    }

    fn resident_bytes(&self, root: u32, scope: KillScope) -> Option<u64> {
        let group = self.by_group.get(&root)?;
        let of_root = |place: &&usize| self.processes[**place].id.pid == root;
        if scope == KillScope::Root {
            let root = group.iter().find(of_root)?;
            return Some(self.processes[*root].resident_bytes);
        }
        let mut pending = group.clone();
        let mut counted = HashSet::new();
        let mut bytes = 0;
        while let Some(place) = pending.pop() {
            if counted.insert(place) {
                let process = &self.processes[place];
                bytes += process.resident_bytes;
                pending.extend(self.by_parent.get(&process.id.pid).into_iter().flatten());
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::sys::ProcessId;

    /// A process that occupies as many bytes as its pid.
    fn process(pid: u32, parent: u32, group: u32) -> Process {
        Process {
            id: ProcessId {
                pid,
                started_ticks: 1,
            },
            parent,
            group,
            is_dead: false,
            is_leaving: false,
            resident_bytes: u64::from(pid),
        }
    }

    #[test]
    fn group_and_descendants_count_once_and_others_do_not() {
        let snapshot = Snapshot::of(vec![
            process(10, 1, 10),
            process(100, 10, 10),
            // It left the group.
            process(1_000, 100, 1_000),
            process(10_000, 1_000, 1_000),
            // Its parent has gone, but it stayed in the group.
            process(100_000, 1, 10),
            // Of another child.
            process(1_000_000, 1, 1_000_000),
        ]);
        let weigh = |scope| snapshot.resident_bytes(10, scope);
        assert_eq!(weigh(KillScope::Root), Some(10));
        assert_eq!(weigh(KillScope::Group), Some(111_110));
        assert_eq!(weigh(KillScope::Tree), Some(111_110));
        assert_eq!(snapshot.resident_bytes(7, KillScope::Group), None);
    }
}
