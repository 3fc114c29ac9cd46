//! The guardian as a part of this program: the same as the script does, for hosts whose `main` calls
//! it. It needs no shell, and watches the host itself besides the pipe.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use super::told::{Known, Told, grace_of};
use crate::process::cgroup::Cgroup;
use crate::process::cookie;
use crate::process::record::ChildId;
use crate::process::signal::Signal;
use crate::process::sys::{self, Delivery, Environment, Process, ProcessId};
use crate::process::terminate::KillScope;

/// Lets this program be its own guardian, which then needs no shell.
///
/// To be called first in `main`. In a process that was started as a guardian it does not return. In
/// any other it only notes that guardians may be started from this program.
///
/// # Examples
///
/// ```no_run
/// pool_stdio::guard_main();
/// // What the program does otherwise.
/// ```
pub fn guard_main() {
    if env::var_os(VARIABLE).is_none() {
        IS_CALLED.store(true, Ordering::Relaxed);
        return;
    }
    sys::block_signals();
    let mut args = env::args().skip(1);
    let (Some(host), Some(steps)) = (args.next(), args.next()) else {
        exit(2);
    };
    let mut guard = Guard {
        host,
        grace: steps.parse().map(grace_of).unwrap_or_default(),
        known: BTreeMap::new(),
        cgroups: BTreeMap::new(),
        had_trees: false,
    };
    match guard.listen() {
        Ok(Heard::Leave) => exit(0),
        // Whatever keeps it from listening is taken for the end.
        Ok(Heard::End) | Err(_) => exit(i32::from(!guard.end_all())),
    }
}

/// The file to start, if it is a guardian when it is asked to be.
pub(super) fn own_program() -> Option<PathBuf> {
    if !IS_CALLED.load(Ordering::Relaxed) {
        None
    } else if cfg!(target_os = "linux") {
        // It means this program also after the file was replaced.
        Some(PathBuf::from("/proc/self/exe"))
    } else {
        env::current_exe().ok()
    }
}

struct Guard {
    host: String,
    grace: Duration,
    known: BTreeMap<ChildId, Known>,
    cgroups: BTreeMap<ChildId, Cgroup>,
    had_trees: bool,
}

enum Heard {
    Leave,
    End,
}

impl Guard {
    /// Takes what the host tells until it is gone.
    fn listen(&mut self) -> io::Result<Heard> {
        let host = self.host.split('-').next().and_then(|pid| pid.parse().ok());
        let watch = sys::Watch::parent(host.unwrap_or(0));
        let mut pipe = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut lines = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            // Order: looked at before what it said last is read.
            let is_gone = watch.wait_for(pipe.as_fd())?;
            if is_gone {
                sys::set_nonblocking(pipe.as_fd())?;
            }
            match pipe.read(&mut chunk) {
                Ok(0) => return Ok(Heard::End),
                Ok(count) => lines.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A fork of the host holds the pipe.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_gone => {
                    return Ok(Heard::End);
                }
                Err(error) => return Err(error),
            }
            while let Some(end) = memchr::memchr(b'\n', &lines) {
                let line: Vec<u8> = lines.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                match Told::parse(&line) {
                    Some(Told::Leave) => return Ok(Heard::Leave),
                    Some(told) => self.take(told),
                    None => {}
                }
            }
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Child(child, known) => {
                self.had_trees |= is_tree(known);
                self.known.insert(child, known);
            }
            Told::Ended(child) => {
                self.known.remove(&child);
            }
            Told::Cgroup(child, path) => {
                self.cgroups.insert(child, Cgroup::at(path.path()));
            }
            Told::CgroupRemoved(child) => {
                self.cgroups.remove(&child);
            }
            Told::Grace(grace) => self.grace = grace,
            Told::Leave => {}
        }
    }

    /// Says whether all have gone.
    ///
    /// The search has two halves. To read a process's environment can take for ever; what is known by
    /// its number does not wait for that.
    fn end_all(self) -> bool {
        let begun = sys::clock_now();
        let times = Times {
            term_at: begun + self.grace * 2 / 3,
            kill_at: begun + self.grace,
        };
        let marks = Marks::of(&self);
        let (done, is_done) = sync_channel(1);
        let by_marks = marks.clone().map(|marks| {
            let search = move || {
                let (Ok(()) | Err(_)) = done.try_send(end(marks, times));
            };
            thread::Builder::new().spawn(search)
        });
        let numbers = Numbers {
            known: self.known,
            cgroups: self.cgroups.into_values().collect(),
        };
        let are_known_gone = end(numbers, times);
        let are_marked_gone = match (marks, by_marks) {
            (Some(_), Some(Ok(_))) => {
                let limit = times.kill_at + KILL_WAIT + HANG_WAIT;
                let left = limit.saturating_duration_since(sys::clock_now());
                is_done.recv_timeout(left).unwrap_or(false)
            }
            // There is no room for a thread.
            (Some(marks), _) => end(marks, times),
            (None, _) => true,
        };
        are_known_gone && are_marked_gone
    }
}

