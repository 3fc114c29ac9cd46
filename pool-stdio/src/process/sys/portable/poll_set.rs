//! Waits for many descriptors with `poll`, at a cost that grows with their number.

#![expect(
    unsafe_code,
    reason = "descriptors are kept by number between two waits"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::task::Waker;
use std::time::Duration;

use crate::process::lock::lock;
use crate::process::sys::Ready;
use crate::process::sys::unix::{Kept, poll};

/// The descriptors that one thread waits for.
#[derive(Debug, Default)]
pub(crate) struct Poller {
    interests: Mutex<BTreeMap<RawFd, Interest>>,
}

#[derive(Debug, Clone, Copy)]
struct Interest {
    token: u64,
    ready: Ready,
}

impl Poller {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// Reports the token for as long as the descriptor is ready, or hung up.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, ready: Ready) -> io::Result<()> {
        lock(&self.interests).insert(fd.as_raw_fd(), Interest { token, ready });
        Ok(())
    }

    /// To be called before the descriptor is closed.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        lock(&self.interests).remove(&fd.as_raw_fd());
    }

    /// Wakers of tasks that wait for a pipe: none, since the runtime waits here.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn take_wakers(&self) -> Vec<Waker> {
        Vec::new()
    }

    /// Waits until something is ready, or for `timeout`; `None` waits for ever. Puts the tokens of
    /// what is ready into `tokens`.
    pub(crate) fn wait(&self, timeout: Option<Duration>, tokens: &mut Vec<u64>) -> io::Result<()> {
        let interests = lock(&self.interests).clone();
        let fds: Vec<_> = interests
            .iter()
            .map(|(fd, interest)| {
                // SAFETY: it is removed from here before it is closed, by the thread that waits.
                (unsafe { BorrowedFd::borrow_raw(*fd) }, interest.ready)
            })
            .collect();
        tokens.clear();
        let ready = poll(&fds, timeout)?;
        let found = ready.iter().zip(interests.values());
        let found = found.filter(|(readiness, _)| readiness.is_ready);
        tokens.extend(found.map(|(_, interest)| interest.token));
        Ok(())
    }
}

/// Ends the wait of a [`Poller`] that it was added to.
#[derive(Debug)]
pub(crate) struct PollWaker {
    near: File,
    far: File,
}

impl PollWaker {
    pub(crate) fn new(poller: &Poller, token: u64) -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let far = File::from(OwnedFd::from(far));
        poller.add(far.as_fd(), token, Ready::ToRead)?;
        Ok(Self {
            near: OwnedFd::from(near).into(),
            far,
        })
    }

    pub(crate) fn wake(&self) {
        // If there is no room for the byte, others are there to end the wait.
        drop((&self.near).write(&[1]));
    }

    pub(crate) fn reset(&self) {
        drop((&self.far).read(&mut [0; 64]));
    }

    /// The descriptor that it uses.
    pub(crate) fn kept(&self) -> Kept {
        self.near.as_raw_fd()
    }
}
