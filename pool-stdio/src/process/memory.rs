//! How much memory the processes of a child's scope occupy.
//!
//! One look over the processes of the system answers for all children for a while: callers that come
//! meanwhile wait for it, or take what it found. A look can hang on a process that is stuck in the kernel. Then
//! it holds up one thread, and nobody learns anything until it ends.
//!
//! What counts is the group of the root, and all that descend from it and its members by their parents.
//! A process that left the group *and* whose parent has gone is not found; the environment of all
//! processes would have to be read for it. Memory that processes share counts once for each.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
/// Can block on a process that is stuck in the kernel, but only one caller at a time.
pub(crate) fn resident_bytes(root: u32, scope: KillScope) -> Option<u64> {
    static LOOKS: Looks = Looks::new(FRESH, LOOK_PATIENCE);
    let snapshot = LOOKS.latest(|| sys::processes().ok().map(Snapshot::of))?;
    snapshot.resident_bytes(root, scope)
}

/// For how long a look is good enough.
const FRESH: Duration = Duration::from_millis(100);

/// For how long callers wait for the look of another one.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

/// The latest look, and whether one is under way.
struct Looks {
    state: Mutex<LooksState>,
    ended: Condvar,
    fresh: Duration,
    patience: Duration,
}

struct LooksState {
    latest: Option<Arc<Snapshot>>,
    looking_since: Option<Instant>,
}

impl Looks {
    const fn new(fresh: Duration, patience: Duration) -> Self {
        Self {
            state: Mutex::new(LooksState {
                latest: None,
                looking_since: None,
            }),
            ended: Condvar::new(),
            fresh,
            patience,
        }
    }

    /// What was seen a moment ago, or what a look shows now; `None` if the look fails or hangs.
    #[expect(
        clippy::disallowed_methods,
        reason = "a system that hangs does not heed the clock of a test"
    )]
    fn latest(&self, look: impl FnOnce() -> Option<Snapshot>) -> Option<Arc<Snapshot>> {
        let mut state = self.lock();
        loop {
            let latest = state.latest.as_ref();
            if let Some(latest) = latest.filter(|it| it.taken.elapsed() < self.fresh) {
                return Some(Arc::clone(latest));
            }
            let Some(since) = state.looking_since else {
                break;
            };
            let left = self.patience.checked_sub(since.elapsed())?;
            let waited = self.ended.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.looking_since = Some(Instant::now());
        drop(state);
        let mut end = EndOfLook {
            looks: self,
            seen: None,
        };
        end.seen = look().map(Arc::new);
        end.seen.clone()
    }

    fn lock(&self) -> MutexGuard<'_, LooksState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its drop ends a look, also if that panics.
struct EndOfLook<'a> {
    looks: &'a Looks,
    seen: Option<Arc<Snapshot>>,
}

impl Drop for EndOfLook<'_> {
    fn drop(&mut self) {
        let mut state = self.looks.lock();
        state.latest = self.seen.take();
        state.looking_since = None;
        drop(state);
        self.looks.ended.notify_all();
    }
}

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

    fn empty() -> Option<Snapshot> {
        Some(Snapshot::of(Vec::new()))
    }

    #[test]
    fn look_that_hangs_holds_up_one_thread() {
        let looks = Looks::new(Duration::from_secs(3_600), Duration::ZERO);
        let (enter, entered) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                looks.latest(move || {
                    enter.send(()).expect("the test waits");
                    released.recv().expect("the test releases it");
                    empty()
                })
            });
            entered.recv().expect("the look has begun");
            let other = looks.latest(|| panic!("a second look"));
            assert!(other.is_none(), "nothing was seen");
            release.send(()).expect("it is there");
            assert!(looking.join().expect("no panic").is_some());
        });
        let shared = looks.latest(|| panic!("it was seen a moment ago"));
        assert!(shared.is_some());
    }

    #[test]
    fn look_that_panics_or_fails_keeps_nobody_from_the_next() {
        let looks = Looks::new(Duration::from_secs(3_600), Duration::from_secs(3_600));
        let panics = || looks.latest(|| panic!("a look"));
        let panics = std::panic::AssertUnwindSafe(panics);
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(looks.latest(|| None).is_none());
        assert!(looks.latest(empty).is_some());
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
