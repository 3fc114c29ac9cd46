//! Scans `/proc` for living processes of children, on a thread of its own.
//!
//! A scan reads every process of the system, and can block: the kernel makes the reader of a stuck
//! process's environment wait. So the custodian does not scan. It posts a request, and the ladder
//! goes on by its deadlines if the answer does not come.
//!
//! One pass over the processes serves all requests that are there when it begins. So the ends of many
//! children cost hardly more than that of one.
//!
//! The thread has a table of descriptors of its own, where the system allows it: it can look although
//! this program has no descriptor left.

mod pass;
mod scan_request;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

pub(super) use self::scan_request::{ScanAnswer, ScanKey, ScanPurpose, ScanRequest};

use self::pass::{Found, Snapshot};
use self::scan_request::ScanKind;
use super::health::Event;
use super::lock::lock;
use super::outcome::CountFailure;
use super::record::ChildId;
use super::service;
use super::signal::Signal;
use super::sys::{self, Delivery, ProcessId};
use super::terminate::Others;

/// The way to the thread, which is started by the first request.
pub(crate) struct ScanThread<A> {
    queue: Arc<Queue>,
    is_started: bool,
    /// Called on the thread.
    answer: A,
    /// The descriptor that `answer` uses.
    kept: sys::Kept,
}

#[derive(Debug, Default)]
struct Queue {
    /// At most three for each child, however long a pass takes: an answer to a request that was
    /// replaced would be ignored, and signals that follow others are stronger.
    requests: Mutex<BTreeMap<(ChildId, ScanKind), ScanRequest>>,
    posted: Condvar,
}

impl<A: Fn(ScanAnswer) + Clone + Send + 'static> ScanThread<A> {
    /// `answer` is called on the thread. It must use no descriptor of this program but `kept`.
    pub(crate) fn new(answer: A, kept: sys::Kept) -> Self {
        Self {
            queue: Arc::default(),
            is_started: false,
            answer,
            kept,
        }
    }

    /// Gives the request back if there is no thread for it.
    pub(crate) fn post(&mut self, request: ScanRequest) -> Result<(), ScanRequest> {
        if !self.is_started {
            let queue = Arc::clone(&self.queue);
            let (answer, kept) = (self.answer.clone(), self.kept);
            let mut state = State::default();
            let started = service::start("stdio-scan", move || {
                run(&queue, &answer, kept, &mut state);
            });
            self.is_started = started.is_ok();
        }
        if !self.is_started {
            return Err(request);
        }
        self.queue.post(request);
        Ok(())
    }
}

/// What the thread keeps from one pass to the next.
#[derive(Default)]
struct State {
    pending: Vec<Pending>,
    /// Descendants outside their child's group that an earlier pass saw alive, for as long as `/proc`
    /// shows them. They are kept here for two reasons: a dead one carries no mark any more, and a
    /// request does not know of those that were found after it was made.
    outside: BTreeSet<(ChildId, ProcessId)>,
}

/// A request that was not answered yet.
struct Pending {
    request: ScanRequest,
    passes: usize,
    clean_passes: usize,
}

fn run(queue: &Queue, answer: &impl Fn(ScanAnswer), kept: sys::Kept, state: &mut State) {
    let State { pending, outside } = state;
    sys::block_signals();
    // Without a table of its own the thread shares the fate of this program when descriptors are
    // short: the answer is then that it could not look.
    drop(sys::use_own_descriptors(kept));
    loop {
        pending.extend(
            queue
                .take(pending.is_empty())
                .into_values()
                .map(|request| Pending {
                    request,
                    passes: 0,
                    clean_passes: 0,
                }),
        );
        let requests: Vec<&ScanRequest> = pending.iter().map(|one| &one.request).collect();
        let snapshot = Snapshot::take(&requests);
        match &snapshot {
            Ok(snapshot) => snapshot.keep_shown(outside),
            Err(_) => Event::FailedScan.happened(),
        }
        pending.retain_mut(|one| match one.look(snapshot.as_ref(), outside) {
            Progress::Again => true,
            Progress::Done => false,
            Progress::Answered(found) => {
                answer(found);
                false
            }
        });
    }
}

impl Queue {
    fn post(&self, request: ScanRequest) {
        let key = (request.key.child, request.purpose.kind());
        let replaced = lock(&self.requests).insert(key, request);
        self.posted.notify_one();
        drop(replaced);
    }

    fn take(&self, may_wait: bool) -> BTreeMap<(ChildId, ScanKind), ScanRequest> {
        let requests = lock(&self.requests);
        let requests = if may_wait {
            self.posted
                .wait_while(requests, |requests| requests.is_empty())
                .unwrap_or_else(PoisonError::into_inner)
        } else {
            requests
        };
        std::mem::take(&mut *{ requests })
    }
}

/// What a pass did for a request.
enum Progress {
    Again,
    Done,
    Answered(ScanAnswer),
}

