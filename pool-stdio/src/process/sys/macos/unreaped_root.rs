//! A child of ours, known by its pid until it is reaped.

use std::io;

use super::libproc::members;
use crate::process::outcome::{CountFailure, Exit};
use crate::process::signal::Signal;
use crate::process::sys::spawned::Spawned;
use crate::process::sys::unix::{
    StdoutView, look, signal_group_by_pid, signal_process_by_pid, wait,
};
use crate::process::sys::{Delivery, Life, Look, PidState, ProcessId};
use crate::process::terminate::KillScope;

/// A child of ours.
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

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// What one system call shows of its stdout. Its exit must be asked for: only the custodian is told.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn look(&self, stdout: Option<StdoutView<'_>>) -> Look {
        look(None, stdout)
    }

    /// Those that live of its group besides it. Only while it is not reaped.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) fn members(&self) -> Option<Result<Vec<ProcessId>, CountFailure>> {
        let members = members(self.pid).map_err(|_| CountFailure::Refused);
        Some(members.map(|members| {
            let others = members.into_iter().filter(|pid| *pid != self.pid);
            let id = |pid| ProcessId {
                pid,
                started_ticks: 0,
            };
            others.map(id).collect()
        }))
    }

    /// Whether it runs. Does not reap it. Not to be called after [`reap`](Self::reap) did.
    pub(crate) fn life(&self) -> io::Result<Life> {
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        wait(libc::P_PID, self.pid, flags)
    }

    /// Whether it is dead, also if its status cannot be had yet: that is not told here.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn is_dead(&self) -> bool {
        false
    }

    /// The same as [`life`](Self::life), and frees its pid if it has exited.
    pub(crate) fn reap(&self) -> io::Result<Life> {
        wait(libc::P_PID, self.pid, libc::WEXITED | libc::WNOHANG)
    }

    /// Its number is not safe any more after it was reaped.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn reap_member(&self) -> bool {
        false
    }

    /// Whether it is stopped, as by SIGSTOP.
    pub(crate) fn is_stopped(&self) -> bool {
        let flags = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
        let stopped = wait(libc::P_PID, self.pid, flags);
        matches!(stopped, Ok(Life::Over(Exit::Status(_))))
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
        if pid_state == PidState::Released {
            return Delivery::NoReceiver;
        }
        let sent = signal_group_by_pid(self.pid, Some(signal));
        match &sent {
            // So the system answers also if all members are dead and not yet reaped.
            Delivery::Refused(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && members(self.pid).is_ok_and(|members| members.is_empty()) =>
            {
                Delivery::NoReceiver
            }
            Delivery::Sent
            | Delivery::NoReceiver
            | Delivery::NoCounterpart
            | Delivery::Refused(_) => sent,
        }
    }

    /// There are no jobs: processes are found by their group and parents.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn job_bytes(&self, _: KillScope) -> Option<u64> {
        None
    }

    /// A pid means nothing after the reap.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn outlives_its_pid(&self) -> bool {
        false
    }

    /// That takes a look at each member: [`members`](Self::members).
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn group_is_empty(&self, _: PidState) -> bool {
        false
    }
}
