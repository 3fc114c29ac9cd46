//! A socket that the processes of a fixture connect to, so that a test knows when its tree stands,
//! and which of it lives.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::wait::{Deadline, OUTER_DEADLINE, is_readable_within};

/// Where fixtures announce themselves.
///
/// # Examples
///
/// ```
/// use pool_testkit::census::Beacon;
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
///
/// let beacon = Beacon::new()?;
/// // As `Behaviour::announce` does in a fixture.
/// let mut stream = UnixStream::connect(beacon.path())?;
/// writeln!(stream, "me {}", std::process::id())?;
///
/// let sightings = beacon.expect(1);
/// assert_eq!((sightings[0].tag.as_str(), sightings[0].pid), ("me", std::process::id()));
/// assert!(!sightings[0].is_dead() && !sightings[0].is_reaped());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Beacon {
    listener: UnixListener,
    path: PathBuf,
}

/// A process that announced itself.
///
/// # Examples
///
/// See [`Beacon`].
#[derive(Debug)]
pub struct Sighting {
    /// What it calls itself.
    pub tag: String,
    /// Its number.
    pub pid: u32,
    /// Ends when it dies, or when it closes it.
    _stream: UnixStream,
    /// `None` if it had died and been reaped before it could be opened.
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
        // A socket of that name can only be a dead process's.
        drop(fs::remove_file(&path));
        Ok(Self {
            listener: UnixListener::bind(&path)?,
            path,
        })
    }

    /// Where to announce.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for this many announcements.
    ///
    /// # Panics
    ///
    /// If they do not come in time.
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
            seen.push(next.expect("a process that connects says who it is"));
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
            _stream: stream,
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

    /// Waits for it to end.
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
