//! A socket that the processes of a fixture connect to. It tells a test when all processes of a tree
//! have started, and which of them still live.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::wait::{Deadline, OUTER_DEADLINE, is_readable_within};

/// The socket where fixtures announce themselves.
#[derive(Debug)]
pub struct Beacon {
    listener: UnixListener,
    path: PathBuf,
}

/// A process that announced itself.
#[derive(Debug)]
pub struct Sighting {
    /// What it calls itself.
    pub tag: String,
    /// Its process id.
    pub pid: u32,
    /// `None` if the process had died and been reaped before this could be opened.
    pidfd: Option<OwnedFd>,
}

impl Beacon {
    /// A new socket.
    ///
    /// # Errors
    ///
    /// If it cannot be made in the directory for temporary files.
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pool-beacon-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A socket of this name can only have been left by a dead process with our id.
        drop(fs::remove_file(&path));
        Ok(Self {
            listener: UnixListener::bind(&path)?,
            path,
        })
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for this many announcements.
    ///
    /// # Panics
    ///
    /// If they do not come within [`OUTER_DEADLINE`].
    #[track_caller]
    #[must_use]
    pub fn expect(&self, count: usize) -> Vec<Sighting> {
        let deadline = Deadline::after(OUTER_DEADLINE);
        let mut seen = Vec::new();
        while seen.len() < count {
            let came = is_readable_within(self.listener.as_fd(), deadline.left());
            assert!(
                came,
                "{} of {count} processes announced themselves: {seen:?}",
                seen.len()
            );
            let next = self.accept(&deadline);
            seen.push(next.expect("a fixture that connects writes one line"));
        }
        seen
    }

    fn accept(&self, deadline: &Deadline) -> io::Result<Sighting> {
        let (stream, _) = self.listener.accept()?;
        stream.set_read_timeout(Some(deadline.left().max(Duration::from_millis(1))))?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let unreadable = || io::Error::other(format!("unreadable announcement {line:?}"));
        let (tag, pid) = line.trim_end().rsplit_once(' ').ok_or_else(unreadable)?;
        let pid: u32 = pid.parse().map_err(|_| unreadable())?;
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(unreadable)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok();
        Ok(Sighting {
            tag: tag.to_owned(),
            pid,
            pidfd,
        })
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

impl Sighting {
    /// Whether it has ended, reaped or not.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dies_within(Duration::ZERO)
    }

    /// Waits for it to end. Returns whether it did in time.
    #[must_use]
    pub fn dies_within(&self, limit: Duration) -> bool {
        self.pidfd
            .as_ref()
            .is_none_or(|pidfd| is_readable_within(pidfd.as_fd(), limit))
    }

    /// Whether it has ended and was reaped.
    #[must_use]
    pub fn is_reaped(&self) -> bool {
        let Some(pidfd) = &self.pidfd else {
            return true;
        };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }
}
