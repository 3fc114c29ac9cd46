//! Gives a one-shot child its input and collects its output.
//!
//! Decides when such a child is done: when it has exited *and* its stdout is at its end; or, if a
//! process that it left behind holds the stdout open, when the limits of the drain are reached.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep_until};

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
    progress: RunProgress,
}

/// How much of the output is kept, and how long it is waited for after the exit.
#[derive(Debug, Clone, Copy)]
pub(super) struct CollectLimits {
    pub(super) output_bytes_max: usize,
    pub(super) times: LadderTimes,
}

/// How far a run has come. It stays when the future of the run is dropped.
#[derive(Debug, Default)]
struct RunProgress {
    /// `None` before the run.
    begun: Option<Instant>,
    input_bytes: usize,
    written: usize,
    /// What is kept of the output.
    stdout: BytesMut,
    stdout_bytes_total: u64,
    /// The exit of the child, and until when its output is waited for after that.
    exit: Option<ExitDrain>,
    /// How the output ended.
    end: Option<Drain>,
    is_done: bool,
}

/// The wait for output after the exit of the child. All that the child wrote is in the pipe by then,
/// but a process that it left behind may still write, or hold the pipe open.
#[derive(Debug)]
struct ExitDrain {
    exit: Exit,
    until: Instant,
    idle: Pin<Box<Sleep>>,
    /// How many bytes in the pipe may be the child's own: these are read however late.
    own_bytes_max: usize,
}

impl ExitDrain {
    /// Bytes were read. `Some` if nothing more is.
    fn read(&mut self, count: usize, drain_idle: Duration) -> Option<Drain> {
        let now = Instant::now();
        self.own_bytes_max = self.own_bytes_max.saturating_sub(count);
        self.idle.as_mut().reset(self.until.min(now + drain_idle));
        (self.own_bytes_max == 0 && now >= self.until).then_some(Drain::TimedOut)
    }

