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
use std::time::{Duration, Instant};

use super::told::{Known, Told, grace_of};
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
                self.had_trees |= matches!(
                    known,
                    Known::Running {
                        scope: KillScope::Tree,
                        ..
                    }
                );
                self.known.insert(child, known);
            }
            Told::Ended(child) => {
                self.known.remove(&child);
            }
            Told::Grace(grace) => self.grace = grace,
            Told::Leave => {}
        }
    }

    /// Says whether all have gone.
    fn end_all(&mut self) -> bool {
        let begun = sys::clock_now();
        let term_at = begun + self.grace * 2 / 3;
        let kill_at = begun + self.grace;
        let mut is_asked = false;
        loop {
            let now = sys::clock_now();
            let alive = self.alive();
            // A child whose start had begun can still be on its way.
            let may_come = now < kill_at && self.is_any_starting();
            if alive.is_empty() && !may_come {
                return true;
            }
            self.forget_gone(&alive);
            if now >= kill_at {
                alive.signal(&[Signal::Kill]);
            } else if now >= term_at && !is_asked {
                alive.signal(&[Signal::Terminate, Signal::Continue]);
                is_asked = true;
            }
            if now >= kill_at + KILL_WAIT {
                return false;
            }
            sys::pause(next_look(now, term_at, kill_at));
        }
    }

    /// What is to be ended.
    fn alive(&self) -> Alive {
        let Ok(processes) = sys::processes() else {
            return self.reachable();
        };
        let processes = processes.into_iter();
        let alive = processes.filter(|process| !process.is_dead && self.is_ours(process));
        let mut found = Alive::default();
        for process in alive {
            found.processes.push(process.id);
            if self.groups().any(|group| group == process.group) {
                found.groups.insert(process.group);
            }
        }
        found
    }

    /// Numbers of what has gone are free for others.
    fn forget_gone(&mut self, alive: &Alive) {
        self.known.retain(|_, known| match *known {
            Known::Starting => true,
            Known::Running {
                scope: KillScope::Root,
                pid,
            } => {
                let mut processes = alive.processes.iter();
                alive.roots.contains(&pid) || processes.any(|process| process.pid == pid)
            }
            Known::Running { pid, .. } => alive.groups.contains(&pid),
        });
    }

    fn is_any_starting(&self) -> bool {
        self.known.values().any(|known| *known == Known::Starting)
    }

    /// Where processes cannot be seen: what can be signalled. It may be dead and not yet reaped.
    fn reachable(&self) -> Alive {
        let is_reached = |delivery| !matches!(delivery, Delivery::NoReceiver);
        let roots = self.known.values().filter_map(|known| match *known {
            Known::Running {
                scope: KillScope::Root,
                pid,
            } => Some(pid),
            Known::Running { .. } | Known::Starting => None,
        });
        Alive {
            processes: Vec::new(),
            groups: self
                .groups()
                .filter(|group| is_reached(sys::signal_group_by_pid(*group, None)))
                .collect(),
            roots: roots
                .filter(|root| is_reached(sys::signal_process_by_pid(*root, None)))
                .collect(),
        }
    }

    fn groups(&self) -> impl Iterator<Item = u32> {
        self.known.values().filter_map(|known| match *known {
            Known::Running { scope, pid } => (scope != KillScope::Root).then_some(pid),
            Known::Starting => None,
        })
    }

    fn is_ours(&self, process: &Process) -> bool {
        let is_known = self.known.values().any(|known| match *known {
            Known::Running {
                scope: KillScope::Root,
                pid,
            } => process.id.pid == pid,
            Known::Running { pid, .. } => process.group == pid,
            Known::Starting => false,
        });
        let may_be_marked = self.had_trees || self.is_any_starting();
        is_known || (may_be_marked && self.is_marked(process))
    }

    fn is_marked(&self, process: &Process) -> bool {
        let Ok(Environment::Read(environ)) = sys::environment(process.id.pid) else {
            return false;
        };
        let mut marks = cookie::marks_in(&environ, &self.host);
        marks.any(|mark| {
            mark.scope == KillScope::Tree || self.known.get(&mark.child) == Some(&Known::Starting)
        })
    }
}

#[derive(Debug, Default)]
struct Alive {
    processes: Vec<ProcessId>,
    groups: BTreeSet<u32>,
    /// Where processes cannot be seen.
    roots: BTreeSet<u32>,
}

impl Alive {
    fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.groups.is_empty() && self.roots.is_empty()
    }

    fn signal(&self, signals: &[Signal]) {
        for group in &self.groups {
            for signal in signals {
                drop(sys::signal_group_by_pid(*group, Some(*signal)));
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

fn next_look(now: Instant, term_at: Instant, kill_at: Instant) -> Duration {
    let next = if now < term_at { term_at } else { kill_at };
    let left = next.saturating_duration_since(now);
    left.clamp(LOOK_GAP_MIN, LOOK_GAP_MAX)
}

static IS_CALLED: AtomicBool = AtomicBool::new(false);
/// Set in the environment of a guardian.
pub(super) const VARIABLE: &str = "POOL_STDIO_GUARD";
const LOOK_GAP_MIN: Duration = Duration::from_millis(5);
const LOOK_GAP_MAX: Duration = Duration::from_millis(50);
/// What SIGKILL needs, on a busy machine.
const KILL_WAIT: Duration = Duration::from_secs(2);
