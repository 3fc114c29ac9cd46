//! This program's own stdin and stdout.
//!
//! The host can share them with us in a state in which they do not block. So each call waits until
//! something can be done, and none takes an empty pipe for its end.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use tokio::time::{Instant, sleep};

use crate::limits::{DEAF_MAX, DEAF_POLL};

/// How many bytes the host has taken, or has room for.
static WRITTEN: AtomicU64 = AtomicU64::new(0);
/// A write of more would show no progress for long.
const PIECE_BYTES: usize = 16 << 10;

/// What can be seen of a pipe without a write to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    /// It has room.
    Open,
    Full,
    /// Nobody will read it.
    Broken,
}

/// Reads from stdin. Zero at its end.
///
/// # Errors
///
/// It cannot be read.
pub(crate) fn read(buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(stdin(), &mut *buffer) {
            Err(Errno::AGAIN) => wait_for(stdin(), PollFlags::IN)?,
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Writes all of it to stdout.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        match rustix::io::write(stdout(), piece) {
            Ok(count) => {
                WRITTEN.fetch_add(count as u64, Ordering::Relaxed);
                bytes = &bytes[count..];
            }
            Err(Errno::AGAIN) => wait_for(stdout(), PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Resolves when nobody will read stdout, or nobody has for a while.
pub(crate) async fn deaf() {
    let mut full_since = None;
    let mut before = 0;
    loop {
        // A pipe that is read is filled again at once.
        let written = WRITTEN.load(Ordering::Relaxed);
        if std::mem::replace(&mut before, written) != written {
            full_since = None;
        }
        match hearing(stdout()) {
            Hearing::Broken => return,
            Hearing::Open => full_since = None,
            Hearing::Full => {
                let since = *full_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= DEAF_MAX {
                    return;
                }
            }
        }
        sleep(DEAF_POLL).await;
    }
}

fn wait_for(end: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(end, flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn hearing(end: impl AsFd) -> Hearing {
    let mut polled = [PollFd::new(&end, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let (Ok(_) | Err(_)) = poll(&mut polled, Some(&now));
    let seen = polled[0].revents();
    if seen.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
        Hearing::Broken
    } else if seen.contains(PollFlags::OUT) {
        Hearing::Open
    } else {
        Hearing::Full
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_pipe_is_open_full_or_broken() {
        let (reader, mut writer) = io::pipe().unwrap();
        assert_eq!(hearing(&writer), Hearing::Open);
        while hearing(&writer) == Hearing::Open {
            writer.write_all(&[0; 4096]).unwrap();
        }
        assert_eq!(hearing(&writer), Hearing::Full);
        drop(reader);
        assert_eq!(hearing(&writer), Hearing::Broken);
    }

    #[test]
    fn a_socket_is_open_full_or_broken() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        assert_eq!(hearing(&writer), Hearing::Open);
        while writer.write(&[0; 4096]).is_ok() {}
        assert_eq!(hearing(&writer), Hearing::Full);
        drop(reader);
        assert_eq!(hearing(&writer), Hearing::Broken);
    }
}