impl Pending {
    fn look(
        &mut self,
        snapshot: Result<&Snapshot, &CountFailure>,
        outside: &mut BTreeSet<(ChildId, ProcessId)>,
    ) -> Progress {
        let mut in_cgroup = self.ask_cgroup();
        let child = self.request.key.child;
        let recorded = &mut self.request.recorded;
        for (_, process) in outside.iter().filter(|(of, _)| *of == child) {
            if !recorded.contains(process) {
                recorded.push(*process);
            }
        }
        let mut found = match (snapshot, &mut in_cgroup) {
            (Ok(snapshot), in_cgroup) => {
                if let InCgroup::Pids(pids) = in_cgroup {
                    let known = snapshot.known(pids);
                    // What is left was started meanwhile, or cannot be named.
                    pids.retain(|pid| known.iter().all(|known| known.pid != *pid));
                    recorded.extend(known);
                }
                snapshot.find(&self.request)
            }
            // The control group shows all there is.
            (Err(_), InCgroup::Pids(_)) => Found::default(),
            (Err(why), InCgroup::NoGroup | InCgroup::Unknown) => {
                return match self.request.purpose {
                    ScanPurpose::Signal(_) => Progress::Done,
                    ScanPurpose::Count | ScanPurpose::Kill => {
                        Progress::Answered(ScanAnswer::failed(self.request.key, *why))
                    }
                };
            }
        };
        if let InCgroup::Pids(_) = in_cgroup {
            // Whatever could not be looked into is not in it.
            found.suspects = 0;
        }
        self.passes += 1;
        outside.extend(found.outside.iter().map(|process| (child, *process)));
        for process in &found.outside {
            // A refused or late signal leaves the process alive, to be seen by the next pass.
            let signals = self.request.purpose.signals();
            if let Delivery::Refused(_) = sys::signal_process(*process, signals) {
                Event::RefusedSignal.happened();
            }
        }
        if matches!(self.request.purpose, ScanPurpose::Signal(_)) {
            return Progress::Done;
        }
        match self.others(&found, &in_cgroup) {
            Some(others) => Progress::Answered(ScanAnswer {
                key: self.request.key,
                others,
                members: found.members,
                outside: found.outside,
                adopted: found.adopted,
                dead_members: found.dead_members,
                has_unseen: in_cgroup.unseen() > 0,
            }),
            None => Progress::Again,
        }
    }

    /// Kills what is in the control group, if that is the purpose, and lists it without the root.
    fn ask_cgroup(&self) -> InCgroup {
        let Some(cgroup) = &self.request.cgroup else {
            return InCgroup::NoGroup;
        };
        let kills = self.request.purpose.signals().contains(&Signal::Kill);
        if kills && cgroup.kill().is_err() {
            Event::RefusedSignal.happened();
        }
        let Ok(mut pids) = cgroup.processes() else {
            return InCgroup::Unknown;
        };
        pids.retain(|pid| Some(*pid) != self.request.unreaped_root);
        InCgroup::Pids(pids)
    }

    /// What is known after this pass; `None` if it takes another.
    fn others(&mut self, found: &Found, in_cgroup: &InCgroup) -> Option<Others> {
        let alive = found.members.len() + found.outside.len() + in_cgroup.unseen();
        if alive > 0 {
            return Some(Others::Alive(alive));
        }
        if !found.is_any_leaving {
            self.clean_passes += 1;
        }
        // Order: two passes, because a process has no environment for a moment while it executes
        // another program, and one that was just forked may have a pid that was passed already.
        let is_enough = self.request.descendants_since.is_none()
            || self.clean_passes == 2
            || self.passes == PASSES_MAX;
        if !is_enough {
            return None;
        }
        if let InCgroup::Unknown = in_cgroup {
            Event::FailedScan.happened();
            return Some(Others::Unknown(CountFailure::Refused));
        }
        if found.suspects > 0 {
            Event::FailedScan.happened();
            return Some(Others::Unknown(CountFailure::Unreadable));
        }
        Some(Others::Gone)
    }
}

/// What the control group shows besides the root.
enum InCgroup {
    NoGroup,
    Pids(Vec<u32>),
    /// It could not be read.
    Unknown,
}

impl InCgroup {
    /// How many it shows that the pass over the processes did not.
    const fn unseen(&self) -> usize {
        match self {
            Self::Pids(pids) => pids.len(),
            Self::NoGroup | Self::Unknown => 0,
        }
    }
}

/// A process takes microseconds to leave, unless it is stuck; then it is not waited for.
const PASSES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(child: u64, number: u64, purpose: ScanPurpose) -> ScanRequest {
        ScanRequest {
            key: ScanKey {
                child: ChildId(child),
                number,
            },
            unreaped_root: None,
            group: None,
            descendants_since: None,
            cgroup: None,
            recorded: Vec::new(),
            purpose,
        }
    }

    #[test]
    fn requests_of_a_child_do_not_pile_up_while_a_pass_takes_long() {
        let queue = Queue::default();
        for number in 0..100 {
            for child in [1, 2] {
                queue.post(request(child, number, ScanPurpose::Count));
                queue.post(request(child, number, ScanPurpose::Kill));
                let signals: &[Signal] = match number {
                    0 => &[Signal::Terminate],
                    _ => &[Signal::Kill],
                };
                queue.post(request(child, number, ScanPurpose::Signal(signals)));
            }
        }
        let taken = queue.take(true);
        assert_eq!(taken.len(), 2 * 3);
        assert!(taken.values().all(|one| one.key.number == 99));
        let is_kill = |one: &&ScanRequest| one.purpose == ScanPurpose::Signal(&[Signal::Kill]);
        assert_eq!(taken.values().filter(is_kill).count(), 2);
        assert!(queue.take(false).is_empty());
    }
}