/// When signals are sent.
#[derive(Debug, Clone, Copy)]
struct Times {
    term_at: Instant,
    kill_at: Instant,
}

/// A half of the search for what is to be ended.
trait Search {
    fn look(&mut self) -> Alive<'_>;

    /// Those of them that this half asks to end. Programs may count a SIGTERM: it is sent to no process that is
    /// known to get it in another way. SIGKILL goes every way there is.
    fn look_for_asked(&mut self) -> Alive<'_>;

    /// Whether some that are not there yet can still come.
    fn may_come(&self) -> bool;

    /// How many looks that find nobody are needed: one can have missed somebody.
    fn enough_empty_looks(&self) -> u32;

    /// How long to go on with SIGKILL.
    fn kill_wait(&self) -> Duration;
}

/// Says whether all have gone.
fn end(mut search: impl Search, times: Times) -> bool {
    let mut is_asked = false;
    let mut empty_looks = 0;
    loop {
        let now = sys::clock_now();
        let is_empty = {
            let alive = search.look();
            if now >= times.kill_at {
                alive.kill();
            }
            alive.is_empty()
        };
        if is_empty && !(now < times.kill_at && search.may_come()) {
            empty_looks += 1;
            if empty_looks >= search.enough_empty_looks() {
                return true;
            }
        } else {
            empty_looks = 0;
        }
        if now >= times.term_at && now < times.kill_at && !is_asked {
            search.look_for_asked().ask();
            is_asked = true;
        }
        if now >= times.kill_at + search.kill_wait() {
            return false;
        }
        sys::pause(next_look(now, times));
    }
}

/// Finds roots and groups by their numbers, and control groups by their paths. Reads no environment, so no process can
/// make it wait.
#[derive(Debug)]
struct Numbers {
    known: BTreeMap<ChildId, Known>,
    cgroups: Vec<Cgroup>,
}

impl Search for Numbers {
    fn look(&mut self) -> Alive<'_> {
        // Numbers of what has gone are free for others. Those of zombies are not.
        self.known.retain(|_, known| match *known {
            Known::Starting | Known::Rootless { .. } => false,
            Known::Running {
                scope: KillScope::Root,
                pid,
            } => is_reached(sys::signal_process_by_pid(pid, None)),
            Known::Running { pid, .. } => is_reached(sys::signal_group_by_pid(pid, None)),
        });
        // One that cannot be removed is looked at again.
        self.cgroups
            .retain(|cgroup| cgroup.is_populated().unwrap_or(true) || !cgroup.remove());
        let mut found = Alive {
            cgroups: &self.cgroups,
            ..Alive::default()
        };
        for known in self.known.values() {
            if let Known::Running { scope, pid } = *known {
                match scope {
                    KillScope::Root => found.roots.insert(pid),
                    KillScope::Group | KillScope::Tree => found.groups.insert(pid),
                };
            }
        }
        found
    }

    fn look_for_asked(&mut self) -> Alive<'_> {
        self.look()
    }

    fn may_come(&self) -> bool {
        false
    }

    fn enough_empty_looks(&self) -> u32 {
        1
    }

    /// The first SIGKILL reaches all members of roots and groups. Those that are there after that are dead, and wait
    /// for their parents. A control group shows no dead, so one with members is worth more looks.
    fn kill_wait(&self) -> Duration {
        if self.cgroups.is_empty() {
            KILL_WAIT / 10
        } else {
            KILL_WAIT
        }
    }
}

