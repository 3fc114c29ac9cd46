//! Watching and signalling by pid, for Unixes without pidfds.
//!
//! A pid is safe as long as its process is not reaped, so everything here is told whether the pid is
//! still held, and sends nothing to a released one. Survivors of the root cannot be counted; the
//! ladder therefore kills the group before the root is reaped, and they get no grace.

mod poll_set;

use std::io;
use std::os::fd::BorrowedFd;

pub(crate) use self::poll_set::{PollWaker, Poller};
use super::spawned::Spawned;
pub(crate) use super::std_spawn::spawn;
use super::unix::{StdoutView, look, signal_group_by_pid, signal_process_by_pid, wait};
use super::{Delivery, Life, Look, PidState, Process, ProcessId};
use crate::process::outcome::CountFailure;
use crate::process::signal::Signal;
use crate::process::terminate::KillScope;

/// The system is not asked: a stopped process is seen by its silence alone.
pub(crate) const fn is_stopped(_pid: u32) -> bool {
    false
}

/// The system is not asked.
pub(crate) const fn is_leaving(_pid: u32) -> bool {
    false
}

/// A child of ours, known by its pid.
#[derive(Debug)]
pub(crate) struct Root {
    pid: u32,
}

impl Root {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) const fn of(spawned: &Spawned) -> io::Result<Self> {
        Ok(Self { pid: spawned.pid })
    }

    /// There is no event for an exit here: it must be asked for.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What one system call shows of its stdout.
    pub(crate) fn look(&self, stdout: Option<StdoutView<'_>>) -> Look {
        look(self.exit_fd(), stdout)
    }

    /// Its number is not safe any more after it was reaped.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn members(&self) -> Option<Result<Vec<ProcessId>, CountFailure>> {
        None
    }

    /// Whether it runs. Does not reap it. It must not be called after [`reap`](Self::reap)
    /// has reaped the process.
    pub(crate) fn life(&self) -> io::Result<Life> {
        wait(
            libc::P_PID,
            self.pid,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        )
    }

    /// Whether it is dead, also if its status cannot be had yet.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn is_dead(&self) -> bool {
        false
    }

    /// The same, and frees its pid if it has exited.
    pub(crate) fn reap(&self) -> io::Result<Life> {
        wait(libc::P_PID, self.pid, libc::WEXITED | libc::WNOHANG)
    }

    /// Its number is not safe any more after it was reaped.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn reap_member(&self) -> bool {
        false
    }

    /// Whether it is stopped, as by SIGSTOP.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn is_stopped(&self) -> bool {
        false
    }

    /// To the child alone.
    pub(crate) fn signal(&self, signal: Signal, pid_state: PidState) -> Delivery {
        match pid_state {
            PidState::Held => signal_process_by_pid(self.pid, Some(signal)),
            PidState::Released => Delivery::NoReceiver,
        }
    }

    /// To every member of the group that the child was started in.
    pub(crate) fn signal_group(&self, signal: Signal, pid_state: PidState) -> Delivery {
        match pid_state {
            PidState::Held => signal_group_by_pid(self.pid, Some(signal)),
            PidState::Released => Delivery::NoReceiver,
        }
    }

    /// There are no jobs: processes are found by their group and parents.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn job_bytes(&self, _: KillScope) -> Option<u64> {
        None
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn outlives_its_pid(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn group_is_empty(&self, _: PidState) -> bool {
        false
    }
}

pub(crate) const fn processes() -> Result<Vec<Process>, CountFailure> {
    Err(CountFailure::Unsupported)
}

pub(crate) const fn has_living_member(_: u32) -> Result<bool, CountFailure> {
    Err(CountFailure::Unsupported)
}

pub(crate) const fn signal_process(_: ProcessId, _: &[Signal]) -> Delivery {
    Delivery::NoReceiver
}

pub(crate) const fn clock_ticks() -> u64 {
    0
}
