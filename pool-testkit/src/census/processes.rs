//! Processes, as `/proc` shows them.

use std::fmt;
use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process.
///
/// # Examples
///
/// ```
/// use pool_testkit::census::{Census, Process, block_on};
/// use pool_stdio::CommandSpec;
///
/// let census = Census::begin();
/// let child = block_on(census.mark(CommandSpec::new("cat")).build()?.spawn())?;
/// let processes: Vec<Process> = census.processes();
/// assert_eq!(processes[0].pid, child.pid());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The letter that `/proc` has for its state; `Z` is a zombie.
    pub state: char,
    /// Its arguments.
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

    /// Whether it has ended, reaped or not.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Ends it, if it carries a mark of ours.
    pub(super) fn kill(&self) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return;
        };
        // Order: opened before it is looked at again, so that the number cannot change hands.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        let is_marked = fs::read(format!("/proc/{}/environ", self.pid))
            .is_ok_and(|environ| has_variable(&environ, super::MARK_VARIABLE, None));
        if is_marked {
            let (Ok(()) | Err(_)) = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

/// The living processes with this in their environment.
pub(super) fn marked(name: &str, value: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| has_variable(&environ, name, Some(value)))
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

fn has_variable(environ: &[u8], name: &str, value: Option<&str>) -> bool {
    environ
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .any(|found| value.is_none_or(|value| found == value.as_bytes()))
}