/// Finds those of which no number is known, by the marks in their environments.
#[derive(Debug, Clone)]
struct Marks {
    host: String,
    trees: bool,
    starting: BTreeSet<ChildId>,
    /// With the number of the group.
    rootless: BTreeMap<ChildId, u32>,
    /// Groups and control groups whose members the other half asks to end.
    known_groups: BTreeSet<u32>,
    cgroups: Vec<Cgroup>,
}

impl Marks {
    /// `None` if nobody is to be found so.
    fn of(guard: &Guard) -> Option<Self> {
        let mut marks = Self {
            host: guard.host.clone(),
            trees: guard.had_trees,
            starting: BTreeSet::new(),
            rootless: BTreeMap::new(),
            known_groups: BTreeSet::new(),
            cgroups: guard.cgroups.values().cloned().collect(),
        };
        for (child, known) in &guard.known {
            match *known {
                Known::Starting => {
                    marks.starting.insert(*child);
                }
                Known::Rootless { pid, .. } => {
                    marks.rootless.insert(*child, pid);
                }
                Known::Running { scope, pid } if scope != KillScope::Root => {
                    marks.known_groups.insert(pid);
                }
                Known::Running { .. } => {}
            }
        }
        let is_any = marks.trees || !marks.starting.is_empty() || !marks.rootless.is_empty();
        is_any.then_some(marks)
    }

    /// Finds all but the members of these groups, and these processes.
    fn look_without(&self, groups: &BTreeSet<u32>, pids: &BTreeSet<u32>) -> Alive<'static> {
        let mut found = Alive::default();
        for process in sys::processes().unwrap_or_default() {
            let is_left_out = groups.contains(&process.group) || pids.contains(&process.id.pid);
            if !process.is_dead && !is_left_out {
                self.add(&process, &mut found);
            }
        }
        found
    }

    /// Adds the process if it is to be ended, or its group if that is a child's without its root: a
    /// member can go on in another process again and again, and only a signal to all reaches it.
    fn add(&self, process: &Process, found: &mut Alive<'_>) {
        let Ok(Environment::Read(environ)) = sys::environment(process.id.pid) else {
            return;
        };
        for mark in cookie::marks_in(&environ, &self.host) {
            if self.rootless.get(&mark.child) == Some(&process.group) {
                found.groups.insert(process.group);
            } else if self.starting.contains(&mark.child)
                || (self.trees && mark.is_guarded && mark.scope == KillScope::Tree)
            {
                found.processes.push(process.id);
            }
        }
    }
}

impl Search for Marks {
    fn look(&mut self) -> Alive<'_> {
        self.look_without(&BTreeSet::new(), &BTreeSet::new())
    }

    fn look_for_asked(&mut self) -> Alive<'_> {
        let members = self.cgroups.iter().map(Cgroup::processes);
        let members = members.flat_map(Result::unwrap_or_default).collect();
        self.look_without(&self.known_groups, &members)
    }

    /// A child whose start had begun can still be on its way.
    fn may_come(&self) -> bool {
        !self.starting.is_empty()
    }

    /// Those in a group that is there can be dead, or others.
    fn enough_empty_looks(&self) -> u32 {
        let mut groups = self.rootless.values();
        if groups.any(|group| is_reached(sys::signal_group_by_pid(*group, None))) {
            EMPTY_LOOKS_BESIDE_A_GROUP
        } else {
            EMPTY_LOOKS
        }
    }

    fn kill_wait(&self) -> Duration {
        KILL_WAIT
    }
}

