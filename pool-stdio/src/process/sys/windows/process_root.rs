//! A child of ours, known by handles: its pid means no other process while they are open.

#![expect(
    unsafe_code,
    reason = "the standard library kills only what it has started"
)]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::os::windows::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, TerminateProcess, WaitForSingleObject,
};

use super::async_ends::StdoutView;
use super::job::{Job, KILLED};
use super::pipe_core::Readiness;
use super::unix_names::resident_bytes_of;
use super::win_errors::check;
use crate::process::outcome::{CountFailure, Exit};
use crate::process::signal::Signal;
use crate::process::sys::{Delivery, Life, PidState, ProcessId};
use crate::process::terminate::KillScope;

/// A child of ours.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pid: u32,
    process: OwnedHandle,
    job: Job,
    /// Whether it shares our console.
    has_console: bool,
}

/// What one look shows of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// `None` if the exit must be asked for.
    pub(crate) has_exited: Option<bool>,
    /// `None` if there is no stdout to look at.
    pub(crate) stdout: Option<Readiness>,
}

impl Root {
    pub(super) fn new(pid: u32, process: OwnedHandle, job: Job, has_console: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                pid,
                process,
                job,
                has_console,
            }),
        }
    }

    pub(super) fn process(&self) -> BorrowedHandle<'_> {
        self.inner.process.as_handle()
    }

    /// What is seen of it and of its stdout.
    pub(crate) fn look(&self, stdout: Option<StdoutView<'_>>) -> Look {
        Look {
            has_exited: Some(self.is_dead()),
            stdout: stdout.map(super::pipe_core::PipeCore::look),
        }
    }

    /// Whether it runs.
    pub(crate) fn life(&self) -> io::Result<Life> {
        if !self.is_dead() {
            return Ok(Life::Running);
        }
        let code = exit_code(self.process())?;
        Ok(Life::Over(Exit::Status(ExitStatus::from_raw(code))))
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.has_exited_within(0)
    }

    /// Waits for the exit.
    pub(super) fn has_exited_within(&self, millis: u32) -> bool {
        has_exited_within(self.process(), millis)
    }

    /// Nothing is left to be collected here.
    pub(crate) fn reap(&self) -> io::Result<Life> {
        self.life()
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn reap_member(&self) -> bool {
        false
    }

    /// To the child alone.
    pub(crate) fn signal(&self, signal: Signal, _: PidState) -> Delivery {
        if signal != Signal::Kill {
            return self.ask(signal);
        }
        if self.is_dead() {
            return Delivery::NoReceiver;
        }
        // SAFETY: the process handle is open; the rest is an integer.
        let done = unsafe { TerminateProcess(self.process().as_raw_handle(), KILLED) };
        match check(done) {
            Ok(()) => Delivery::Sent,
            // It is refused to a process that is on its way out.
            Err(_) if self.is_dead() => Delivery::NoReceiver,
            Err(error) => Delivery::Refused(error),
        }
    }

    /// To all members of the job.
    pub(crate) fn signal_group(&self, signal: Signal, _: PidState) -> Delivery {
        if signal != Signal::Kill {
            return self.ask(signal);
        }
        if self.is_job_empty() {
            return Delivery::NoReceiver;
        }
        match self.inner.job.terminate() {
            Ok(()) => Delivery::Sent,
            Err(error) => Delivery::Refused(error),
        }
    }

    /// `CTRL_BREAK_EVENT` reaches those that share our console and did not leave the child's group. The
    /// default handler exits.
    fn ask(&self, signal: Signal) -> Delivery {
        if signal != Signal::Terminate || !self.inner.has_console {
            return Delivery::NoCounterpart;
        }
        if self.is_job_empty() {
            return Delivery::NoReceiver;
        }
        // SAFETY: the call takes two integers. The process handle keeps the pid from meaning another
        // process.
        let done = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, self.inner.pid) };
        match check(done) {
            Ok(()) => Delivery::Sent,
            Err(_) => Delivery::NoCounterpart,
        }
    }

    fn is_job_empty(&self) -> bool {
        self.inner.job.is_empty()
    }

    /// How much memory it occupies, or all members of its job, as its scope says.
    pub(crate) fn job_bytes(&self, scope: KillScope) -> Option<u64> {
        match scope {
            KillScope::Root => resident_bytes_of(self.process()),
            KillScope::Group | KillScope::Tree => self.inner.job.resident_bytes(),
        }
    }

    /// The job outlives the root.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn outlives_its_pid(&self) -> bool {
        true
    }

    pub(crate) fn group_is_empty(&self, _: PidState) -> bool {
        self.is_job_empty()
    }

    /// Those that live besides it. That a job is empty is the word of the system.
    pub(crate) fn members(&self) -> Option<Result<Vec<ProcessId>, CountFailure>> {
        let members = self.inner.job.members().map_err(|_| CountFailure::Refused);
        Some(members.map(|members| {
            let others = members.into_iter().filter(|pid| *pid != self.inner.pid);
            let id = |pid| ProcessId {
                pid,
                started_ticks: 0,
            };
            others.map(id).collect()
        }))
    }
}

/// The exit code, which is there as soon as the process begins to exit. Before, and also as an exit code,
/// [`STILL_ACTIVE`].
pub(super) fn exit_code(process: BorrowedHandle<'_>) -> io::Result<u32> {
    let mut code = 0;
    // SAFETY: the process handle is open; the code is written to memory of ours.
    let done = unsafe { GetExitCodeProcess(process.as_raw_handle(), &raw mut code) };
    check(done).map(|()| code)
}

/// Waits for the exit.
pub(super) fn has_exited_within(process: BorrowedHandle<'_>, millis: u32) -> bool {
    // SAFETY: the process handle is open; the rest is an integer.
    let waited = unsafe { WaitForSingleObject(process.as_raw_handle(), millis) };
    waited == WAIT_OBJECT_0
}

pub(super) const STILL_ACTIVE: u32 = 259;
