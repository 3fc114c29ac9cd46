//! What is not to be had where processes are not shown as files: the same on all Unixes but Linux.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use super::unix::poll;
use super::{Environment, Ready};
use crate::process::outcome::CountFailure;

/// Another process, which cannot be watched here.
#[derive(Debug)]
pub(crate) struct Watch;

impl Watch {
    pub(crate) const fn parent(_: u32) -> Self {
        Self
    }

    /// Waits until the pipe is readable.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn wait_for(&self, pipe: BorrowedFd<'_>) -> io::Result<bool> {
        poll(&[(pipe, Ready::ToRead)], None)?;
        Ok(false)
    }
}

/// A pipe has the room that it has.
pub(crate) const fn enlarge_pipe(_: BorrowedFd<'_>, _: i32) {}

/// Whether a scan of all processes counts those of a child, also if they left its group.
pub(crate) const CAN_COUNT: bool = false;

pub(crate) const fn environment(_: u32) -> Result<Environment, CountFailure> {
    Err(CountFailure::Unsupported)
}

pub(crate) const fn control_group(_: u32) -> Option<Vec<u8>> {
    None
}

/// No descriptor means a process.
pub(crate) const fn process_descriptor(_: u32) -> Option<OwnedFd> {
    None
}

pub(crate) fn use_own_descriptors(_: RawFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
