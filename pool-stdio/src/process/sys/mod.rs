//! The only code that talks to the operating system.
//!
//! `unix` holds what all Unixes share. Beside it stands one file per way of watching a process,
//! each with the same names. `linux` watches by pidfd, which is exact:
//! a pidfd never means another process, also after the pid was reused. `portable` watches by pid,
//! which is safe only until the process is reaped, and sees exits by asking. `macos` has the same limit,
//! but is told of exits and can list the members of a group.
//!
//! `windows` has the same names for jobs, handles and overlapped pipes.
//!
//! `--cfg pool_stdio_portable` selects `portable` on Linux, so that it can be tested there.
//! `--cfg pool_stdio_old_kernel` does without the group signals of Linux 6.9.

#[cfg(unix)]
mod async_pipes;
#[cfg(all(test, not(windows)))]
#[path = "windows/command_line.rs"]
mod command_line;
#[cfg(all(test, unix, any(not(target_os = "macos"), pool_stdio_portable)))]
#[path = "macos/exits.rs"]
mod exits;
#[cfg(unix)]
mod foreign_process;
#[cfg(all(test, unix, any(not(target_os = "macos"), pool_stdio_portable)))]
#[path = "macos/group.rs"]
mod group;
#[cfg(all(target_os = "linux", not(pool_stdio_portable)))]
mod linux;
mod lookup;
#[cfg(all(target_os = "macos", not(pool_stdio_portable)))]
mod macos;
#[cfg(all(unix, any(not(target_os = "linux"), pool_stdio_portable)))]
mod no_procfs;
#[cfg(all(
    unix,
    any(
        pool_stdio_portable,
        not(any(target_os = "linux", target_os = "macos"))
    )
))]
mod portable;
mod spawn;
#[cfg(all(
    any(target_os = "linux", target_os = "macos"),
    not(pool_stdio_portable)
))]
mod spawn_call;
#[cfg(unix)]
mod spawned;
#[cfg(all(unix, any(pool_stdio_portable, not(target_os = "macos"))))]
mod std_spawn;
#[cfg(unix)]
mod unix;
#[cfg(all(unix, any(pool_stdio_portable, not(target_os = "macos"))))]
mod watched_exit;
#[cfg(unix)]
mod watched_pipe;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use async_pipes::{AsyncStdin, AsyncStdout};
#[cfg(unix)]
pub(crate) use foreign_process::ForeignProcess;
#[cfg(all(target_os = "linux", not(pool_stdio_portable)))]
pub(crate) use linux::{
    CAN_COUNT, PollWaker, Poller, Root, Watch, clock_ticks, control_group, enlarge_pipe,
    environment, has_living_member, is_leaving, is_stopped, process_descriptor, processes,
    signal_process, spawn, use_own_descriptors,
};
pub(crate) use lookup::{DEFAULT_PATH, candidates, is_same_variable, remove_variable, unpassable};
#[cfg(all(target_os = "macos", not(pool_stdio_portable)))]
pub(crate) use macos::{
    PollWaker, Poller, Root, WatchedExit, clock_ticks, has_living_member, is_leaving, is_stopped,
    processes, signal_process, spawn,
};
#[cfg(all(unix, any(not(target_os = "linux"), pool_stdio_portable)))]
pub(crate) use no_procfs::{
    CAN_COUNT, Watch, control_group, enlarge_pipe, environment, process_descriptor,
    use_own_descriptors,
};
#[cfg(all(
    unix,
    any(
        pool_stdio_portable,
        not(any(target_os = "linux", target_os = "macos"))
    )
))]
pub(crate) use portable::{
    PollWaker, Poller, Root, clock_ticks, has_living_member, is_leaving, is_stopped, processes,
    signal_process, spawn,
};
pub(crate) use spawn::{Mask, Place, Start, StartError, StartLimits, StderrEnd, StdoutEnd};
#[cfg(unix)]
pub(crate) use spawned::Spawned;
#[cfg(unix)]
pub use unix::OwnedPipe;
#[cfg(unix)]
pub(crate) use unix::{
    Kept, Look, PipeEnd, Readiness, Ready, StdoutView, block_signals, check_executable, clock_now,
    close_in_forks, descriptor_limit, descriptors_open, effective_user, enclose, expose, group_of,
    hard_limit, is_writing, never_blocks, os_error_kind, parent_id, pause, process_limit,
    reap_adopted, resident_bytes, set_nonblocking, signal_group_by_pid, signal_process_by_pid,
    view, write,
};
#[cfg(all(unix, any(pool_stdio_portable, not(target_os = "macos"))))]
pub(crate) use watched_exit::WatchedExit;
#[cfg(unix)]
pub(crate) use watched_pipe::WatchedPipe;

#[cfg(windows)]
pub(crate) use lookup::check_executable;
#[cfg(windows)]
pub use windows::OwnedPipe;
#[cfg(windows)]
pub(crate) use windows::{
    AsyncStdin, AsyncStdout, CAN_COUNT, ForeignProcess, Kept, Look, PipeEnd, PollWaker, Poller,
    Readiness, Ready, Root, Spawned, StdoutView, WatchedExit, WatchedPipe, block_signals,
    clock_now, clock_ticks, control_group, descriptor_limit, descriptors_open, enclose,
    environment, expose, has_living_member, is_leaving, is_stopped, is_writing, never_blocks,
    os_error_kind, parent_id, pause, process_limit, processes, reap_adopted, resident_bytes,
    signal_process, spawn, use_own_descriptors, view,
};

use crate::process::outcome::Exit;

/// Whether the system limits a child at its start, and no shell is needed for it.
pub(crate) const LIMITS_AT_START: bool = cfg!(windows);

/// What a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitedResource {
    AddressSpace,
    CpuTime,
    OpenFiles,
}

/// What kind of failure an error of `spawn` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OsErrorKind {
    /// The file is being written, or a process could not be made just now.
    Busy,
    /// The system refuses a process, or does not get it ready.
    ProcessLimit,
    ProcessDescriptors,
    #[cfg_attr(windows, expect(dead_code, reason = "there is no such limit"))]
    SystemDescriptors,
    Memory,
    NotFound,
    NotExecutable,
    ArgumentsTooLong,
    /// The file system that the program is on does not work at the moment.
    Storage,
    Other,
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

/// Whether the number of the root's group still means that group. If it was empty once without the root,
/// another process can get the number, and lead a group of its own.
pub(crate) fn holds_group(root: &Root, pid_state: PidState) -> bool {
    match pid_state {
        PidState::Held => true,
        PidState::Released => root.outlives_its_pid() && !root.group_is_empty(pid_state),
    }
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
    /// The memory that it occupies.
    pub(crate) resident_bytes: u64,
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
    /// This system has no such signal, or no way to bring it to this child.
    #[cfg_attr(unix, expect(dead_code, reason = "all of them exist here"))]
    NoCounterpart,
    /// The system refused it.
    Refused(std::io::Error),
}
