//! Processes, as `/proc` shows them.

use std::fmt;
use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// The letter that `/proc` shows for its state; `Z` is a zombie.
    pub state: char,
    /// Its arguments, or its name in brackets if it has none.
    pub command: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) {}", self.pid, self.state, self.command)
    }
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let state = rest.trim_start().chars().next()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let name = head.split_once('(').map(|(_, name)| name);
        let command = match arguments.trim_end() {
            "" => format!("[{}]", name.unwrap_or_default()),
            arguments => arguments.to_owned(),
        };
        Some(Self {
            pid,
            state,
            command,
        })
    }

    const fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Kills it, if it carries the mark of a census.
    pub(super) fn kill(&self) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return;
        };
        // Order: the pidfd before the second look, so that the signal reaches the process looked at,
        // even if its id was given to another one since.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        let is_marked = fs::read(format!("/proc/{}/environ", self.pid))
            .is_ok_and(|environ| has_mark(&environ, None));
        if is_marked {
            let (Ok(()) | Err(_)) = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

/// The living processes that carry this mark.
pub(super) fn marked(mark: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| has_mark(&environ, Some(mark)))
        })
        .filter_map(Process::read)
        .filter(|process| !process.is_dead())
        .collect()
}

/// The children of this process, zombies too.
pub(super) fn children() -> Vec<Process> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let lists = threads.flatten();
    let lists = lists.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids: Vec<u32> = lists
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    pids.into_iter().filter_map(Process::read).collect()
}

/// Whether an environment carries this mark, or any if none is given.
fn has_mark(environ: &[u8], mark: Option<&str>) -> bool {
    environ
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let value = entry.strip_prefix(MARK_VARIABLE.as_bytes())?;
            value.strip_prefix(b"=")
        })
        .any(|found| mark.is_none_or(|mark| found == mark.as_bytes()))
}

/// The environment variable that holds the mark.
pub(super) const MARK_VARIABLE: &str = "POOL_TESTKIT_CENSUS";
