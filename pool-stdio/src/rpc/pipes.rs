//! Our ends of the pipes to a child.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::process::read_buf;

/// Where a connection writes to.
pub(super) trait StdinPipe: AsyncWrite + Send + Unpin {
    /// The bare descriptor, for the ladder that ends the child.
    fn into_fd(self: Box<Self>) -> Option<OwnedFd>;
}

impl StdinPipe for Sender {
    fn into_fd(self: Box<Self>) -> Option<OwnedFd> {
        (*self).into_nonblocking_fd().ok()
    }
}

/// Where a connection reads from.
pub(super) trait StdoutPipe: Send + 'static {
    /// Reads once, and returns how many bytes; zero at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Reads once if the system has something, even if the runtime does not know of it.
    fn read_now(&mut self, _bytes: &mut BytesMut) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl StdoutPipe for Arc<Receiver> {
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let room = bytes.capacity() - bytes.len();
            let mut emptied_by = None;
            let outcome = self.try_io(|| {
                let count = read_buf(self.as_fd(), bytes)?;
                if (1..room).contains(&count) {
                    // The read left room, so the pipe was empty. Report that to the runtime from
                    // inside of `try_io`, which still notices bytes that came meanwhile. It saves
                    // the read that would find nothing.
                    emptied_by = Some(count);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(count)
            });
            match (outcome, emptied_by) {
                (_, Some(count)) => return Poll::Ready(Ok(count)),
                (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => {}
                (outcome, None) => return Poll::Ready(outcome),
            }
        }
    }

    fn read_now(&mut self, bytes: &mut BytesMut) -> io::Result<usize> {
        read_buf(self.as_fd(), bytes)
    }
}
