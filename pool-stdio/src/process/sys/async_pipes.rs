//! Our ends of a child's stdin and stdout on a runtime, on Unix.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::unix::{PipeEnd, StdoutView, read, read_buf};

/// Our end of a child's stdin.
#[derive(Debug)]
pub(crate) struct AsyncStdin(Sender);

impl AsyncStdin {
    /// Registers it with the present runtime. The process layer made it a pipe, and non-blocking.
    pub(crate) fn new(end: PipeEnd) -> io::Result<Self> {
        Sender::from_owned_fd_unchecked(end).map(Self)
    }

    /// Takes it from the runtime.
    pub(crate) fn into_end(self) -> Option<PipeEnd> {
        self.0.into_nonblocking_fd().ok()
    }
}

impl AsyncWrite for AsyncStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Our end of a child's stdout. A clone is the same end.
#[derive(Debug, Clone)]
pub(crate) struct AsyncStdout(Arc<Receiver>);

impl AsyncStdout {
    /// Registers it with the present runtime. The process layer made it a pipe, and non-blocking.
    pub(crate) fn new(end: PipeEnd) -> io::Result<Self> {
        let receiver = Receiver::from_owned_fd_unchecked(end)?;
        Ok(Self(Arc::new(receiver)))
    }

    /// Reads once into a slice, and returns how many bytes; zero at the end.
    pub(crate) fn poll_read_slice(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Reads once into the room that there is, and returns how many bytes; zero at the end.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// The same, for a reader that reads on and on: a read that leaves room spares the next one, which
    /// would find nothing.
    pub(crate) fn poll_read_on(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let room = bytes.capacity() - bytes.len();
            let mut emptied_by = None;
            let outcome = self.0.try_io(|| {
                let count = read_buf(self.0.as_fd(), bytes)?;
                if (1..room).contains(&count) {
                    // The read left room, so the pipe was empty. Report that to the runtime from
                    // inside of `try_io`, which still notices bytes that came meanwhile.
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

    /// Reads what waits in the pipe, by asking the system: the runtime may not have looked for a
    /// while. `WouldBlock` if nothing waits.
    pub(crate) fn read_now(&self, chunk: &mut [u8]) -> io::Result<usize> {
        let mut has_asked = false;
        // Through the runtime if it believes that there is something to read: it then learns
        // that there is nothing, and the read that awaits the reply does not have to find out.
        let outcome = self.0.try_io(|| {
            has_asked = true;
            read(self.0.as_fd(), chunk)
        });
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !has_asked => {
                read(self.0.as_fd(), chunk)
            }
            outcome => outcome,
        }
    }

    /// The same, past the runtime, into the room that there is.
    pub(crate) fn read_buf_now(&self, bytes: &mut BytesMut) -> io::Result<usize> {
        read_buf(self.0.as_fd(), bytes)
    }

    /// Resolves at the end of stdout. Data does not wake it, so it costs a request nothing: nobody
    /// sends urgent data through a pipe, but the end of a pipe wakes every kind of reader.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let stdout = Arc::clone(&self.0);
        async move {
            if stdout.ready(tokio::io::Interest::PRIORITY).await.is_err() {
                // The runtime has gone, and the task that waits here with it.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Never resolves: this system cannot tell the end of a pipe from data without reading. The
    /// exit of the child is what remains.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }

    /// What [`Root::look`](super::Root::look) looks at.
    pub(crate) fn view(&self) -> StdoutView<'_> {
        self.0.as_fd()
    }

    /// The same pipe without the runtime. Other clones may hold it for a moment longer.
    pub(crate) fn to_end(&self) -> Option<PipeEnd> {
        self.0.as_fd().try_clone_to_owned().ok()
    }

    /// Takes it from the runtime, unless another clone holds it: then as [`to_end`](Self::to_end).
    pub(crate) fn into_end(self) -> Option<PipeEnd> {
        match Arc::try_unwrap(self.0) {
            Ok(receiver) => receiver.into_nonblocking_fd().ok(),
            Err(shared) => shared.as_fd().try_clone_to_owned().ok(),
        }
    }

    #[cfg(test)]
    pub(crate) fn receiver(&self) -> &Receiver {
        &self.0
    }
}
