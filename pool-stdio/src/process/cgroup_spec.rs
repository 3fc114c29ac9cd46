//! What a user says of the control groups of children, and whether that works.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io, path};

use thiserror::Error;

use super::cgroup::{MEMBERS, NewCgroup};
use super::cookie;
use super::record::ChildId;
use super::sys;

/// Gives each child a control group of its own (cgroup v2, Linux).
///
/// A termination then ends everything in the group: also what left the process group, cleared its
/// environment and lost its parents. SIGKILL goes through `cgroup.kill` (Linux 5.14 and later). The memory
/// of the child is what `memory.current` says, if the group has that: the page cache of its files counts
/// too.
///
/// `directory` is one that this program may make groups in, and that holds no process itself. The child
/// moves into its group by itself, before it is the program: the system allows that if this program runs
/// below `directory`, or as root. [`CommandSpec::build`](crate::CommandSpec::build) makes a group to try it,
/// and says what is missing.
///
/// Everything in the group counts as the child's, and is ended with it: also groups that the child makes in its own,
/// and a process that another program moves in. A process with rights over another group, such as one of root, can
/// move out. It is then looked for as with [`KillScope::Tree`](crate::KillScope::Tree).
///
/// The group is removed when the child has ended, with the groups in it. One stays as long as a process lives in it that
/// could not be ended, or was moved in later: the system refuses to remove it (`EBUSY`), and nobody tries again while this
/// program runs. When this program ends, the guardian ends what is in the groups that are left, and removes them. The
/// group of an [`unguarded`](crate::CommandSpec::unguarded) child stays behind then, as does one whose path the guardian
/// cannot be told: it has a line break, is no UTF-8, or ends in a space or tab.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CgroupProblem, CgroupSpec, CommandError, CommandSpec};
///
/// let mut group = CgroupSpec::under("/sys/fs/cgroup/my-service/children");
/// group.memory_bytes_max = Some(1 << 30);
/// group.processes_max = Some(100);
/// match CommandSpec::new("cat").cgroup(group).build() {
///     Ok(_) => println!("it was delegated"),
///     Err(CommandError::Cgroup { path, problem }) => println!("{}: {problem}", path.display()),
///     # #[cfg(windows)] Err(_) => {}
///     # #[cfg(not(windows))]
///     Err(other) => panic!("{other}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CgroupSpec {
    /// Where the groups are made.
    pub directory: PathBuf,
    /// How much memory all processes of a child may have together (`memory.max`). Above it the system
    /// kills one of them.
    pub memory_bytes_max: Option<u64>,
    /// How many processes and threads there may be (`pids.max`). Above it they cannot start another.
    pub processes_max: Option<u64>,
}

/// Why a child cannot have a control group.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CgroupProblem {
    /// This system has none, or this library cannot use them.
    #[error("this system has no control groups")]
    Unsupported,
    /// No directory can be made there.
    #[error(
        "no group can be made there: create the directory, and give it to this program's user, or have the \
         service manager do so (systemd: `Delegate=yes`)"
    )]
    NotDelegated {
        /// What the system says.
        source: io::Error,
    },
    /// It is a directory, but not of a file system of type cgroup2.
    #[error(
        "it is not in a file system of type cgroup2: see `mount -t cgroup2`, usually at /sys/fs/cgroup"
    )]
    NotCgroup2,
    /// Groups in it can hold no processes of their own.
    #[error("groups in it are of type {kind:?}: the directory must not be threaded")]
    Threaded {
        /// What `cgroup.type` says.
        kind: String,
    },
    /// A limit was asked for that groups in it do not have.
    #[error("groups in it have no {file}: {}", enable_text(.controller, *.is_available, .path))]
    NoController {
        /// The controller of the limit.
        controller: &'static str,
        /// The file in which it would be set.
        file: &'static str,
        /// Whether the directory has the controller, and only has to pass it on.
        is_available: bool,
        /// The directory.
        path: PathBuf,
    },
    /// A limit was refused.
    #[error("{file} cannot be set to {value}")]
    Limit {
        /// The file.
        file: &'static str,
        /// The limit.
        value: u64,
        /// What the system says.
        source: io::Error,
    },
}

fn enable_text(controller: &str, is_available: bool, path: &Path) -> String {
    if is_available {
        let control = path.join("cgroup.subtree_control");
        return format!("run `echo +{controller} > {}`", control.display());
    }
    format!(
        "write `+{controller}` to cgroup.subtree_control of each directory above it; if the first has no such \
         controller, a hierarchy of cgroup v1 may use it"
    )
}

impl CgroupSpec {
    /// Groups in this directory, without limits.
    #[must_use]
    pub fn under(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            memory_bytes_max: None,
            processes_max: None,
        }
    }

    /// What is to be set: the controller, its file and the value.
    fn limits(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let memory = self.memory_bytes_max;
        let memory = memory.map(|bytes| ("memory", "memory.max", bytes));
        let processes = self.processes_max;
        let processes = processes.map(|count| ("pids", "pids.max", count));
        memory.into_iter().chain(processes)
    }

    /// Makes a group and removes it.
    pub(super) fn check(&self) -> Result<(), CgroupProblem> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if !(sys::CAN_COUNT && cfg!(target_os = "linux")) {
            return Err(CgroupProblem::Unsupported);
        }
        self.make(self.path_named(&format!("trial-{number}")))
            .map(drop)
    }

    /// Where the group of a child is to be. The child can have another working directory.
    pub(super) fn path_of(&self, child: ChildId) -> PathBuf {
        self.path_named(&child.0.to_string())
    }

    fn path_named(&self, name: &str) -> PathBuf {
        let name = format!("pool-stdio-{}-{name}", cookie::host());
        let path = self.directory.join(name);
        path::absolute(&path).unwrap_or(path)
    }

    /// Makes the group.
    pub(super) fn make(&self, path: PathBuf) -> Result<NewCgroup, CgroupProblem> {
        let made = NewCgroup::make(path);
        let made = made.map_err(|source| CgroupProblem::NotDelegated { source })?;
        self.set_up(made.path())?;
        Ok(made)
    }

    fn set_up(&self, path: &Path) -> Result<(), CgroupProblem> {
        if !path.join(MEMBERS).exists() {
            return Err(CgroupProblem::NotCgroup2);
        }
        let kind = fs::read_to_string(path.join("cgroup.type")).unwrap_or_default();
        let kind = kind.trim();
        if !kind.is_empty() && kind != "domain" {
            let kind = kind.to_owned();
            return Err(CgroupProblem::Threaded { kind });
        }
        for (controller, file, value) in self.limits() {
            if !path.join(file).exists() {
                return Err(self.without(controller, file));
            }
            fs::write(path.join(file), value.to_string()).map_err(|source| {
                CgroupProblem::Limit {
                    file,
                    value,
                    source,
                }
            })?;
        }
        Ok(())
    }

    fn without(&self, controller: &'static str, file: &'static str) -> CgroupProblem {
        let available = fs::read_to_string(self.directory.join("cgroup.controllers"));
        let available = available.unwrap_or_default();
        let mut available = available.split_ascii_whitespace();
        CgroupProblem::NoController {
            controller,
            file,
            is_available: available.any(|known| known == controller),
            path: self.directory.clone(),
        }
    }
}

#[cfg(all(test, target_os = "linux", not(pool_stdio_portable)))]
mod tests;
