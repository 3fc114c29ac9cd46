//! The only code that talks to the operating system.
//!
//! `unix` holds what all Unixes share. Beside it stands one file per way of watching a process,
//! each with the same names. `linux` watches by pidfd, which is exact:
//! a pidfd never means another process, also after the pid was reused. `portable` watches by pid,
//! which is safe only until the process is reaped, and sees exits by asking.
//!
//! `--cfg pool_stdio_portable` selects `portable` on Linux, so that it can be tested there.
//! `--cfg pool_stdio_old_kernel` does without the group signals of Linux 6.9.

#[cfg(all(target_os = "linux", not(pool_stdio_portable)))]
mod linux;
#[cfg(all(unix, any(not(target_os = "linux"), pool_stdio_portable)))]
mod portable;
#[cfg(unix)]
mod spawn;
#[cfg(unix)]
mod std_spawn;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(all(target_os = "linux", not(pool_stdio_portable)))]
pub(crate) use linux::{
    CAN_COUNT, PollWaker, Poller, Root, Watch, clock_ticks, control_group, enlarge_pipe,
    environment, has_living_member, is_stopped, processes, signal_process, spawn,
    use_own_descriptors,
};
#[cfg(all(unix, any(not(target_os = "linux"), pool_stdio_portable)))]
pub(crate) use portable::{
    CAN_COUNT, PollWaker, Poller, Root, Watch, clock_ticks, control_group, enlarge_pipe,
    environment, has_living_member, is_stopped, processes, signal_process, spawn,
    use_own_descriptors,
};
#[cfg(unix)]
pub(crate) use spawn::{Mask, Place, Spawned, Start, StartError, StderrEnd, StdoutEnd};
#[cfg(unix)]
pub(crate) use unix::{
    OsErrorKind, Readiness, Ready, block_signals, check_executable, clock_now, close_in_forks,
    descriptor_limit, descriptors_open, effective_user, hard_limit, os_error_kind, pause, poll_now,
    process_limit, read, read_buf, reap_adopted, resident_bytes, set_nonblocking,
    signal_group_by_pid, signal_process_by_pid, write,
};

use crate::process::outcome::Exit;

/// What a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitedResource {
    AddressSpace,
    CpuTime,
    OpenFiles,
}

/// Whether a root runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Over(Exit),
}

/// Whether the root's pid still means the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PidState {
    /// It was not reaped: the pid means it, and its group.
    Held,
    /// It was reaped: the pid may mean any process.
    Released,
}

/// A process, and never another one that gets its pid later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// In clock ticks since the system was started.
    pub(crate) started_ticks: u64,
}

/// One process, as the system shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) is_dead: bool,
    /// It is on its way out: it runs no code of its own any more, but is not yet dead.
    pub(crate) is_leaving: bool,
}

/// What is known of a process's environment.
#[derive(Debug)]
#[cfg_attr(
    any(not(target_os = "linux"), pool_stdio_portable),
    expect(dead_code, reason = "only where environments can be read")
)]
pub(crate) enum Environment {
    Read(Vec<u8>),
    /// It has none: it has gone, or is on its way out, or executes another program at this moment.
    Missing,
    /// This process may not read it.
    Forbidden,
}

/// What became of a signal.
#[derive(Debug)]
pub(crate) enum Delivery {
    Sent,
    /// There is nobody to receive it.
    NoReceiver,
    /// The system refused it.
    Refused(std::io::Error),
}
