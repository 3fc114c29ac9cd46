//! A run whose input and output are streams.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::collector::Collector;
use super::run::Run;

/// A run whose stdin is written and whose stdout is read as a stream, from
/// [`OneShot::stream`](crate::OneShot::stream).
///
/// Reading ends where a collected run ends: at the end of stdout, or, if a process that the child
/// left behind holds it open, when the limits of the [drain](crate::LadderTimes) are reached after
/// the exit. Shutting down the writing half closes stdin.
///
/// **Read while you write**, for example in two tasks after [`tokio::io::split`]: a child whose
/// output is not read stops reading its input when the pipe is full.
///
/// # Cancel safety
///
/// If it is dropped before [`finish`](Self::finish) is done, the child cannot be run again, and a
/// pool kills it.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, OneShotConnector};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = OneShotConnector::new(CommandSpec::new("sort"))?.pool().build()?;
/// let mut child = pool.acquire().await?;
/// let mut sort = child.stream()?;
/// sort.write_all(b"pear\n").await?;
/// sort.write_all(b"apple\n").await?;
/// sort.shutdown().await?;
///
/// let mut sorted = String::new();
/// sort.read_to_string(&mut sorted).await?;
/// assert_eq!(sorted, "apple\npear\n");
/// let output = sort.finish().await?;
/// assert_eq!(output.exit.status().and_then(|status| status.code()), Some(0));
/// # Ok(())
/// # }
/// ```
pub struct OneShotStream<'c> {
    collector: &'c mut Collector,
    /// Output that did not fit into the reader's buffer.
    unread: BytesMut,
}

impl<'c> OneShotStream<'c> {
    /// Over a run that has begun.
    pub(super) fn new(collector: &'c mut Collector) -> Self {
        Self {
            collector,
            unread: BytesMut::new(),
        }
    }

    /// Closes stdin, waits until the child has ended, and returns how it did.
    ///
    /// [`Output::stdout`](crate::Output::stdout) has what was not read of the output, up to the
    /// connector's limit; `stdout_bytes_total` counts all of it.
    ///
    /// # Errors
    ///
    /// [`Read`](crate::StdioError::Read), [`TimedOut`](crate::StdioError::TimedOut), as of
    /// [`OneShot::run`](crate::OneShot::run).
    pub fn finish(self) -> Run<'c, [u8; 0]> {
        self.collector.close_stdin();
        self.collector.keep(&self.unread);
        Run::rest_of(self.collector)
    }
}

/// At the end of the output zero bytes are read.
impl AsyncRead for OneShotStream<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            this.unread.clear();
            ready!(this.collector.poll_output(cx, &mut this.unread))?;
        }
        let count = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..count]);
        this.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// After the child has closed its stdin, or has exited, writing fails with
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe).
impl AsyncWrite for OneShotStream<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        input: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().collector.poll_write(cx, input)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().collector.close_stdin();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for OneShotStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShotStream")
            .field("pid", &self.collector.child().pid())
            .finish_non_exhaustive()
    }
}
