//! Our ends of a child's stdin and stdout, on a runtime.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncWrite;

use crate::metrics::Meters;
use crate::process::{AsyncStdin, AsyncStdout, Handover, StdoutView};

/// Our ends of a child's stdin and stdout. What goes through them is counted.
#[derive(Debug)]
pub(crate) struct ChildStdio {
    /// `None` once it was closed.
    stdin: Option<AsyncStdin>,
    stdout: AsyncStdout,
    read_bytes_total: u64,
    meters: Arc<Meters>,
}

impl ChildStdio {
    pub(crate) const fn new(stdin: AsyncStdin, stdout: AsyncStdout, meters: Arc<Meters>) -> Self {
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
        let count = ready!(self.stdout.poll_read(cx, bytes))?;
        self.count(count);
        Poll::Ready(Ok(count))
    }

    /// Reads what waits in the pipe, by asking the system: the runtime may not have looked for a
    /// while. `WouldBlock` if nothing waits.
    pub(crate) fn read_now(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let outcome = self.stdout.read_now(chunk);
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

    pub(crate) fn stdout_view(&self) -> StdoutView<'_> {
        self.stdout.view()
    }

    /// Resolves at the end of stdout, where the system can tell it from data without reading.
    pub(crate) fn stdout_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stdout.ended()
    }

    /// The bare pipes, for the termination of the child.
    pub(crate) fn into_handover(self) -> Handover {
        let mut handover = Handover::new();
        if let Some(stdin) = self.stdin.and_then(AsyncStdin::into_end) {
            handover = handover.stdin(stdin, Vec::new());
        }
        // If a future still waits for its end, that is dropped soon.
        match self.stdout.into_end() {
            Some(stdout) => handover.stdout(stdout),
            None => handover,
        }
    }
}

/// How much room a read gets if the buffer has none.
const READ_BYTES: usize = 8 * 1024;
