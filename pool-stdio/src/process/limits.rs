//! Limits that the system puts on a child and on each process that it starts.
//!
//! They must hold before the program can start another process. So a shell sets them on itself, and then
//! executes the program in its place. On Windows they belong to the job that the child begins in.

use std::time::Duration;

use super::command_error::CommandError;
use super::sys::{self, LimitedResource, StartLimits};

/// Limits on a child, and on each process that it starts, by itself. `None` leaves what this program has.
///
/// On Unix they are set by `/bin/sh`, which then executes the program in its place. That makes a start about 1 ms
/// slower, and some shells add `PWD`, `SHLVL` and `_` to the environment. Variables whose names a shell
/// would not pass on are set by `/usr/bin/env`; for a moment their values are among its arguments, which
/// other users can see. A program that cannot be executed is no failed start then: the child exits with 126
/// or 127.
///
/// On Windows they are limits of the child's job, so they cost nothing. With
/// [`KillScope::Root`](crate::KillScope::Root) what the child starts is not in the job, and not limited.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, OneShotConnector, ProcessLimits};
///
/// let mut limits = ProcessLimits::default();
/// limits.open_files = Some(64);
/// let shell = CommandSpec::new("sh").args(["-c", "cat; ulimit -n"]).limits(limits);
/// let output = OneShotConnector::new(shell)?.pool().build()?.acquire().await?.run("").await?;
/// assert_eq!(output.stdout, "64\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProcessLimits {
    /// How much memory it may map, in bytes; rounded down to KiB. A request for more fails. It says
    /// little about how much is in use: some runtimes map a lot that they never touch. On Windows: how much
    /// memory it may commit.
    pub address_space_bytes: Option<u64>,
    /// How long it may compute; rounded up to seconds. Then the system kills it. Only the process's own
    /// time counts, not that of those it starts. On Windows the time that it spends in the system does not
    /// count, and nothing is rounded.
    pub cpu_time: Option<Duration>,
    /// How many descriptors it may have. On Windows there is no such limit, and
    /// [`build`](crate::CommandSpec::build) fails.
    pub open_files: Option<u64>,
}

impl ProcessLimits {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What a shell says for them: its option, and the value in its unit.
    fn settings(&self) -> impl Iterator<Item = (LimitedResource, char, u64, u64)> {
        let address_space = self.address_space_bytes.map(|bytes| {
            (
                LimitedResource::AddressSpace,
                'v',
                bytes / 1024,
                bytes / 1024 * 1024,
            )
        });
        let cpu_time = self.cpu_time.map(|time| {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            (LimitedResource::CpuTime, 't', seconds, seconds)
        });
        let open_files = self
            .open_files
            .map(|count| (LimitedResource::OpenFiles, 'n', count, count));
        [address_space, cpu_time, open_files].into_iter().flatten()
    }

    /// Whether this program may set them.
    pub(super) fn check(&self) -> Result<(), CommandError> {
        if sys::LIMITS_AT_START && self.open_files.is_some() {
            let what = name(LimitedResource::OpenFiles);
            return Err(CommandError::LimitUnsupported { what });
        }
        for (resource, _, _, value) in self.settings() {
            if let Some(limit) = hard_limit(resource)
                && value > limit
            {
                let what = name(resource);
                return Err(CommandError::LimitTooHigh { what, value, limit });
            }
        }
        Ok(())
    }

    /// What the system sets at the start, where it can.
    pub(super) const fn at_start(&self) -> StartLimits {
        StartLimits {
            memory_bytes: self.address_space_bytes,
            cpu_time: self.cpu_time,
        }
    }

    /// What a shell does to set them on itself.
    pub(super) fn shell_commands(&self) -> impl Iterator<Item = String> {
        let settings = self.settings();
        settings.map(|(_, option, value, _)| format!("ulimit -{option} {value}"))
    }
}

const fn name(resource: LimitedResource) -> &'static str {
    match resource {
        LimitedResource::AddressSpace => "address space",
        LimitedResource::CpuTime => "cpu time",
        LimitedResource::OpenFiles => "open files",
    }
}

#[cfg(unix)]
fn hard_limit(resource: LimitedResource) -> Option<u64> {
    sys::hard_limit(resource)
}

/// There is no shell either.
#[cfg(not(unix))]
const fn hard_limit(_: LimitedResource) -> Option<u64> {
    None
}
