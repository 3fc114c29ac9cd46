//! Waits for many descriptors, at a cost that does not grow with their number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::task::Waker;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::process::sys::Ready;
use crate::process::sys::unix::{Kept, round_up_millis};

/// The descriptors that one thread waits for. Others may add to it.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: Epoll,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Reports the token for as long as the descriptor is ready, or hung up.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, ready: Ready) -> io::Result<()> {
        let flags = match ready {
            Ready::ToRead => EpollFlags::EPOLLIN,
            Ready::ToWrite => EpollFlags::EPOLLOUT,
        };
        Ok(self.epoll.add(fd, EpollEvent::new(flags, token))?)
    }

    /// To be called before the descriptor is closed: a copy elsewhere would keep it here.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let removed = self.epoll.delete(fd);
        debug_assert!(removed.is_ok(), "it was added before");
    }

    /// Wakers of tasks that wait for a pipe: none, since the runtime waits here.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn take_wakers(&self) -> Vec<Waker> {
        Vec::new()
    }

    /// Waits until something is ready, or for `timeout`; `None` waits for ever. Puts the tokens of
    /// what is ready into `tokens`; if there are many, the others come with the next call.
    pub(crate) fn wait(&self, timeout: Option<Duration>, tokens: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let timeout = match timeout.map(round_up_millis) {
            None => EpollTimeout::NONE,
            Some(millis) => EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX),
        };
        tokens.clear();
        match self.epoll.wait(&mut events, timeout) {
            Ok(count) => {
                tokens.extend(events[..count].iter().map(EpollEvent::data));
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Ends the wait of a [`Poller`] that it was added to.
#[derive(Debug)]
pub(crate) struct PollWaker {
    event: EventFd,
}

impl PollWaker {
    pub(crate) fn new(poller: &Poller, token: u64) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_flags(flags)?;
        poller.add(event.as_fd(), token, Ready::ToRead)?;
        Ok(Self { event })
    }

    pub(crate) fn wake(&self) {
        // It fails if it was called 2^64 times before: then the other side is woken all the same.
        let (Ok(_) | Err(_)) = self.event.write(1);
    }

    pub(crate) fn reset(&self) {
        // It fails if nothing woke.
        let (Ok(_) | Err(_)) = self.event.read();
    }

    /// The descriptor that it uses.
    pub(crate) fn kept(&self) -> Kept {
        self.event.as_fd().as_raw_fd()
    }
}

/// How many are reported at once.
const EVENTS_MAX: usize = 128;
