//! One request per child, for tools that read their input to its end, answer, and exit.
//!
//! Decides when such a tool is done: when it has exited *and* its stdout is at its end; or, if
//! something it left behind holds the stdout open, when the drain's limits are met.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pool_core::{BoxFuture, ConnectionId};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{ChildReport, Stage, StdioError};
use crate::exclusive::{Birth, Pipes};
use crate::metrics::{Live, Meters};
use crate::process::{
    Child, Drain, Exit, ExitWait, LadderTimes, Liveness, StderrTail, Stop, Termination,
};

/// A child that serves one request: it is given its input, and what it makes of that is collected.
///
/// Opened by a [`OneShotConnector`](crate::OneShotConnector), whose pool starts children before
/// they are needed. See there for when that helps.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, OneShotConnector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = OneShotConnector::new(CommandSpec::new("sort"))?.pool().min_idle(1).build()?;
/// let output = pool.acquire().await?.run("pear\napple\n").await?;
/// assert_eq!(output.stdout, "apple\npear\n");
/// assert_eq!(output.exit.status().and_then(|status| status.code()), Some(0));
/// # Ok(())
/// # }
/// ```
pub struct OneShot {
    child: Child,
    pipes: Pipes,
    exited: ExitWait,
    meters: Arc<Meters>,
    live: Live,
    id: ConnectionId,
    wanted: Instant,
    limits: Limits,
    state: State,
}

/// What is allowed to a child of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) output_bytes_max: usize,
    pub(crate) times: LadderTimes,
}

#[derive(Debug)]
enum State {
    /// It has not been asked anything.
    Fresh,
    /// It has been. What is known of that stays here when the future is dropped.
    Asked(Progress),
}

#[derive(Debug)]
struct Progress {
    begun: Instant,
    input_bytes: usize,
    written: usize,
    stdout: BytesMut,
    stdout_bytes_total: u64,
    is_at_end: bool,
    is_done: bool,
}

/// What came of a request.
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
    /// The beginning of what it wrote to stdout, up to the limit.
    pub stdout: Bytes,
    /// How much that was in all. What is beyond the limit was read and thrown away, so that the
    /// child was not kept from going on.
    pub stdout_bytes_total: u64,
    /// The end of what it wrote to stderr, up to the same limit.
    pub stderr: StderrTail,
    /// How much of the input was not written, since it had stopped reading. A tool may well stop
    /// early, as `head` does. Of the rest it may have left some in the pipe, unread.
    pub unwritten_bytes: usize,
    /// Whether stdout was read to its end. If not, something that the child has left behind holds
    /// it open, and may have had more to say.
    pub drain: Drain,
}

impl Output {
    /// Whether [`stdout`](Self::stdout) is less than all that was written to it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_stdio::{CommandSpec, OneShotConnector};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cat = OneShotConnector::with_output_bytes_max(CommandSpec::new("cat"), 4)?;
    /// let output = cat.pool().build()?.acquire().await?.run("many bytes").await?;
    /// assert_eq!(output.stdout, "many");
    /// assert!(output.is_stdout_truncated());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn is_stdout_truncated(&self) -> bool {
        self.stdout_bytes_total > self.stdout.len() as u64
    }
}

impl OneShot {
    pub(crate) fn open(birth: Birth, limits: Limits) -> Result<Self, StdioError> {
        let Birth {
            mut child,
            id,
            wanted,
            settings,
        } = birth;
        let live = Live::new(Arc::clone(&settings.meters), Instant::now() - wanted);
        let pipes = match Pipes::register(&mut child, Arc::clone(&settings.meters)) {
            Ok(pipes) => pipes,
            Err(source) => {
                let report = ChildReport::of(&child, Stage::Idle, Some(wanted));
                return Err(StdioError::Register { source, report });
            }
        };
        Ok(Self {
            exited: child.exit_wait(),
            child,
            pipes,
            meters: settings.meters,
            live,
            id,
            wanted,
            limits,
            state: State::Fresh,
        })
    }