    /// Nothing is to be read now. Ready when that is not waited for any longer.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Drain> {
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(if self.idle.deadline() >= self.until {
            Drain::TimedOut
        } else {
            Drain::Idle
        })
    }
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
            progress: RunProgress::default(),
        }
    }

    pub(super) const fn child(&self) -> &Child {
        &self.child
    }

    /// Whether it can be run, or was run to its end.
    pub(super) const fn is_clean(&self) -> bool {
        self.progress.begun.is_none() || self.progress.is_done
    }

    /// Begins the end of the child; the future resolves when it has ended.
    pub(super) fn terminate(
        self,
        stop: Stop,
    ) -> impl Future<Output = Termination> + Send + 'static {
        // The end of its input would be an empty request to a child that was not run yet.
        let stop = match self.progress.begun {
            None => Stop::Force,
            Some(_) => stop,
        };
        self.child.terminate_with(stop, self.stdio.into_handover())
    }

    /// Gives the child this input and collects its output until it has ended.
    pub(super) async fn run(&mut self, input: &[u8]) -> Result<Output, StdioError> {
        self.begin(input.len())?;
        self.finish(input).await
    }

    /// Begins a run, of which so many bytes of input are known.
    pub(super) fn begin(&mut self, input_bytes: usize) -> Result<(), StdioError> {
        self.meters.request_begun();
        if self.progress.begun.is_some() {
            let report = self.report();
            return Err(self.failed(StdioError::Broken { report }));
        }
        self.progress.begun = Some(Instant::now());
        self.progress.input_bytes = input_bytes;
        Ok(())
    }

    /// Writes the rest of the input, closes stdin, and collects the rest of the output until the
    /// child has ended.
    pub(super) async fn finish(&mut self, input: &[u8]) -> Result<Output, StdioError> {
        let mut chunk = BytesMut::with_capacity(PIPE_BYTES);
        let exit = match poll_fn(|cx| self.poll_end(cx, input, &mut chunk)).await {
            Ok(exit) => exit,
            Err(source) => {
                let report = self.report();
                return Err(self.failed(StdioError::Read { source, report }));
            }
        };
        if self.meters.is_recorded() {
            self.meters.request_answered(self.elapsed());
        }
        let stderr = self.child.stderr_tail();
        let progress = &mut self.progress;
        progress.is_done = true;
        Ok(Output {
            exit,
            stdout: std::mem::take(&mut progress.stdout).freeze(),
            stdout_bytes_total: progress.stdout_bytes_total,
            stderr,
            unwritten_bytes: progress.input_bytes - progress.written,
            drain: progress.end.unwrap_or(Drain::Complete),
        })
    }

    /// The error for a run that was cancelled when its time was over.
    pub(super) fn timed_out(&self, limit: Duration) -> StdioError {
        let report = self.report();
        self.failed(StdioError::TimedOut { limit, report })
    }

    fn failed(&self, error: StdioError) -> StdioError {
        self.meters.request_failed(&error);
        error
    }

    /// Writes the input and reads the output until the output and the child have ended.
    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        chunk: &mut BytesMut,
    ) -> Poll<io::Result<Exit>> {
        self.poll_input(cx, input);
        loop {
            chunk.clear();
            if ready!(self.poll_output(cx, chunk))? == 0 {
                break;
            }
            self.keep(chunk);
        }
        self.poll_exit(cx).map(Ok)
    }

    /// Writes the rest of the input, then closes stdin. Stdin is closed too if the child has closed
    /// its end. If the runtime has gone, nothing is written, and reading returns the error.
    fn poll_input(&mut self, cx: &mut Context<'_>, input: &[u8]) {
        while self.stdio.is_stdin_open() {
            let rest = input.get(self.progress.written..).unwrap_or_default();
            if rest.is_empty() {
                self.stdio.close_stdin();
                return;
            }
            match self.stdio.poll_write(cx, rest) {
                Poll::Ready(Ok(count)) if count > 0 => self.progress.written += count,
                Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => return,
                Poll::Ready(Ok(_) | Err(_)) => self.stdio.close_stdin(),
                Poll::Pending => return,
            }
        }
    }

    /// Writes some input that was not known before.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.stdio.poll_write(cx, input))?;
        let progress = &mut self.progress;
        progress.input_bytes += count;
        progress.written += count;
        Poll::Ready(Ok(count))
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdio.close_stdin();
    }

    /// Reads what the child writes, and returns how many bytes; zero when the output has ended: at
    /// the end of stdout, or when the child has exited and the limits of the drain are reached.
    pub(super) fn poll_output(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        if self.progress.end.is_some() {
            return Poll::Ready(Ok(0));
        }
        let read = self.stdio.poll_read(cx, chunk)?;
        // Even if there is more to read: a process that was left behind may write for ever.
        let _exit = self.poll_exit(cx);
        let progress = &mut self.progress;
        match read {
            Poll::Ready(0) => progress.end = Some(Drain::Complete),
            Poll::Ready(count) => {
                progress.stdout_bytes_total += count as u64;
                if let Some(drain) = &mut progress.exit {
                    progress.end = drain.read(count, self.limits.times.drain_idle);
                }
                return Poll::Ready(Ok(count));
            }
            Poll::Pending => {
                let Some(drain) = &mut progress.exit else {
                    return Poll::Pending;
                };
                progress.end = Some(ready!(drain.poll_idle(cx)));
            }
        }
        Poll::Ready(Ok(0))
    }

    /// Ready when the child has exited. Its stdin is closed then.
    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        if let Some(drain) = &self.progress.exit {
            return Poll::Ready(drain.exit);
        }
        let exit = ready!(Pin::new(&mut self.exited).poll(cx));
        self.stdio.close_stdin();
        let LadderTimes {
            drain_timeout,
            drain_idle,
            ..
        } = self.limits.times;
        let now = Instant::now();
        let until = now + drain_timeout;
        self.progress.exit = Some(ExitDrain {
            exit,
            until,
            idle: Box::pin(sleep_until(until.min(now + drain_idle))),
            own_bytes_max: PIPE_BYTES,
        });
        Poll::Ready(exit)
    }

    /// Keeps output up to the limit.
    pub(super) fn keep(&mut self, output: &[u8]) {
        let output_bytes_max = self.limits.output_bytes_max;
        let stdout = &mut self.progress.stdout;
        let room = output_bytes_max - stdout.len();
        stdout.extend_from_slice(&output[..output.len().min(room)]);
    }

    fn elapsed(&self) -> Duration {
        let begun = self.progress.begun;
        begun.map_or(Duration::ZERO, |begun| Instant::now() - begun)
    }

    fn report(&self) -> Box<ChildReport> {
        let progress = &self.progress;
        if progress.begun.is_none() {
            return ChildReport::of(&self.child, Stage::Idle, None);
        }
        let stage = if progress.written < progress.input_bytes {
            Stage::Writing
        } else {
            Stage::Reading
        };
        let mut report = ChildReport::of(&self.child, stage, progress.begun);
        report.is_input_ended = !self.stdio.is_stdin_open();
        report
            .with_request(progress.input_bytes, progress.written)
            .with_partial(&progress.stdout, progress.stdout.len())
    }
}

/// As much as a pipe holds by default.
const PIPE_BYTES: usize = 64 * 1024;
