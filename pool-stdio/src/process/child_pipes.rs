//! Our ends of a child's pipes on a runtime, for programs that read and write them by themselves.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::sys::{AsyncStdin, AsyncStdout, OwnedPipe, PipeEnd, enclose};

/// Our end of a child's stdin, as a task writes it. The same type on every system.
///
/// Dropping it closes it, after what it took. [`Child::return_input`](crate::Child::return_input) gives it back
/// for the termination.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{ChildInput, ChildOutput, CommandSpec, Stop};
/// use std::future::poll_fn;
/// use tokio::io::AsyncWriteExt;
///
/// let mut child = CommandSpec::new("cat").build()?.spawn().await?;
/// let mut stdin = ChildInput::new(child.take_stdin().expect("it was not taken"))?;
/// let stdout = ChildOutput::new(child.take_stdout().expect("it was not taken"))?;
/// stdin.write_all(b"hello").await?;
/// let mut bytes = [0; 16];
/// let count = poll_fn(|cx| stdout.poll_read(cx, &mut bytes)).await?;
/// assert_eq!(&bytes[..count], b"hello");
///
/// child.return_input(stdin, b", and good-bye".to_vec());
/// let end = child.terminate(Stop::Orderly).await;
/// assert_eq!((end.unwritten_bytes, end.discarded_bytes), (0, 0), "stdout was taken");
/// # Ok(())
/// # }
/// ```
pub struct ChildInput(AsyncStdin);

impl ChildInput {
    /// Registers a pipe with the present runtime. It must be non-blocking, as `take_stdin` gives it.
    ///
    /// # Errors
    ///
    /// If the system refuses that.
    ///
    /// # Panics
    ///
    /// On Unix, outside of a runtime with I/O.
    pub fn new(pipe: OwnedPipe) -> io::Result<Self> {
        AsyncStdin::new(enclose(pipe)).map(Self)
    }

    /// Takes the pipe from the runtime, if that is possible.
    pub(super) fn into_end(self) -> Option<PipeEnd> {
        self.0.into_end()
    }
}

impl AsyncWrite for ChildInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl fmt::Debug for ChildInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildInput").finish_non_exhaustive()
    }
}

/// Our end of a child's stdout or stderr, as a task reads it. The same type on every system. The example
/// is that of [`ChildInput`].
pub struct ChildOutput(AsyncStdout);

impl ChildOutput {
    /// Registers a pipe with the present runtime. It must be non-blocking, as `take_stdout` gives it.
    ///
    /// # Errors
    ///
    /// If the system refuses that.
    ///
    /// # Panics
    ///
    /// On Unix, outside of a runtime with I/O.
    pub fn new(pipe: OwnedPipe) -> io::Result<Self> {
        AsyncStdout::new(enclose(pipe)).map(Self)
    }

    /// Reads once, and returns how many bytes; zero at the end. One task at a time is woken.
    ///
    /// # Errors
    ///
    /// If the pipe cannot be read.
    pub fn poll_read(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read_slice(cx, bytes)
    }

    /// Reads what waits in the pipe at this moment.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing waits, and whatever keeps the pipe from being
    /// read.
    pub fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read_now(bytes)
    }
}

impl fmt::Debug for ChildOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildOutput").finish_non_exhaustive()
    }
}
