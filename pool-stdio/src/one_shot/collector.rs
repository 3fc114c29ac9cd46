//! Gives a one-shot child its input and collects its output.
//!
//! Decides when such a child is done: when it has exited *and* its stdout is at its end; or, if a
//! process that it left behind holds the stdout open, when the limits of the drain are reached.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use super::output::Output;
use crate::error::{ChildReport, Stage, StdioError};
use crate::launch::ChildStdio;
use crate::metrics::Meters;
use crate::process::{Child, Drain, Exit, ExitWait, LadderTimes, Stop, Termination};

/// A child, its pipes, and how far its only run has come.
#[derive(Debug)]
pub(super) struct Collector {
    child: Child,
    stdio: ChildStdio,
    exited: ExitWait,
    meters: Arc<Meters>,
    limits: CollectLimits,
    state: State,
}

/// How much of the output is kept, and how long it is waited for after the exit.
#[derive(Debug, Clone, Copy)]
pub(super) struct CollectLimits {
    pub(super) output_bytes_max: usize,
    pub(super) times: LadderTimes,
}

#[derive(Debug)]
enum State {
    /// It was not run yet.
    Fresh,
    /// It was run. What is known of the run stays here when its future is dropped.
    Run(RunProgress),
}

#[derive(Debug)]
struct RunProgress {
    begun: Instant,
    input_bytes: usize,
    written: usize,
    stdout: BytesMut,
    stdout_bytes_total: u64,
    is_at_end: bool,
    is_done: bool,
}

impl Collector {
    pub(super) fn new(
        child: Child,
        stdio: ChildStdio,
        meters: Arc<Meters>,
        limits: CollectLimits,
    ) -> Self {
        Self {
            exited: child.exit_wait(),
            child,
            stdio,
            meters,
            limits,
            state: State::Fresh,
        }
    }

    pub(super) const fn child(&self) -> &Child {
        &self.child
    }

    /// Whether it can be run, or was run to its end.
    pub(super) const fn is_clean(&self) -> bool {
        match &self.state {
            State::Fresh => true,
            State::Run(progress) => progress.is_done,
        }
    }

    /// Begins the end of the child; the future resolves when it has ended.
    pub(super) fn terminate(
        self,
        stop: Stop,
    ) -> impl Future<Output = Termination> + Send + 'static {
        // The end of its input would be an empty request to a child that was not run yet.
        let stop = match self.state {
            State::Fresh => Stop::Force,
            State::Run(_) => stop,
        };
        self.child.terminate_with(stop, self.stdio.into_handover())
    }

    pub(super) async fn run(&mut self, input: &[u8]) -> Result<Output, StdioError> {
        self.meters.request_begun();
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

    /// The error for a run that was cancelled when its time was over.
    pub(super) fn timed_out(&self, limit: Duration) -> StdioError {
        let report = self.report();
        let error = StdioError::TimedOut { limit, report };
        self.meters.request_failed(&error);
        error
    }

    fn begin(&mut self, input_bytes: usize) -> Result<(), StdioError> {
        if !matches!(self.state, State::Fresh) {
            let report = self.report();
            return Err(StdioError::Broken { report });
        }
        self.state = State::Run(RunProgress {
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
        self.stdio.close_stdin();
        let drain = match self.drain(&mut chunk).await {
            Ok(drain) => drain,
            Err(source) => return Err(read(source, self)),
        };
        let State::Run(progress) = &mut self.state else {
            unreachable!("begin() has set the state");
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

    /// Writes the rest of the input, then closes stdin. Stdin is closed too if the child has closed
    /// its end. If the runtime has gone, nothing is written, and reading returns the error.
    fn poll_write(&mut self, cx: &mut Context<'_>, input: &[u8]) {
        let State::Run(progress) = &mut self.state else {
            return;
        };
        while self.stdio.is_stdin_open() {
            let rest = &input[progress.written..];
            if rest.is_empty() {
                self.stdio.close_stdin();
                return;
            }
            match self.stdio.poll_write(cx, rest) {
                Poll::Ready(Ok(count)) if count > 0 => progress.written += count,
                Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => return,
                Poll::Ready(Ok(_) | Err(_)) => self.stdio.close_stdin(),
                Poll::Pending => return,
            }
        }
    }

    /// Reads until the end of stdout.
    fn poll_read(&mut self, cx: &mut Context<'_>, chunk: &mut BytesMut) -> Poll<io::Result<()>> {
        let State::Run(progress) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        while !progress.is_at_end {
            chunk.clear();
            let count = std::task::ready!(self.stdio.poll_read(cx, chunk))?;
            let room = self.limits.output_bytes_max - progress.stdout.len();
            progress.stdout.extend_from_slice(&chunk[..count.min(room)]);
            progress.stdout_bytes_total += count as u64;
            progress.is_at_end = count == 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on after the exit. All that the child wrote is in the pipe by now, but a process that
    /// it left behind may still write.
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
            if matches!(&self.state, State::Run(progress) if progress.is_at_end) {
                return Ok(Drain::Complete);
            }
            if Instant::now() >= until {
                return Ok(Drain::TimedOut);
            }
        }
    }

    /// Ready at the end of stdout, or when more was read than `before`.
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
            State::Run(progress) => progress.stdout_bytes_total,
        }
    }

    fn elapsed(&self) -> Duration {
        match &self.state {
            State::Fresh => Duration::ZERO,
            State::Run(progress) => Instant::now() - progress.begun,
        }
    }

    fn report(&self) -> Box<ChildReport> {
        let State::Run(progress) = &self.state else {
            return ChildReport::of(&self.child, Stage::Idle, None);
        };
        let stage = if progress.written < progress.input_bytes {
            Stage::Writing
        } else {
            Stage::Reading
        };
        let mut report = ChildReport::of(&self.child, stage, Some(progress.begun));
        report.is_input_ended = !self.stdio.is_stdin_open();
        report
            .with_request(progress.input_bytes, progress.written)
            .with_partial(&progress.stdout, progress.stdout.len())
    }
}

/// As much as a pipe holds by default.
const CHUNK_BYTES: usize = 64 * 1024;