const fn is_tree(known: Known) -> bool {
    match known {
        Known::Running { scope, .. } | Known::Rootless { scope, .. } => {
            matches!(scope, KillScope::Tree)
        }
        Known::Starting => false,
    }
}

fn is_reached(delivery: Delivery) -> bool {
    !matches!(delivery, Delivery::NoReceiver)
}

#[derive(Debug, Default)]
struct Alive<'a> {
    processes: Vec<ProcessId>,
    groups: BTreeSet<u32>,
    roots: BTreeSet<u32>,
    cgroups: &'a [Cgroup],
}

impl Alive<'_> {
    fn is_empty(&self) -> bool {
        let has_processes = !self.processes.is_empty() || !self.roots.is_empty();
        !has_processes && self.groups.is_empty() && self.cgroups.is_empty()
    }

    fn kill(&self) {
        for cgroup in self.cgroups {
            // Where the system cannot, they are killed one by one.
            let (Ok(()) | Err(_)) = cgroup.kill();
        }
        self.signal(&[Signal::Kill], |_| true);
    }

    /// Sends SIGTERM, once to each, and SIGCONT: a stopped process does not act on the first.
    fn ask(&self) {
        let signals = [Signal::Terminate, Signal::Continue];
        self.signal(&signals, |member| !self.is_in_group(member));
    }

    /// Whether a process gets what is sent to one of the groups.
    fn is_in_group(&self, pid: u32) -> bool {
        sys::group_of(pid).is_some_and(|group| self.groups.contains(&group))
    }

    /// Of the members of control groups, those get it for which `is_meant` says so.
    fn signal(&self, signals: &[Signal], is_meant: impl Fn(u32) -> bool) {
        for group in &self.groups {
            for signal in signals {
                drop(sys::signal_group_by_pid(*group, Some(*signal)));
            }
        }
        let members = self.cgroups.iter().map(Cgroup::processes);
        for pid in members.flat_map(Result::unwrap_or_default) {
            // 0 is one that cannot be named.
            for signal in signals.iter().filter(|_| pid != 0 && is_meant(pid)) {
                drop(sys::signal_process_by_pid(pid, Some(*signal)));
            }
        }
        for root in &self.roots {
            for signal in signals {
                drop(sys::signal_process_by_pid(*root, Some(*signal)));
            }
        }
        for process in &self.processes {
            drop(sys::signal_process(*process, signals));
        }
    }
}

fn next_look(now: Instant, times: Times) -> Duration {
    let next = if now < times.term_at {
        times.term_at
    } else {
        times.kill_at
    };
    let left = next.saturating_duration_since(now);
    left.clamp(LOOK_GAP_MIN, LOOK_GAP_MAX)
}

static IS_CALLED: AtomicBool = AtomicBool::new(false);
/// Set in the environment of a guardian.
pub(super) const VARIABLE: &str = "POOL_STDIO_GUARD";
const LOOK_GAP_MIN: Duration = Duration::from_millis(5);
const LOOK_GAP_MAX: Duration = Duration::from_millis(50);
/// One look can miss a process that was started meanwhile, by one that has left since, or that is about to
/// execute another program and has no environment for a moment.
const EMPTY_LOOKS: u32 = 5;
const EMPTY_LOOKS_BESIDE_A_GROUP: u32 = 10;
/// How much longer a look may take, on a busy machine, before it is taken to hang.
const HANG_WAIT: Duration = Duration::from_secs(10);
/// What SIGKILL needs, on a busy machine.
const KILL_WAIT: Duration = Duration::from_secs(2);
