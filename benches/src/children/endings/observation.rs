//! What was seen of one case, and the processes of it that live.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What was seen of one case.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    /// What the call came to, and after how long.
    what: String,
    /// Processes of the case that live on afterwards.
    live: usize,
}

impl Observation {
    /// What a call came to. The living processes of the case are counted now.
    pub(super) fn new(what: impl Into<String>, mark: &Mark) -> Self {
        Self {
            what: what.into(),
            live: mark.living().len(),
        }
    }

    /// Processes that live on.
    pub(super) const fn live(&self) -> usize {
        self.live
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {} live", self.what, self.live)
    }
}

/// A duration as an observation shows it.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The value of an environment variable that all processes of one case inherit. What lives when it is
/// dropped is killed.
#[derive(Debug)]
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}-{number}", std::process::id()))
    }

    pub(super) fn value(&self) -> &str {
        &self.0
    }

    /// The processes that carry it and are not dead.
    pub(super) fn living(&self) -> Vec<Pid> {
        let wanted = format!("{MARK}={}", self.0);
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut variables = environ.split(|byte| *byte == 0);
            variables.any(|one| one == wanted.as_bytes())
        })
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.trim_start().chars().next());
            state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
        })
        .map(Pid::from_raw)
        .collect()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        for pid in self.living() {
            // It may have ended since.
            let (Ok(()) | Err(_)) = kill(pid, Signal::SIGKILL);
        }
    }
}

/// The environment variable.
pub(super) const MARK: &str = "POOL_BENCHES_CASE";
