//! Waits for the end of the host's process.
//!
//! By a pidfd, which means that process and no later one of the same number. Where there is none, the
//! number is looked at again and again: another process that gets it in between is taken for the host.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::time::sleep;

use crate::limits::HOST_POLL;

/// A process that is watched.
#[derive(Debug)]
pub(crate) struct HostWatch {
    pid: Pid,
    #[cfg(target_os = "linux")]
    pidfd: Option<tokio::net::unix::pipe::Receiver>,
}

impl HostWatch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = number.ok_or(Errno::SRCH)?;
        Ok(Self {
            #[cfg(target_os = "linux")]
            pidfd: open(pid)?,
            pid,
        }
        .existing()?)
    }

    fn existing(self) -> Result<Self, Errno> {
        match test_kill_process(self.pid) {
            Err(Errno::SRCH) => Err(Errno::SRCH),
            // One of another user exists as well.
            Ok(()) | Err(_) => Ok(self),
        }
    }

    /// Resolves when it has ended.
    pub(crate) async fn ended(&self) {
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = &self.pidfd
            && pidfd.readable().await.is_ok()
        {
            return;
        }
        while !matches!(test_kill_process(self.pid), Err(Errno::SRCH)) {
            sleep(HOST_POLL).await;
        }
    }
}

/// `None` where the system has no such thing.
#[cfg(target_os = "linux")]
fn open(pid: Pid) -> io::Result<Option<tokio::net::unix::pipe::Receiver>> {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::net::unix::pipe::Receiver;
    match pidfd_open(pid, PidfdFlags::empty()) {
        // No pipe, but the runtime only waits until it is readable, which it is when the process ends.
        Ok(pidfd) => Receiver::from_owned_fd_unchecked(pidfd).map(Some),
        Err(Errno::SRCH) => Err(Errno::SRCH.into()),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    async fn sees_the_end(strip: impl Fn(&mut HostWatch)) {
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that is no child of this layer"
        )]
        let spawned = Command::new("cat").stdin(Stdio::piped()).spawn();
        let mut host = spawned.unwrap();
        let mut watch = HostWatch::of(host.id()).unwrap();
        strip(&mut watch);
        let mut ended = Box::pin(watch.ended());
        tokio::select! {
            biased;
            () = &mut ended => panic!("it lives"),
            () = tokio::task::yield_now() => {}
        }
        drop(host.stdin.take());
        host.wait().unwrap();
        ended.await;
    }

    #[tokio::test]
    async fn the_end_of_the_host_is_seen() {
        sees_the_end(|_| {}).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_end_of_the_host_is_seen_without_a_pidfd() {
        sees_the_end(|watch| watch.pidfd = None).await;
    }

    #[tokio::test]
    async fn a_host_that_is_not_there_is_told_at_once() {
        let error = HostWatch::of(i32::MAX as u32).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        assert!(HostWatch::of(0).is_err());
    }
}
