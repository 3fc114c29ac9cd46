//! Where a run took place: machine, versions, settings of the pools.

use std::fs;
use std::process::Command;
use std::thread;

/// The machine and the versions.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_mib: Option<u64>,
    pub(super) kernel: String,
    /// The load average over the minute before the run: other work disturbs a measurement.
    pub(super) load: String,
    pub(super) rustc: String,
    pub(super) build: &'static str,
    /// Names and versions of the compared crates and of the runtime.
    pub(super) crates: Vec<(String, String)>,
}

impl Setting {
    pub(super) fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            processor: value_of(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_mib: value_of(&read("/proc/meminfo"), "MemTotal")
                .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
                .map(|kibibytes| kibibytes / 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: first_word(&read("/proc/loadavg")),
            rustc: rustc().unwrap_or_else(unknown),
            build: if cfg!(debug_assertions) {
                "debug (these figures say nothing)"
            } else {
                "release"
            },
            crates: crates(LOCK),
        }
    }
}

/// The settings of each pool: the first paragraph of the file that builds it.
pub(super) fn configurations() -> Vec<String> {
    SUBJECTS
        .iter()
        .map(|source| first_paragraph(source))
        .collect()
}

fn first_paragraph(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//! "));
    lines.collect::<Vec<_>>().join(" ")
}

/// The first `name : value` of a list in `/proc`.
fn value_of(list: &str, name: &str) -> Option<String> {
    let mut lines = list.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

fn first_word(text: &str) -> String {
    text.split_whitespace()
        .next()
        .map_or_else(unknown, str::to_owned)
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The version of the installed compiler, which most likely built this program.
fn rustc() -> Option<String> {
    let found = Command::new("rustc").arg("--version").output().ok()?;
    let text = String::from_utf8(found.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn crates(lock: &str) -> Vec<(String, String)> {
    let quoted = |line: &str, key: &str| {
        let value = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        Some(value.strip_suffix('"')?.to_owned())
    };
    let mut lines = lock.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(name) = quoted(line, "name") else {
            continue;
        };
        if CRATES.contains(&name.as_str())
            && let Some(version) = lines.next().and_then(|line| quoted(line, "version"))
        {
            found.push((name, version));
        }
    }
    found
}

/// The versions that this program was compiled with.
const LOCK: &str = include_str!("../../../Cargo.lock");
const CRATES: [&str; 10] = [
    "bb8",
    "dashmap",
    "deadpool",
    "fastpool",
    "mobc",
    "pool-core",
    "pool-stdio",
    "r2d2",
    "rmcp",
    "tokio",
];
const SUBJECTS: [&str; 9] = [
    include_str!("../pools/subjects/ours.rs"),
    include_str!("../pools/subjects/budgeted.rs"),
    include_str!("../pools/subjects/keyed.rs"),
    include_str!("../pools/subjects/bb8.rs"),
    include_str!("../pools/subjects/deadpool.rs"),
    include_str!("../pools/subjects/fastpool.rs"),
    include_str!("../pools/subjects/mobc.rs"),
    include_str!("../pools/subjects/r2d2.rs"),
    include_str!("../pools/subjects/semaphore.rs"),
];

#[cfg(test)]
mod tests {
    use super::{CRATES, LOCK, configurations, crates, value_of};

    #[test]
    fn every_crate_that_is_compared_has_a_version() {
        let names: Vec<_> = crates(LOCK).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, CRATES);
    }

    #[test]
    fn every_pool_says_how_it_is_configured() {
        for text in configurations() {
            assert!(text.ends_with('.') && text.len() > 20, "{text}");
        }
    }

    #[test]
    fn the_first_value_of_a_name_is_taken() {
        let list = "processor\t: 0\nmodel name\t: Fast\nmodel name\t: Slow\n";
        assert_eq!(value_of(list, "model name").as_deref(), Some("Fast"));
        assert_eq!(value_of(list, "model"), None);
    }
}
