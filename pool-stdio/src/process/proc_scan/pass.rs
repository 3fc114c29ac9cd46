//! One pass over the processes of the system, and what it means for each child that waits for it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::scan_request::ScanRequest;
use crate::process::cookie;
use crate::process::outcome::CountFailure;
use crate::process::record::ChildId;
use crate::process::sys::{self, Environment, Process, ProcessId};

/// All processes of one pass.
#[derive(Debug)]
pub(super) struct Snapshot {
    processes: Vec<Seen>,
    children_of: HashMap<u32, Vec<usize>>,
    /// Those that were not reaped.
    dead: Vec<Process>,
}

/// A process that is not dead.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) process: Process,
    pub(super) marks: Marks,
}

/// Which children's descendant a process is, by its environment.
#[derive(Debug)]
pub(super) enum Marks {
    /// Nothing that is asked for in this pass depends on it.
    NotRead,
    Of(Vec<ChildId>),
    Missing,
    /// It may be one of ours: its environment cannot be read, it has lost its parent, and it runs in
    /// our control group.
    Suspect,
}

/// What a pass found of one child.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// In the child's group.
    pub(super) members: Vec<ProcessId>,
    /// Descendants that have left the group.
    pub(super) outside: Vec<ProcessId>,
    /// Whether a process was on its way out, so that it could not be told whose it is.
    pub(super) is_any_leaving: bool,
    /// Processes that may be the child's.
    pub(super) suspects: usize,
    /// In the child's group, and not yet reaped.
    pub(super) dead_members: Vec<ProcessId>,
    /// Dead descendants and members that are our children.
    pub(super) adopted: Vec<ProcessId>,
}

impl Snapshot {
    /// Reads the processes. Environments are read only of processes that can be descendants.
    pub(super) fn take(requests: &[&ScanRequest]) -> Result<Self, CountFailure> {
        let not_before = requests
            .iter()
            .filter_map(|request| request.descendants_since)
            .min();
        let processes = sys::processes()?;
        let adopters = adopters(&processes);
        let own_group = not_before.and_then(|_| sys::control_group(std::process::id()));
        let mut seen = Vec::new();
        let mut dead = Vec::new();
        for process in processes {
            if process.is_dead {
                dead.push(process);
                continue;
            }
            let can_descend = not_before.is_some_and(|since| process.id.started_ticks >= since);
            let marks = if !can_descend {
                Marks::NotRead
            } else {
                match sys::environment(process.id.pid)? {
                    Environment::Read(environ) => {
                        let marks = cookie::marks_in(&environ, cookie::host());
                        Marks::Of(marks.map(|mark| mark.child).collect())
                    }
                    Environment::Missing => Marks::Missing,
                    Environment::Forbidden => {
                        let is_orphan = adopters.contains(&process.parent);
                        if is_orphan && sys::control_group(process.id.pid) == own_group {
                            Marks::Suspect
                        } else {
                            Marks::NotRead
                        }
                    }
                }
            };
            seen.push(Seen { process, marks });
        }
        Ok(Self::new(seen, dead))
    }

    fn new(processes: Vec<Seen>, dead: Vec<Process>) -> Self {
        let mut children_of: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, seen) in processes.iter().enumerate() {
            children_of.entry(seen.process.parent).or_default().push(at);
        }
        Self {
            processes,
            children_of,
            dead,
        }
    }

    /// Forgets the processes that are not there any more, neither alive nor dead.
    pub(super) fn keep_shown(&self, known: &mut BTreeSet<(ChildId, ProcessId)>) {
        if known.is_empty() {
            return;
        }
        let alive = self.processes.iter().map(|seen| seen.process.id);
        let shown: BTreeSet<ProcessId> =
            alive.chain(self.dead.iter().map(|dead| dead.id)).collect();
        known.retain(|(_, process)| shown.contains(process));
    }

    /// Those of these that were seen alive.
    pub(super) fn known(&self, pids: &[u32]) -> Vec<ProcessId> {
        let alive = self.processes.iter().map(|seen| seen.process.id);
        alive.filter(|id| pids.contains(&id.pid)).collect()
    }

    /// What there is of one child.
    pub(super) fn find(&self, request: &ScanRequest) -> Found {
        let mut found = Found::default();
        for process in &self.dead {
            let is_root = request.unreaped_root == Some(process.id.pid);
            let is_member = Some(process.group) == request.group;
            if is_member {
                found.dead_members.push(process.id);
            }
            // Members of a group whose root was reaped are reaped by the ward, which can tell whether the
            // number is still the group's.
            let is_ours = is_member && request.unreaped_root.is_some()
                || request.recorded.contains(&process.id);
            // If its parent was dying just now, it is our child by now.
            let is_left_to_others = process.parent == 1 && std::process::id() != 1;
            if is_ours && !is_root && !is_left_to_others {
                found.adopted.push(process.id);
            }
        }
        let is_root = |process: &Process| request.unreaped_root == Some(process.id.pid);
        let is_member = |process: &Process| Some(process.group) == request.group;
        let descendants = request
            .descendants_since
            .map(|since| self.descendants(request, since));
        for (at, Seen { process, marks }) in self.processes.iter().enumerate() {
            if is_root(process) {
                continue;
            }
            if is_member(process) {
                found.members.push(process.id);
                continue;
            }
            let (Some(descendants), Some(since)) = (&descendants, request.descendants_since) else {
                continue;
            };
            if descendants.contains(&at) {
                found.outside.push(process.id);
            } else if process.id.started_ticks >= since {
                match marks {
                    Marks::Missing => found.is_any_leaving |= process.is_leaving,
                    Marks::Suspect => found.suspects += 1,
                    Marks::NotRead | Marks::Of(_) => {}
                }
            }
        }
        found
    }

    /// The processes that carry the mark, were recorded before, are in the group of a root that was not
    /// reaped, or have a parent of which one of these is true.
    fn descendants(&self, request: &ScanRequest, since: u64) -> HashSet<usize> {
        let mut found = HashSet::new();
        let mut next: Vec<usize> = Vec::new();
        if let Some(root) = request.unreaped_root {
            next.extend(self.children_of.get(&root).into_iter().flatten());
        }
        for (at, Seen { process, marks }) in self.processes.iter().enumerate() {
            let is_marked = matches!(marks, Marks::Of(ids) if ids.contains(&request.key.child));
            // Once the root is reaped, the number of its group can become another's.
            let is_member = request.unreaped_root.is_some() && Some(process.group) == request.group;
            if is_marked || is_member || request.recorded.contains(&process.id) {
                next.push(at);
            }
        }
        while let Some(at) = next.pop() {
            let process = &self.processes[at].process;
            let is_possible = process.id.started_ticks >= since;
            if is_possible && found.insert(at) {
                next.extend(self.children_of.get(&process.id.pid).into_iter().flatten());
            }
        }
        found
    }
}

/// The first process and our ancestors: one of them gets a process whose parent has ended. So do we,
/// if we are a subreaper.
fn adopters(processes: &[Process]) -> HashSet<u32> {
    let parents: HashMap<u32, u32> = processes
        .iter()
        .map(|process| (process.id.pid, process.parent))
        .collect();
    let mut adopters = HashSet::from([1, std::process::id()]);
    let mut next = Some(sys::parent_id());
    while let Some(pid) = next {
        next = parents.get(&pid).copied().filter(|_| adopters.insert(pid));
    }
    adopters
}

#[cfg(all(test, unix))]
mod tests;
