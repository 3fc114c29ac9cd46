//! Stdin and stdout where `poll` tells what can be done with them.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};

use super::hearing::Hearing;

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

/// Writes some of it to stdout, and returns how many bytes.
pub(super) fn write(bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(stdout(), bytes) {
            Err(Errno::AGAIN) => wait_for(stdout(), PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// What stdout shows.
pub(super) fn hearing() -> Hearing {
    hearing_of(stdout())
}

fn wait_for(end: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(end, flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn hearing_of(end: impl AsFd) -> Hearing {
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
        assert_eq!(hearing_of(&writer), Hearing::Open);
        while hearing_of(&writer) == Hearing::Open {
            writer.write_all(&[0; 4096]).unwrap();
        }
        assert_eq!(hearing_of(&writer), Hearing::Full);
        drop(reader);
        assert_eq!(hearing_of(&writer), Hearing::Broken);
    }

    #[test]
    fn a_socket_is_open_full_or_broken() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        assert_eq!(hearing_of(&writer), Hearing::Open);
        while writer.write(&[0; 4096]).is_ok() {}
        assert_eq!(hearing_of(&writer), Hearing::Full);
        drop(reader);
        assert_eq!(hearing_of(&writer), Hearing::Broken);
    }
}
