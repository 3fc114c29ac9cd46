//! Watching and signalling by number, for Unixes without pidfds.
//!
//! A number is safe as long as its process is not reaped, so everything here asks for the number to
//! be held, and a released one reaches nobody. Who else lives cannot be told; the ladder therefore
//! kills the group before the root is reaped, and survivors of the root get no grace.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;

use super::unix::{signal_group_by_number, signal_process_by_number, wait};
use super::{Delivery, Life, Number};
use crate::process::signal::Signal;
use crate::process::terminate::Others;

/// A child of ours, known by its number.
#[derive(Debug)]
pub(crate) struct Root {
    pid: u32,
}

impl Root {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) const fn adopt(pid: u32) -> io::Result<Self> {
        Ok(Self { pid })
    }

    /// Nothing tells of an exit here: it must be asked for.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether it runs. Does not reap it. Not to be called after [`reap`](Self::reap) did.
    pub(crate) fn look(&self) -> io::Result<Life> {
        wait(
            libc::P_PID,
            self.pid,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        )
    }

    /// The same, and gives its number free if it has exited.
    pub(crate) fn reap(&self) -> io::Result<Life> {
        wait(libc::P_PID, self.pid, libc::WEXITED | libc::WNOHANG)
    }

    /// To the child alone.
    pub(crate) fn signal(&self, signal: Signal, number: Number) -> Delivery {
        match number {
            Number::Held => signal_process_by_number(self.pid, signal),
            Number::Released => Delivery::NoReceiver,
        }
    }

    /// To every member of the group that the child was started in.
    pub(crate) fn signal_group(&self, signal: Signal, number: Number) -> Delivery {
        match number {
            Number::Held => signal_group_by_number(self.pid, Some(signal)),
            Number::Released => Delivery::NoReceiver,
        }
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn outlives_its_number(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn group_is_empty(&self, _: Number) -> bool {
        false
    }
}

/// Finds the living processes that belong to a child: not here.
#[derive(Debug)]
pub(crate) struct Scanner;

impl Scanner {
    pub(crate) const fn can_count() -> bool {
        false
    }

    pub(crate) const fn strike(_: &Root, _: Number, _: &OsStr, _: &[Signal]) {}

    pub(crate) const fn scan(_: &Root, _: Number, _: Option<&OsStr>, _: &[Signal]) -> Others {
        Others::Unknown
    }
}
