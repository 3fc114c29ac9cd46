//! Our ends of a child's stdin and stdout, for tasks.
//!
//! A task reads and writes by itself, into and out of the buffer of its pipe. That it can go on is
//! seen by the custodian's thread, which waits for all pipes.

use std::io;
use std::os::windows::io::OwnedHandle;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWrite;

use super::pipe_core::PipeCore;

/// Our end of a pipe to a child: a file descriptor on Unix, a handle on Windows. The handle is one of
/// an overlapped named pipe.
pub type OwnedPipe = OwnedHandle;

/// Our end of a pipe to a child, within this crate.
pub(crate) type PipeEnd = Arc<PipeCore>;

/// What is looked at of a child's stdout.
pub(crate) type StdoutView<'a> = &'a PipeCore;

/// Our end as users get it: not bound to any completion port.
pub(crate) fn expose(end: PipeEnd) -> Option<OwnedPipe> {
    let copy = end.handle().try_clone_to_owned();
    drop(end);
    copy.ok()
}

/// Our end as users give it back.
pub(crate) fn enclose(pipe: OwnedPipe) -> PipeEnd {
    Arc::new(PipeCore::new(pipe))
}

pub(crate) fn view(end: &PipeEnd) -> StdoutView<'_> {
    end
}

/// Whether bytes that it took are still to be written.
pub(crate) fn is_writing(end: &PipeEnd) -> bool {
    end.bytes_in_flight() > 0
}

/// Reads and writes of our ends always return at once.
pub(crate) const fn never_blocks(_: &PipeEnd) -> bool {
    true
}

/// Our end of a child's stdin. Dropping it closes it when all bytes that it took were written, or the
/// child has gone.
#[derive(Debug)]
pub(crate) struct AsyncStdin {
    /// `None` once it was taken out.
    end: Option<PipeEnd>,
}

impl AsyncStdin {
    /// Has its completions reported.
    pub(crate) fn new(end: PipeEnd) -> io::Result<Self> {
        end.bind()?;
        Ok(Self { end: Some(end) })
    }

    /// The bare pipe. What it took and has not written is written later.
    pub(crate) fn into_end(mut self) -> Option<PipeEnd> {
        self.end.take()
    }
}

impl Drop for AsyncStdin {
    fn drop(&mut self) {
        let Some(end) = self.end.take() else { return };
        end.listener.linger(Arc::<PipeCore>::clone(&end));
    }
}

impl AsyncWrite for AsyncStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(end) = &self.end else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        // Order: registered first, or the completion could come in between.
        end.listener.set_waker(cx.waker());
        match end.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            outcome => Poll::Ready(outcome),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Our end of a child's stdout. A clone is the same end.
#[derive(Debug, Clone)]
pub(crate) struct AsyncStdout(PipeEnd);

impl AsyncStdout {
    /// Has its completions reported.
    pub(crate) fn new(end: PipeEnd) -> io::Result<Self> {
        end.bind()?;
        Ok(Self(end))
    }

    /// Reads once into a slice, and returns how many bytes; zero at the end.
    pub(crate) fn poll_read_slice(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Order: registered first, or the completion could come in between.
        self.0.listener.set_waker(cx.waker());
        match self.0.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            outcome => Poll::Ready(outcome),
        }
    }

    /// Reads once into the room that there is, and returns how many bytes; zero at the end.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        // Order: registered first, or the completion could come in between.
        self.0.listener.set_waker(cx.waker());
        match self.read_buf_now(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            outcome => Poll::Ready(outcome),
        }
    }

    /// The same, for a reader that reads on and on.
    pub(crate) fn poll_read_on(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        self.poll_read(cx, bytes)
    }

    /// Reads what waits in the pipe. `WouldBlock` if nothing waits.
    pub(crate) fn read_now(&self, chunk: &mut [u8]) -> io::Result<usize> {
        self.0.read(chunk)
    }

    /// The same, into the room that there is.
    pub(crate) fn read_buf_now(&self, bytes: &mut BytesMut) -> io::Result<usize> {
        let (from, room) = (bytes.len(), bytes.capacity());
        debug_assert!(from < room, "nothing read would pass for the end");
        bytes.resize(room, 0);
        let outcome = self.0.read(&mut bytes[from..]);
        bytes.truncate(from + outcome.as_ref().copied().unwrap_or(0));
        outcome
    }

    /// Never resolves: this system cannot tell the end of a pipe from data without reading. The
    /// exit of the child is what remains.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }

    /// What [`Root::look`](super::Root::look) looks at.
    pub(crate) fn view(&self) -> StdoutView<'_> {
        &self.0
    }

    /// The same pipe for the custodian. Other clones may hold it for a moment longer.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) fn to_end(&self) -> Option<PipeEnd> {
        Some(Arc::clone(&self.0))
    }

    /// The same, without a copy.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature on every system"
    )]
    pub(crate) fn into_end(self) -> Option<PipeEnd> {
        Some(self.0)
    }
}
