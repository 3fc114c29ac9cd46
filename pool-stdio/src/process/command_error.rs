//! Why a command cannot work, as far as that is known before it is started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::cgroup_spec::CgroupProblem;

/// Why a command cannot work.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandError, CommandSpec};
///
/// let error = CommandSpec::new("cat").children_max(1_000_000_000).build().unwrap_err();
/// assert!(matches!(error, CommandError::TooFewDescriptors { needed: 4_000_000_000, .. }));
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no such program.
    #[error("program {program:?} not found{}", looked_in_text(.looked_in))]
    NotFound {
        /// The path, or the name if it was looked up.
        program: PathBuf,
        /// Where a name was looked up, in this order.
        looked_in: Vec<PathBuf>,
    },
    /// There is a file, but this program may not execute it.
    #[error("program {path:?} cannot be executed")]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is a directory of that name.
    #[error("program {path:?} is a directory")]
    IsDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The working directory of the child cannot be used.
    #[error("current directory {path:?} cannot be used")]
    CurrentDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A string is empty or holds a NUL byte, or the name of an environment variable holds `=`.
    #[error("{what} {value:?} is empty or holds a forbidden character")]
    Malformed {
        /// What the string is: a program, an argument or an environment variable.
        what: &'static str,
        /// The string, or the name of the environment variable.
        value: OsString,
    },
    /// A connector was given a command whose streams only the owner of a child can use.
    #[error("{what} is for children that you start yourself: a connector cannot use it")]
    NotForConnectors {
        /// What was asked for.
        what: &'static str,
    },
    /// The children together need more descriptors than this process may have.
    #[error(
        "{children_max} children need {needed} descriptors, but the limit is {limit}\
        {}: raise it (`ulimit -n`), or allow fewer children", open_text(*.open)
    )]
    TooFewDescriptors {
        /// The number of children.
        children_max: usize,
        /// What they need: each one for stdin, stdout, stderr and to watch it.
        needed: u64,
        /// How many are open now, if the system tells.
        open: Option<u64>,
        /// The limit (`RLIMIT_NOFILE`).
        limit: u64,
    },
    /// Limits and control groups need a shell on Unix, and `/bin/sh` cannot be executed.
    #[error("limits and control groups need a shell, and /bin/sh cannot be executed")]
    NoShell {
        /// What the system says.
        source: io::Error,
    },
    /// A limit is higher than that of this program, which cannot be exceeded.
    #[error("a limit of {value} on {what} is above that of this program, {limit}")]
    LimitTooHigh {
        /// What is limited.
        what: &'static str,
        /// The limit that was asked for.
        value: u64,
        /// The hard limit of this program.
        limit: u64,
    },
    /// This system has no such limit.
    #[error("this system has no limit on {what} of a process")]
    LimitUnsupported {
        /// What was to be limited.
        what: &'static str,
    },
    /// The child cannot have a control group.
    #[error("no control group in {path:?}: {problem}")]
    Cgroup {
        /// The directory that was given.
        path: PathBuf,
        /// What is missing, and what to do.
        problem: CgroupProblem,
    },
    /// Two settings exclude each other.
    #[error("{first} cannot be combined with {second}")]
    Conflict {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

fn looked_in_text(looked_in: &[PathBuf]) -> String {
    match looked_in {
        [] => String::new(),
        dirs => format!(" in {dirs:?}"),
    }
}

pub(crate) fn open_text(open: Option<u64>) -> String {
    open.map(|open| format!(" and {open} are open"))
        .unwrap_or_default()
}