    /// Writes the input, closes stdin, and collects what the child writes until it has exited.
    ///
    /// Input and output are polled together, so neither can block the other, whatever their size. A
    /// child that had exited before it was asked has an output as well, and has read nothing. A
    /// child that closes its stdout and lives on is waited for:
    /// [`run_within`](Self::run_within) bounds that.
    ///
    /// # Errors
    ///
    /// [`Broken`](StdioError::Broken) if it was asked before, [`Read`](StdioError::Read) if its
    /// stdout cannot be read. Neither a failed write nor an exit code is an error.
    ///
    /// # Cancel safety
    ///
    /// The child cannot be asked again, whether or not the future is dropped. A pool kills it when
    /// the lease is.
    pub async fn run(&mut self, input: impl AsRef<[u8]> + Send) -> Result<Output, StdioError> {
        self.meters.request_begun();
        let input = input.as_ref();
        let outcome = match self.begin(input.len()) {
            Ok(()) => self.collect(input).await,
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(_) if self.meters.is_recorded() => self.meters.request_answered(self.elapsed()),
            Ok(_) => {}
            Err(error) => self.meters.request_failed(error),
        }
        outcome
    }

    /// The same, within a time.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`TimedOut`](StdioError::TimedOut), with how the output begins.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_stdio::{CommandSpec, OneShotConnector, StdioError};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let slow = CommandSpec::new("sh").args(["-c", "echo thinking; exec sleep 60"]);
    /// let pool = OneShotConnector::new(slow)?.pool().build()?;
    /// let mut child = pool.acquire().await?;
    /// let error = child.run_within("", Duration::from_millis(100)).await.unwrap_err();
    /// assert!(matches!(error, StdioError::TimedOut { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_within(
        &mut self,
        input: impl AsRef<[u8]> + Send,
        limit: Duration,
    ) -> Result<Output, StdioError> {
        match timeout(limit, self.run(input)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let report = self.report();
                let error = StdioError::TimedOut { limit, report };
                self.meters.request_failed(&error);
                Err(error)
            }
        }
    }

    /// The child's process id, which is the id of its process group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The number that the pool knows it by.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// How long ago the child was wanted.
    #[must_use]
    pub fn age(&self) -> Duration {
        Instant::now() - self.wanted
    }

    /// How the child exited, if it has.
    #[must_use]
    pub fn try_wait(&self) -> Option<Exit> {
        self.child.try_wait()
    }

    pub(crate) fn is_alive(&self) -> bool {
        // What it says before it is asked is a part of its output.
        self.child.liveness(None) != Liveness::Exited
    }

    /// Whether it can be asked, or was asked and has answered.
    pub(crate) const fn is_clean(&self) -> bool {
        match &self.state {
            State::Fresh => true,
            State::Asked(progress) => progress.is_done,
        }
    }

    pub(crate) fn died(&self) -> BoxFuture<'static, ()> {
        let exited = self.child.exit_wait();
        Box::pin(async move {
            exited.await;
        })
    }

    pub(crate) async fn terminate(self, stop: Stop) -> Termination {
        let Self {
            child,
            pipes,
            live,
            state,
            ..
        } = self;
        // The end of its input would be an empty request to one that was never asked.
        let stop = match state {
            State::Fresh => Stop::Force,
            State::Asked(_) => stop,
        };
        let termination = child.terminate_with(stop, pipes.into_handover()).await;
        live.end(&termination);
        termination
    }

    fn begin(&mut self, input_bytes: usize) -> Result<(), StdioError> {
        if !matches!(self.state, State::Fresh) {
            let report = self.report();
            return Err(StdioError::Broken { report });
        }
        self.state = State::Asked(Progress {
            begun: Instant::now(),
            input_bytes,
            written: 0,
            stdout: BytesMut::new(),
            stdout_bytes_total: 0,
            is_at_end: false,
            is_done: false,
        });
        Ok(())
    }

    async fn collect(&mut self, input: &[u8]) -> Result<Output, StdioError> {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = |source, this: &Self| {
            let report = this.report();
            StdioError::Read { source, report }
        };
        let exit = match poll_fn(|cx| self.poll_exit(cx, input, &mut chunk)).await {
            Ok(exit) => exit,
            Err(source) => return Err(read(source, self)),
        };
        self.pipes.stdin = None;
        let drain = match self.drain(&mut chunk).await {
            Ok(drain) => drain,
            Err(source) => return Err(read(source, self)),
        };
        let State::Asked(progress) = &mut self.state else {
            unreachable!("it was asked");
        };
        progress.is_done = true;
        Ok(Output {
            exit,
            stdout: std::mem::take(&mut progress.stdout).freeze(),
            stdout_bytes_total: progress.stdout_bytes_total,
            stderr: self.child.stderr_tail(),
            unwritten_bytes: progress.input_bytes - progress.written,
            drain,
        })
    }

    /// Writes and reads until the child has exited.
    fn poll_exit(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        chunk: &mut BytesMut,
    ) -> Poll<io::Result<Exit>> {
        self.poll_write(cx, input);
        if let Poll::Ready(Err(error)) = self.poll_read(cx, chunk) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.exited).poll(cx).map(Ok)
    }

    /// Writes what is left of the input, then closes stdin. So does a child that will not have it.
    /// What cannot be written for want of a runtime stays, and reading says why.
    fn poll_write(&mut self, cx: &mut Context<'_>, input: &[u8]) {
        let State::Asked(progress) = &mut self.state else {
            return;
        };
        while self.pipes.stdin.is_some() {
            let rest = &input[progress.written..];
            if rest.is_empty() {
                self.pipes.stdin = None;
                return;
            }
            match self.pipes.poll_write(cx, rest) {
                Poll::Ready(Ok(count)) if count > 0 => progress.written += count,
                Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => return,
                Poll::Ready(Ok(_) | Err(_)) => self.pipes.stdin = None,
                Poll::Pending => return,
            }
        }
    }

    /// Reads until the end of stdout.
    fn poll_read(&mut self, cx: &mut Context<'_>, chunk: &mut BytesMut) -> Poll<io::Result<()>> {
        let State::Asked(progress) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        while !progress.is_at_end {
            chunk.clear();
            let count = std::task::ready!(self.pipes.poll_read(cx, chunk))?;
            let room = self.limits.output_bytes_max - progress.stdout.len();
            progress.stdout.extend_from_slice(&chunk[..count.min(room)]);
            progress.stdout_bytes_total += count as u64;
            progress.is_at_end = count == 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on after the exit: what the child wrote is all there, but its descendants may write.
    async fn drain(&mut self, chunk: &mut BytesMut) -> io::Result<Drain> {
        let LadderTimes {
            drain_timeout,
            drain_idle,
            ..
        } = self.limits.times;
        let until = Instant::now() + drain_timeout;
        loop {
            let before = self.stdout_bytes_total();
            let idle = until.min(Instant::now() + drain_idle);
            let read = poll_fn(|cx| self.poll_read_some(cx, chunk, before));
            match timeout_at(idle, read).await {
                Ok(outcome) => outcome?,
                Err(_) if idle == until => return Ok(Drain::TimedOut),
                Err(_) => return Ok(Drain::Idle),
            }
            if matches!(&self.state, State::Asked(progress) if progress.is_at_end) {
                return Ok(Drain::Complete);
            }
            if Instant::now() >= until {
                return Ok(Drain::TimedOut);
            }
        }
    }

    /// Ready at the end of stdout, or when there is more than there was.
    fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut BytesMut,
        before: u64,
    ) -> Poll<io::Result<()>> {
        match self.poll_read(cx, chunk) {
            Poll::Pending if self.stdout_bytes_total() > before => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
            Poll::Ready(outcome) => Poll::Ready(outcome),
        }
    }

    fn stdout_bytes_total(&self) -> u64 {
        match &self.state {
            State::Fresh => 0,
            State::Asked(progress) => progress.stdout_bytes_total,
        }
    }

    fn elapsed(&self) -> Duration {
        match &self.state {
            State::Fresh => Duration::ZERO,
            State::Asked(progress) => Instant::now() - progress.begun,
        }
    }

    fn report(&self) -> Box<ChildReport> {
        let State::Asked(progress) = &self.state else {
            return ChildReport::of(&self.child, Stage::Idle, None);
        };
        let stage = if progress.written < progress.input_bytes {
            Stage::Writing
        } else {
            Stage::Reading
        };
        let mut report = ChildReport::of(&self.child, stage, Some(progress.begun));
        report.is_input_ended = self.pipes.stdin.is_none();
        report
            .with_request(progress.input_bytes, progress.written)
            .with_partial(&progress.stdout, progress.stdout.len())
    }
}

impl fmt::Debug for OneShot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShot")
            .field("id", &self.id)
            .field("pid", &self.child.pid())
            .finish_non_exhaustive()
    }
}

/// As much as a pipe holds by default.
const CHUNK_BYTES: usize = 64 * 1024;
