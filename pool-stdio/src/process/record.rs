//! What the handle of a child and the custodian both know of it.

use std::sync::{Arc, Mutex, OnceLock};

use super::cgroup::Cgroup;
use super::host;
use super::lock::lock;
use super::memory::resident_bytes;
use super::once::Once;
use super::outcome::{Exit, Termination};
use super::signal::{Signal, SignalError};
#[cfg(test)]
use super::stderr::RingLimits;
use super::stderr::{Ring, StderrTail};
use super::sys::{self, Delivery, Life, Look, PidState, PipeEnd, Root, is_leaving, is_stopped};
use super::terminate::KillScope;

/// The number of a child within this program. Unlike a process id it is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildId(pub(crate) u64);

/// The facts about one child. They outlive its process and its handle.
#[derive(Debug)]
pub(crate) struct ChildRecord {
    pub(crate) id: ChildId,
    pub(crate) pid: u32,
    pub(crate) scope: KillScope,
    /// The control group that was made for it, if there is one.
    pub(crate) cgroup: Option<Arc<Cgroup>>,
    /// Why the child was killed, if its pool asked for that. Set before it is killed.
    pub(crate) kill_cause: OnceLock<Box<str>>,
    /// Whether a forced termination begins with SIGKILL. If not, it gives a grace first.
    pub(crate) is_killed_at_once: bool,
    /// Locked while a signal is sent by number, and while the child is reaped.
    pub(crate) pid_state: Mutex<PidState>,
    pub(crate) stderr: Mutex<Ring>,
    pub(crate) exit: Arc<Once<Exit>>,
    pub(crate) termination: Arc<Once<Termination>>,
}

impl ChildRecord {
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// How the child exited, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.peek()
    }

    pub(crate) fn stderr_tail(&self) -> StderrTail {
        // Order: unlocked before the bytes are copied. The custodian may want to write.
        let view = lock(&self.stderr).view();
        view.into_tail()
    }

    /// Why the child was killed, if its pool asked for that.
    pub(crate) fn kill_cause(&self) -> Option<String> {
        self.kill_cause.get().map(ToString::to_string)
    }

    /// The memory of the child's control group, or else the resident memory of its scope, unless the child
    /// has ended.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        if self.exit().is_some() {
            return None;
        }
        let counted = self.cgroup.as_ref().and_then(|it| it.memory_bytes());
        counted.or_else(|| resident_bytes(self.pid, self.scope))
    }

    /// Whether the process is stopped, as by SIGSTOP. `false` where the system does not tell.
    pub(crate) fn is_stopped(&self) -> bool {
        // Order: under the lock, so that the custodian does not reap the child meanwhile.
        let pid_state = lock(&self.pid_state);
        *pid_state == PidState::Held && is_stopped(self.pid)
    }

    /// Whether the root exits or has exited, although that may not be published yet. `false` where the
    /// system does not tell.
    pub(crate) fn is_leaving(&self) -> bool {
        // Order: under the lock, so that the custodian does not reap the child meanwhile.
        let pid_state = lock(&self.pid_state);
        match *pid_state {
            PidState::Held => is_leaving(self.pid),
            PidState::Released => true,
        }
    }

    /// Whether the root has exited. Costs one system call.
    pub(crate) fn has_exited(&self, root: &Root) -> bool {
        let Look { has_exited, .. } = root.look(None);
        has_exited.unwrap_or_else(|| self.has_exited_by_asking(root))
    }

    /// The same, where the root's exit must be asked for.
    pub(crate) fn has_exited_by_asking(&self, root: &Root) -> bool {
        // Order: under the lock, so that the custodian does not reap it meanwhile.
        let pid_state = lock(&self.pid_state);
        match *pid_state {
            PidState::Held => matches!(root.life(), Ok(Life::Over(_))),
            PidState::Released => true,
        }
    }

    /// Sends SIGKILL to the root, and to its group if that is in its scope. Returns whether the root was
    /// alive, and the signal was sent.
    pub(crate) fn kill_root(&self, root: &Root) -> bool {
        if self.termination.peek().is_some() || host::is_fork() || self.has_exited(root) {
            return false;
        }
        // Order: under the lock, so that the custodian does not reap it meanwhile.
        let pid_state = lock(&self.pid_state);
        let delivery = match self.scope {
            KillScope::Root => root.signal(Signal::Kill, *pid_state),
            KillScope::Group | KillScope::Tree => root.signal_group(Signal::Kill, *pid_state),
        };
        matches!(delivery, Delivery::Sent)
    }

    /// Sends a signal to the child alone. Without a root the child's termination has begun.
    pub(crate) fn signal_root(
        &self,
        root: Option<&Root>,
        signal: Signal,
    ) -> Result<(), SignalError> {
        let root = root.ok_or(SignalError::Gone)?;
        if self.exit().is_some() || root.is_dead() {
            return Err(SignalError::Gone);
        }
        // Order: under the lock, so that the custodian does not reap the child meanwhile.
        let pid_state = lock(&self.pid_state);
        sent(root.signal(signal, *pid_state))
    }

    /// Sends a signal to the child's process group. Without a root the child has ended.
    pub(crate) fn signal_group(
        &self,
        root: Option<&Root>,
        signal: Signal,
    ) -> Result<(), SignalError> {
        let root = root.ok_or(SignalError::Gone)?;
        // A dead root counts as a member of its group until it is reaped.
        let is_empty = || matches!(sys::has_living_member(self.pid), Ok(false));
        if (self.exit().is_some() || root.is_dead()) && is_empty() {
            return Err(SignalError::Gone);
        }
        // Order: under the lock, so that the custodian does not reap the child meanwhile.
        let pid_state = lock(&self.pid_state);
        sent(root.signal_group(signal, *pid_state))
    }
}

#[cfg(test)]
impl ChildRecord {
    /// Of a child that has no process. Its exit is published when the test does so. Until then it is about to exit, or
    /// lives on.
    pub(crate) fn of_no_process(is_leaving: bool) -> Self {
        let pid_state = match is_leaving {
            true => PidState::Released,
            false => PidState::Held,
        };
        let nothing = RingLimits {
            bytes_max: 0,
            lines_max: 0,
        };
        Self {
            id: ChildId(u64::MAX),
            pid: std::process::id(),
            scope: KillScope::Group,
            cgroup: None,
            kill_cause: OnceLock::new(),
            is_killed_at_once: true,
            pid_state: Mutex::new(pid_state),
            stderr: Mutex::new(Ring::new(nothing)),
            exit: Once::new(),
            termination: Once::new(),
        }
    }
}

fn sent(delivery: Delivery) -> Result<(), SignalError> {
    match delivery {
        Delivery::Sent => Ok(()),
        Delivery::NoReceiver => Err(SignalError::Gone),
        Delivery::NoCounterpart => Err(SignalError::Unsupported),
        Delivery::Refused(source) => Err(SignalError::Refused { source }),
    }
}

/// Our ends of a child's pipes.
#[derive(Debug, Default)]
pub(crate) struct PipeEnds {
    pub(crate) stdin: Option<PipeEnd>,
    /// Accepted for stdin, and not yet written.
    pub(crate) unwritten: Vec<u8>,
    pub(crate) stdout: Option<PipeEnd>,
    /// `None` unless it is its owner who reads it. A termination reads it to its end.
    pub(crate) stderr: Option<PipeEnd>,
}
