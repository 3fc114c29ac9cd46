//! Our ends of the pipes to a child.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWrite;

use crate::process::{AsyncStdin, AsyncStdout, PipeEnd};

/// Where a connection writes to.
pub(super) trait StdinPipe: AsyncWrite + Send + Unpin {
    /// The bare pipe, for the ladder that ends the child.
    fn into_end(self: Box<Self>) -> Option<PipeEnd>;
}

impl StdinPipe for AsyncStdin {
    fn into_end(self: Box<Self>) -> Option<PipeEnd> {
        Self::into_end(*self)
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

impl StdoutPipe for AsyncStdout {
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.poll_read_on(cx, bytes)
    }

    fn read_now(&mut self, bytes: &mut BytesMut) -> io::Result<usize> {
        self.read_buf_now(bytes)
    }
}
