//! Why a child was not started.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::cgroup_spec::CgroupProblem;
use super::command::{Command, DESCRIPTORS_PER_CHILD};
use super::command_error::open_text;
use super::sys::{self, OsErrorKind};

/// Why a child was not started. Nothing is left of the attempt.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, SpawnError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let arguments = std::iter::repeat_n("a word", 1_000_000);
/// let command = CommandSpec::new("echo").args(arguments).build()?;
/// let error = command.spawn().await.unwrap_err();
/// assert!(matches!(error, SpawnError::ArgumentsTooLong { .. }));
/// assert!(!error.is_transient(), "they will not be shorter the next time");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program file was open for writing in each attempt.
    #[error("program {program} is open for writing, in each of {attempts} attempts")]
    Busy {
        /// The file.
        program: String,
        /// How often it was tried.
        attempts: u32,
        /// What the system says.
        source: io::Error,
    },
    /// The system refused a process in each attempt.
    #[error("the system refused a process in each of {attempts} attempts{}", limit_text(*.limit))]
    ProcessLimit {
        /// How often it was tried.
        attempts: u32,
        /// This user's limit (`RLIMIT_NPROC`), if there is one.
        limit: Option<u64>,
        /// What the system says.
        source: io::Error,
    },
    /// Descriptors have run out.
    #[error(
        "the {whose} has too few descriptors for the {needed} of a child{}{}{}",
        open_text(*.open), limit_text(*.limit), limit.map_or("", |_| RAISE)
    )]
    Descriptors {
        /// The process or the system.
        whose: &'static str,
        /// What a child needs.
        needed: u64,
        /// How many this process has open, if the system tells.
        open: Option<u64>,
        /// How many this process may have, if that limit was met.
        limit: Option<u64>,
        /// What the system says.
        source: io::Error,
    },
    /// Memory has run out.
    #[error("not enough memory to start a child{}", resident_text(*.resident_bytes))]
    Memory {
        /// How much of this program is resident, if the system tells.
        resident_bytes: Option<u64>,
        /// What the system says.
        source: io::Error,
    },
    /// The program, or the interpreter that its first line names, does not exist (any more).
    #[error("program {program} or its interpreter not found")]
    NotFound {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// This process may not execute the program, or the file is no program.
    #[error("program {program} cannot be executed")]
    NotExecutable {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Arguments and environment together are longer than the system allows.
    #[error("arguments and environment of {program} are too long for the system")]
    ArgumentsTooLong {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file system that the program is on does not answer or reports an error.
    #[error("the file system of program {program} failed")]
    Storage {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The working directory of the child cannot be used (any more).
    #[error("current directory {path} cannot be used")]
    CurrentDir {
        /// The directory.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Its control group could not be made.
    #[error("no control group in {path}: {problem}")]
    Cgroup {
        /// The directory in which it was to be made.
        path: String,
        /// What is missing, and what to do.
        problem: CgroupProblem,
    },
    /// No child can be started for now: the earlier starts hang, in a file system that does not answer
    /// perhaps. One program can hold at most half of the threads that start children.
    #[error("no start within {limit:?}: the starts of {} hang", programs.join(", "))]
    Stalled {
        /// How long it was waited.
        limit: Duration,
        /// The programs whose starts hang.
        programs: Vec<String>,
    },
    /// This process was forked from the one that starts children, and has none of its threads.
    #[error("this process is a fork of the one that starts children")]
    Forked,
    /// Another error of the system.
    #[error("program {program} could not be started")]
    Other {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Too many children wait to be started.
    #[error("{limit} children already wait to be started")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The threads that start and watch children could not be started.
    #[error("the threads that start and watch children could not be started")]
    Threads {
        /// What the system says.
        source: io::Error,
    },
    /// [`Children::terminate_all`](crate::Children::terminate_all) was called.
    #[error("the set of children is closed")]
    Closed,
}

impl SpawnError {
    /// What this failure of the system means for the command.
    pub(crate) fn from_system(command: &Command, source: io::Error, attempts: u32) -> Self {
        let program = command.path().display().to_string();
        let open = sys::descriptors_open();
        match sys::os_error_kind(&source) {
            OsErrorKind::Storage => Self::Storage { program, source },
            OsErrorKind::Busy => Self::Busy {
                program,
                attempts,
                source,
            },
            OsErrorKind::ProcessLimit => Self::ProcessLimit {
                attempts,
                limit: sys::process_limit(),
                source,
            },
            OsErrorKind::ProcessDescriptors => Self::Descriptors {
                whose: "process",
                needed: DESCRIPTORS_PER_CHILD,
                open,
                limit: sys::descriptor_limit(),
                source,
            },
            OsErrorKind::SystemDescriptors => Self::Descriptors {
                whose: "system",
                needed: DESCRIPTORS_PER_CHILD,
                open,
                limit: None,
                source,
            },
            OsErrorKind::Memory => Self::Memory {
                resident_bytes: sys::resident_bytes(),
                source,
            },
            OsErrorKind::NotFound => Self::NotFound { program, source },
            OsErrorKind::NotExecutable => Self::NotExecutable { program, source },
            OsErrorKind::ArgumentsTooLong => Self::ArgumentsTooLong { program, source },
            OsErrorKind::Other => Self::Other { program, source },
        }
    }

    /// Whether the same attempt may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::ProcessLimit { .. }
            | Self::Descriptors { .. }
            | Self::Memory { .. }
            | Self::Storage { .. }
            | Self::CurrentDir { .. }
            | Self::Cgroup { .. }
            | Self::Stalled { .. }
            | Self::QueueFull { .. }
            | Self::Threads { .. } => true,
            Self::NotFound { .. }
            | Self::NotExecutable { .. }
            | Self::ArgumentsTooLong { .. }
            | Self::Other { .. }
            | Self::Forked
            | Self::Closed => false,
        }
    }
}

const RAISE: &str = "; raise it with `ulimit -n`, or lower the pool's max_size";

fn limit_text(limit: Option<u64>) -> String {
    limit
        .map(|limit| format!(", the limit is {limit}"))
        .unwrap_or_default()
}

fn resident_text(bytes: Option<u64>) -> String {
    bytes
        .map(|bytes| format!(", {} MiB of this program are resident", bytes >> 20))
        .unwrap_or_default()
}

#[cfg(all(test, unix))]
mod tests;
