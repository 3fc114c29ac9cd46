//! Our ends of a child's stdin and stdout, on a runtime.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::metrics::Meters;
use crate::process::{Handover, read};

/// Our ends of a child's stdin and stdout. What goes through them is counted.
#[derive(Debug)]
pub(crate) struct ChildStdio {
    /// `None` once it was closed.
    stdin: Option<Sender>,
    /// Shared with the future that waits for its end.
    stdout: Arc<Receiver>,
    read_bytes_total: u64,
    meters: Arc<Meters>,
}

impl ChildStdio {
    pub(crate) const fn new(stdin: Sender, stdout: Arc<Receiver>, meters: Arc<Meters>) -> Self {
        Self {
            stdin: Some(stdin),
            stdout,
            read_bytes_total: 0,
            meters,
        }
    }

    pub(crate) const fn is_stdin_open(&self) -> bool {
        self.stdin.is_some()
    }

    /// Closes stdin: the child sees the end of its input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Writes once. After a broken pipe stdin is closed.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(stdin) = &mut self.stdin else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        match ready!(Pin::new(stdin).poll_write(cx, bytes)) {
            Ok(count) => {
                self.meters.written(count);
                Poll::Ready(Ok(count))
            }
            Err(error) => {
                // After any other error it stays open, or the child would see the end of its input.
                if error.kind() == io::ErrorKind::BrokenPipe {
                    self.stdin = None;
                }
                Poll::Ready(Err(error))
            }
        }
    }

    /// Reads once, and returns how many bytes; zero at the end of stdout.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        if bytes.len() == bytes.capacity() {
            bytes.reserve(if bytes.is_empty() { READ_BYTES } else { 1 });
        }
        loop {
            ready!(self.stdout.poll_read_ready(cx))?;
            match self.stdout.try_read_buf(bytes) {
                Ok(count) => {
                    self.count(count);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads what waits in the pipe, by asking the system: the runtime may not have looked for a
    /// while. `WouldBlock` if nothing waits.
    pub(crate) fn read_now(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let mut has_asked = false;
        // Through the runtime if it believes that there is something to read: it then learns
        // that there is nothing, and the read that awaits the reply does not have to find out.
        let outcome = self.stdout.try_io(|| {
            has_asked = true;
            read(self.stdout.as_fd(), chunk)
        });
        let outcome = match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !has_asked => {
                read(self.stdout.as_fd(), chunk)
            }
            outcome => outcome,
        };
        if let Ok(count) = &outcome {
            self.count(*count);
        }
        outcome
    }

    fn count(&mut self, bytes: usize) {
        self.read_bytes_total = self.read_bytes_total.saturating_add(bytes as u64);
        self.meters.read(bytes);
    }

    /// How many bytes were read in all.
    pub(crate) const fn read_bytes_total(&self) -> u64 {
        self.read_bytes_total
    }

    pub(crate) fn stdout_fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }

    /// Resolves at the end of stdout. Data does not wake it, so it costs a request nothing: nobody
    /// sends urgent data through a pipe, but the end of a pipe wakes every kind of reader.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn stdout_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let stdout = Arc::clone(&self.stdout);
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
    pub(crate) fn stdout_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }

    /// The bare descriptors, for the termination of the child.
    pub(crate) fn into_handover(self) -> Handover {
        let mut handover = Handover::new();
        if let Some(stdin) = self.stdin.and_then(|one| one.into_nonblocking_fd().ok()) {
            handover = handover.stdin(stdin, Vec::new());
        }
        let stdout = match Arc::try_unwrap(self.stdout) {
            Ok(stdout) => stdout.into_nonblocking_fd().ok(),
            // A future still waits for its end, and is dropped soon.
            Err(shared) => shared.as_fd().try_clone_to_owned().ok(),
        };
        match stdout {
            Some(stdout) => handover.stdout(stdout),
            None => handover,
        }
    }
}

/// How much room a read gets if the buffer has none.
const READ_BYTES: usize = 8 * 1024;
