//! What a one-shot child gives.

use bytes::Bytes;

use crate::process::{Drain, Exit, StderrTail};

/// What a run has given.
///
/// How the child exited is data: a code other than zero is not an error by itself, and means what
/// the tool says it means.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, Drain, OneShotConnector};
///
/// let tool = CommandSpec::new("sh").args(["-c", "sort; echo done >&2; exit 1"]);
/// let output = OneShotConnector::new(tool)?.pool().build()?.acquire().await?.run("b\na\n").await?;
/// assert_eq!(output.stdout, "a\nb\n");
/// assert_eq!(output.stderr.text, "done\n");
/// assert_eq!(output.exit.status().unwrap().code(), Some(1), "no error by itself");
/// assert_eq!((output.unwritten_bytes, output.drain), (0, Drain::Complete));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Output {
    /// How the child exited.
    pub exit: Exit,
    /// The beginning of what it wrote to stdout, up to the limit. It is all of it if
    /// [`stdout_bytes_total`](Self::stdout_bytes_total) is its length.
    pub stdout: Bytes,
    /// How many bytes it wrote to stdout in all. Those beyond the limit were read and dropped, so
    /// that a full pipe did not stop the child.
    pub stdout_bytes_total: u64,
    /// The end of what it wrote to stderr, up to the same limit.
    pub stderr: StderrTail,
    /// How many bytes of the input were not written, because the child had stopped reading. A tool
    /// may well stop early, as `head` does. Of the bytes that were written it may have left some in
    /// the pipe, unread.
    pub unwritten_bytes: usize,
    /// Whether stdout was read to its end. If not, a process that the child has left behind holds
    /// it open, and may write more.
    pub drain: Drain,
}
