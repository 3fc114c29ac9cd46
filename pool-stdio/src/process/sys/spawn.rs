//! What it takes to start a child, and what is there when it was started.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::Delivery;
use super::unix::{set_nonblocking, signal_group_by_pid, wait};
use crate::process::signal::Signal;

/// A child that is to be started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    /// Absolute.
    pub(crate) program: &'a Path,
    /// Its own name for the program; `None` for the path.
    pub(crate) arg0: Option<&'a OsStr>,
    pub(crate) args: &'a [OsString],
    /// All of it.
    pub(crate) environment: &'a BTreeMap<OsString, OsString>,
    pub(crate) directory: Option<&'a Path>,
    pub(crate) stdout: StdoutEnd,
    pub(crate) stderr: StderrEnd,
    pub(crate) place: Place,
    pub(crate) mask: Mask,
}

/// What the child has as stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdoutEnd {
    Pipe,
    Null,
}

/// Which signals the child blocks when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    any(not(target_os = "linux"), pool_stdio_portable),
    expect(dead_code, reason = "only where it can be set")
)]
pub(crate) enum Mask {
    None,
    All,
}

/// What the child has as stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StderrEnd {
    Pipe,
    /// What this program has.
    Inherited,
    Null,
}

/// What the child leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Place {
    /// A process group of its own, in our session.
    #[default]
    Group,
    /// A session of its own, and so a process group.
    Session,
}

/// Why a child was not started.
#[derive(Debug)]
pub(crate) enum StartError {
    /// It cannot work in its directory.
    Directory(io::Error),
    System(io::Error),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A started child before anything is known of it.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

impl Spawned {
    /// Makes our ends of the pipes non-blocking. The child's ends are not touched by this.
    pub(crate) fn unblock(&self) -> io::Result<()> {
        let outputs = [&self.stdout, &self.stderr];
        let mut open = outputs.into_iter().flatten().chain([&self.stdin]);
        open.try_for_each(|fd| set_nonblocking(fd.as_fd()))
    }

    /// Ends a child that nothing else knows yet.
    pub(crate) fn abandon(&self) {
        // The child was not reaped, so its pid still means it and its group.
        let (Delivery::Sent | Delivery::NoReceiver | Delivery::Refused(_)) =
            signal_group_by_pid(self.pid, Some(Signal::Kill));
        loop {
            match wait(libc::P_PID, self.pid, libc::WEXITED) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}
