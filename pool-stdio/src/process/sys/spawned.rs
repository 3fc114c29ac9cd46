//! What is there when a child was started on Unix.

use std::io;
use std::os::fd::AsFd;

use super::Delivery;
use super::unix::{PipeEnd, set_nonblocking, signal_group_by_pid, wait};
use crate::process::signal::Signal;

/// A started child before anything is known of it.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) stdin: PipeEnd,
    pub(crate) stdout: Option<PipeEnd>,
    pub(crate) stderr: Option<PipeEnd>,
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
        let (Delivery::Sent
        | Delivery::NoReceiver
        | Delivery::NoCounterpart
        | Delivery::Refused(_)) = signal_group_by_pid(self.pid, Some(Signal::Kill));
        loop {
            match wait(libc::P_PID, self.pid, libc::WEXITED) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}
