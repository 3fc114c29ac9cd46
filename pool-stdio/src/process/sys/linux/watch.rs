//! Watches a process that is no child of ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::pidfd::pidfd_open;
use crate::process::sys::Ready;
use crate::process::sys::unix::poll;

/// Another process.
#[derive(Debug)]
pub(crate) struct Watch {
    /// `None` if it cannot be watched.
    pidfd: Option<OwnedFd>,
}

impl Watch {
    /// Watches our parent, if it has this pid still.
    pub(crate) fn parent(pid: u32) -> Self {
        let pidfd = pidfd_open(pid).ok();
        // Order: opened before it is identified, since the pid could be another process's by then.
        let is_parent = std::os::unix::process::parent_id() == pid;
        Self {
            pidfd: pidfd.filter(|_| is_parent),
        }
    }

    /// Waits until the pipe is readable, or the process has gone, and says whether it has.
    pub(crate) fn wait_for(&self, pipe: BorrowedFd<'_>) -> io::Result<bool> {
        let mut fds = vec![(pipe, Ready::ToRead)];
        fds.extend(self.pidfd.as_ref().map(|fd| (fd.as_fd(), Ready::ToRead)));
        let ready = poll(&fds, None)?;
        Ok(ready.get(1).is_some_and(|process| process.is_ready))
    }
}

/// Makes room in a pipe for so many bytes, if the system allows it.
pub(crate) fn enlarge_pipe(pipe: BorrowedFd<'_>, bytes: i32) {
    use nix::fcntl::{FcntlArg, fcntl};
    let (Ok(_) | Err(_)) = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes));
}
