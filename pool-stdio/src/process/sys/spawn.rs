//! What it takes to start a child.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::process::terminate::KillScope;

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
    #[cfg_attr(
        any(
            not(any(target_os = "linux", target_os = "macos")),
            pool_stdio_portable
        ),
        expect(dead_code, reason = "only where it can be set")
    )]
    pub(crate) mask: Mask,
    /// What is to be ended with it, where the system must be told so at the start.
    #[cfg_attr(unix, expect(dead_code, reason = "it is decided at the end here"))]
    pub(crate) scope: KillScope,
    /// What the system is to limit from the start.
    #[cfg_attr(unix, expect(dead_code, reason = "a shell sets them here"))]
    pub(crate) limits: StartLimits,
    /// Whether the system is to end it with this program.
    #[cfg_attr(unix, expect(dead_code, reason = "a guardian is told instead"))]
    pub(crate) ends_with_host: bool,
}

/// Limits on each process of a child by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StartLimits {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_time: Option<Duration>,
}

/// What the child has as stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdoutEnd {
    Pipe,
    Null,
}

/// Which signals the child blocks when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(windows, expect(dead_code, reason = "there are no signals"))]
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
