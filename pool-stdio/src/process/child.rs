//! The handle of a child: what can be asked of it without waiting, and how its end is begun.

use std::io;
use std::sync::{Arc, Weak};

use super::child_pipes::ChildInput;
use super::custodian::{Custodian, Message};
use super::host;
use super::once::Wait;
use super::outcome::{Exit, Termination};
use super::record::{ChildRecord, PipeEnds};
use super::signal::{Signal, SignalError};
use super::spawn_error::SpawnError;
use super::stderr::StderrTail;
use super::sys::{self, Look, OwnedPipe, PipeEnd, Readiness, Root, StdoutView};
use super::terminate::{Start, Stop};

/// A running child process.
///
/// Dropping it kills its [scope](crate::KillScope) and reaps it, in the background. That works on any
/// thread, with or without a runtime, and during a panic. In a fork of this program it does nothing
/// to the child, which belongs to the process that started it. If this program itself is killed, aborts or
/// returns from `main`, the child sees the end of its input, and a guardian ends it soon after, unless
/// it is [unguarded](crate::CommandSpec::unguarded).
///
/// # Pipes
///
/// Our ends of stdin and stdout are non-blocking. They can be [taken](Self::take_stdin) and
/// registered with a runtime, and [given back](Self::return_stdin) for the termination. The child
/// sees the end of a pipe that was taken only when that is dropped or handed back.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, Rung, Stop};
/// use tokio::io::AsyncWriteExt;
/// use tokio::net::unix::pipe;
///
/// let script = "read name; echo no $name >&2; exit 3";
/// let mut child = CommandSpec::new("sh").args(["-c", script]).build()?.spawn().await?;
/// assert!(child.is_alive());
///
/// let mut stdin = pipe::Sender::from_owned_fd(child.take_stdin().unwrap())?;
/// stdin.write_all(b"bread\n").await?;
/// assert_eq!(child.exited().await.status().unwrap().code(), Some(3));
/// assert_eq!(child.stderr_tail().text, "no bread\n");
///
/// let end = child.terminate(Stop::Orderly).await;
/// assert_eq!(end.rung, Rung::AlreadyGone);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Child {
    record: Arc<ChildRecord>,
    /// `None` once this handle has begun its termination.
    root: Option<Arc<Root>>,
    pipes: PipeEnds,
    custodian: Arc<Custodian>,
}

/// What one system call shows of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It runs, and nothing waits to be read.
    Quiet,
    /// It runs, and has written something that was not read.
    HasOutput,
    /// It has closed its stdout, so that no reply can follow. What it wrote before can still be read.
    Eof,
    /// It has exited. What it wrote before can still be read.
    Exited,
}

/// Pipes that were taken from a child, and are given back for its termination.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    pipes: PipeEnds,
}

impl Handover {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// As [`Child::return_stdin`].
    pub(crate) fn stdin(mut self, stdin: PipeEnd, unwritten: Vec<u8>) -> Self {
        self.pipes.stdin = Some(stdin);
        self.pipes.unwritten = unwritten;
        self
    }

    /// As [`Child::return_stdout`].
    pub(crate) fn stdout(mut self, stdout: PipeEnd) -> Self {
        self.pipes.stdout = Some(stdout);
        self
    }
}

impl Child {
    pub(crate) const fn new(
        record: Arc<ChildRecord>,
        root: Arc<Root>,
        pipes: PipeEnds,
        custodian: Arc<Custodian>,
    ) -> Self {
        Self {
            record,
            root: Some(root),
            pipes,
            custodian,
        }
    }

    /// Its process id, which is the id of its process group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.record.pid
    }

    /// The facts about it, which outlive this handle.
    pub(crate) fn record(&self) -> Arc<ChildRecord> {
        Arc::clone(&self.record)
    }

    /// By which it can be measured and killed while somebody else has it.
    pub(crate) fn remote(&self) -> ChildRemote {
        ChildRemote {
            record: Arc::clone(&self.record),
            root: self.root.as_ref().map(Arc::downgrade).unwrap_or_default(),
            custodian: Arc::clone(&self.custodian),
        }
    }

    /// Takes our end of its stdin.
    pub fn take_stdin(&mut self) -> Option<OwnedPipe> {
        self.pipes.stdin.take().and_then(sys::expose)
    }

    /// Takes our end of its stdout.
    pub fn take_stdout(&mut self) -> Option<OwnedPipe> {
        self.pipes.stdout.take().and_then(sys::expose)
    }

    /// Both ends for a connector, if neither was taken.
    pub(crate) fn take_ends(&mut self) -> Option<(PipeEnd, PipeEnd)> {
        self.pipes.stdin.take().zip(self.pipes.stdout.take())
    }

    /// Takes our end of its stderr, if its policy is [`Pipe`](crate::StderrPolicy::Pipe). It is
    /// non-blocking.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_stdio::{CommandSpec, StderrPolicy};
    /// use tokio::io::AsyncReadExt;
    /// use tokio::net::unix::pipe;
    ///
    /// let spec = CommandSpec::new("sh").args(["-c", "echo low on memory >&2"]);
    /// let mut child = spec.stderr(StderrPolicy::Pipe).build()?.spawn().await?;
    /// let mut stderr = pipe::Receiver::from_owned_fd(child.take_stderr().unwrap())?;
    /// let mut text = String::new();
    /// stderr.read_to_string(&mut text).await?;
    /// assert_eq!(text, "low on memory\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_stderr(&mut self) -> Option<OwnedPipe> {
        self.pipes.stderr.take().and_then(sys::expose)
    }

    /// Gives our end of its stdin back, for the termination, with bytes that are still to be written to
    /// it: that is tried for as long as [`flush`](crate::LadderTimes::flush) allows. The descriptor and
    /// its copies are made non-blocking.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_stdio::{CommandSpec, Rung, Stop};
    ///
    /// let mut child = CommandSpec::new("cat").build()?.spawn().await?;
    /// let stdin = child.take_stdin().unwrap();
    /// child.return_stdin(stdin, b"last words".to_vec());
    /// let end = child.terminate(Stop::Orderly).await;
    /// assert_eq!((end.rung, end.unwritten_bytes), (Rung::Eof, 0));
    /// assert_eq!(end.discarded_bytes, 10, "its answer was read and thrown away");
    /// # Ok(())
    /// # }
    /// ```
    pub fn return_stdin(&mut self, stdin: OwnedPipe, unwritten: Vec<u8>) {
        self.pipes.stdin = Some(sys::enclose(stdin));
        self.pipes.unwritten = unwritten;
    }

    /// Gives back a stdin that a task wrote to, as [`return_stdin`](Self::return_stdin) does. Bytes that it
    /// took and has not written are written first. If the runtime does not give the pipe back, all of
    /// `unwritten` is reported as not written.
    pub fn return_input(&mut self, stdin: ChildInput, unwritten: Vec<u8>) {
        self.pipes.stdin = stdin.into_end();
        self.pipes.unwritten = unwritten;
    }

    /// Gives our end of its stdout back, for the termination: it is read and the bytes are thrown away,
    /// so that the child is not stuck in a write. The descriptor and its copies are made non-blocking.
    pub fn return_stdout(&mut self, stdout: OwnedPipe) {
        self.pipes.stdout = Some(sys::enclose(stdout));
    }

    /// Whether it can still answer: it has not exited and has not closed its stdout. A stdout that was
    /// taken is not looked at. Costs one system call.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.liveness(self.pipes.stdout.as_ref().map(sys::view)) {
            Liveness::Quiet | Liveness::HasOutput => true,
            Liveness::Eof | Liveness::Exited => false,
        }
    }

    /// What one system call shows of it, from any thread, without waiting.
    ///
    /// `stdout` is our end of its stdout; the caller has it if it was taken. Without it the answer is
    /// [`Quiet`](Liveness::Quiet) or [`Exited`](Liveness::Exited).
    pub(crate) fn liveness(&self, stdout: Option<StdoutView<'_>>) -> Liveness {
        let Some(root) = &self.root else {
            return Liveness::Exited;
        };
        let Look { has_exited, stdout } = root.look(stdout);
        if has_exited.unwrap_or_else(|| self.record.has_exited_by_asking(root)) {
            return Liveness::Exited;
        }
        match stdout {
            Some(Readiness {
                is_hung_up: true, ..
            }) => Liveness::Eof,
            Some(Readiness { is_ready: true, .. }) => Liveness::HasOutput,
            Some(Readiness { .. }) | None => Liveness::Quiet,
        }
    }

    /// How it exited, if it has. This is published a moment after the exit, when what it wrote to
    /// stderr before has been read, so that [`stderr_tail`](Self::stderr_tail) is complete.
    #[must_use]
    pub fn try_wait(&self) -> Option<Exit> {
        self.record.exit()
    }

    /// Resolves when [`try_wait`](Self::try_wait) has an answer. Needs no runtime, and does not
    /// borrow the child. One thread wakes all tasks that wait for children: a waker that blocks delays
    /// their reports, but the end of no child.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: call it again.
    pub fn exited(&self) -> impl Future<Output = Exit> + Send + 'static + use<> {
        self.exit_wait()
    }

    /// The same, under a name.
    pub(crate) fn exit_wait(&self) -> ExitWait {
        if host::is_fork() {
            self.record.exit.set(Exit::Lost);
        }
        Wait::new(Arc::clone(&self.record.exit))
    }

    /// The end of what it has written to stderr so far; empty unless the policy is a ring.
    #[must_use]
    pub fn stderr_tail(&self) -> StderrTail {
        self.record.stderr_tail()
    }

    /// Sends a signal to its process group.
    ///
    /// # Errors
    ///
    /// [`SignalError::Gone`] if the group is empty, [`SignalError::Refused`] if the system does not
    /// allow it, or in a fork of the process that started the child.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_stdio::{CommandSpec, Signal, SignalError, Stop};
    ///
    /// let child = CommandSpec::new("cat").build()?.spawn().await?;
    /// child.signal(Signal::Terminate)?;
    /// assert_eq!(child.exited().await.status().unwrap().code(), None, "by a signal");
    ///
    /// # let set = pool_stdio::Children::new();
    /// # let child = set.spawn(&CommandSpec::new("cat").build()?).await?;
    /// # set.terminate_all(std::time::Duration::ZERO).await;
    /// assert!(matches!(child.signal(Signal::User1), Err(SignalError::Gone)), "it was reaped");
    /// # child.terminate(Stop::Force).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        if host::is_fork() {
            let source = io::Error::other(SpawnError::Forked);
            return Err(SignalError::Refused { source });
        }
        self.record.signal_group(self.root.as_deref(), signal)
    }

    /// Sends a signal to the child alone, whatever it started.
    ///
    /// # Errors
    ///
    /// As of [`signal`](Self::signal); [`Gone`](SignalError::Gone) if the child has exited or its
    /// termination has begun.
    pub fn signal_root(&self, signal: Signal) -> Result<(), SignalError> {
        if host::is_fork() {
            let source = io::Error::other(SpawnError::Forked);
            return Err(SignalError::Refused { source });
        }
        self.record.signal_root(self.root.as_deref(), signal)
    }

    /// Begins the termination and keeps the handle; [`terminating`](Self::terminating) tells how it
    /// ends. Called again, it hastens a termination that is under way if `stop` is
    /// [`Force`](Stop::Force), and never slows one. Dropping the handle changes nothing any more.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_stdio::{CommandSpec, Rung, Stop};
    ///
    /// let deaf = CommandSpec::new("sh").args(["-c", "trap '' TERM; while :; do sleep 1; done"]);
    /// let mut child = deaf.build()?.spawn().await?;
    /// child.begin_stop(Stop::Orderly); // the graces are five seconds each
    /// child.begin_stop(Stop::Force);
    /// assert_eq!(child.terminating().await.rung, Rung::Kill);
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin_stop(&mut self, stop: Stop) {
        let pipes = std::mem::take(&mut self.pipes);
        self.stop_or_hasten(stop, pipes);
    }

    fn stop_or_hasten(&mut self, stop: Stop, pipes: PipeEnds) {
        if self.root.is_some() {
            self.stop(self.start_of(stop), pipes);
        } else if !host::is_fork() && self.record.termination.peek().is_none() {
            self.custodian.post(Message::Stop {
                child: self.record.id,
                start: Start::Stop(stop),
                pipes,
            });
        }
    }

    /// Ends the child with all of its [scope](crate::KillScope), and says how that went. A termination that
    /// is under way is hastened, as by [`begin_stop`](Self::begin_stop).
    ///
    /// # Cancel safety
    ///
    /// The termination is begun before this returns. It goes on to its end even if the future or the
    /// runtime is dropped.
    #[must_use = "the child is terminated anyway, but only this tells when and how"]
    pub fn terminate(
        mut self,
        stop: Stop,
    ) -> impl Future<Output = Termination> + Send + 'static + use<> {
        self.begin_stop(stop);
        self.terminating()
    }

    /// The same as [`terminate`](Self::terminate), with pipes that were taken.
    pub(crate) fn terminate_with(
        mut self,
        stop: Stop,
        handover: Handover,
    ) -> impl Future<Output = Termination> + Send + 'static + use<> {
        let mut pipes = std::mem::take(&mut self.pipes);
        pipes.stdin = handover.pipes.stdin.or(pipes.stdin);
        pipes.stdout = handover.pipes.stdout.or(pipes.stdout);
        pipes.unwritten = handover.pipes.unwritten;
        self.stop_or_hasten(stop, pipes);
        self.terminating()
    }

    /// Resolves when the child was terminated, whoever began it. Does not begin anything itself.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: call it again.
    pub fn terminating(&self) -> impl Future<Output = Termination> + Send + 'static + use<> {
        Wait::new(Arc::clone(&self.record.termination))
    }

    /// How its termination begins. For a forced one without a grace SIGKILL is sent here and now.
    fn start_of(&self, stop: Stop) -> Start {
        let root = self.root.as_deref().filter(|_| stop == Stop::Force);
        match root {
            // Order: killed before the caller can close its stdin, or it would take half a request
            // for the whole.
            Some(root) if self.record.is_killed_at_once && self.record.kill_root(root) => {
                Start::Killed
            }
            Some(_) | None => Start::Stop(stop),
        }
    }

    fn stop(&mut self, start: Start, pipes: PipeEnds) {
        // Order: our hold on the descriptor ends before the termination can.
        let is_begun = self.root.take().is_none();
        if host::is_fork() {
            self.record
                .termination
                .set(Termination::in_fork(self.pid()));
            return;
        }
        // If its set has terminated the child, all that is left is to close the pipes, here.
        if is_begun || self.record.termination.peek().is_some() {
            return;
        }
        self.custodian.post(Message::Stop {
            child: self.record.id,
            start,
            pipes,
        });
    }
}

/// Reaches a child whose handle somebody else has. It keeps nothing of the child open.
#[derive(Debug, Clone)]
pub(crate) struct ChildRemote {
    record: Arc<ChildRecord>,
    root: Weak<Root>,
    custodian: Arc<Custodian>,
}

impl ChildRemote {
    /// The resident memory of the child's scope, as far as it can be seen.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let scope = self.record.scope;
        let of_job = self.root.upgrade().and_then(|root| root.job_bytes(scope));
        of_job.or_else(|| self.record.resident_bytes())
    }

    /// Ends the child by force, as a dirty one, without waiting. Reports name the cause.
    pub(crate) fn kill(&self, cause: String) {
        let is_over = self.record.exit().is_some() || self.record.termination.peek().is_some();
        // Only the first one counts.
        if is_over || host::is_fork() || self.record.kill_cause.set(cause.into()).is_err() {
            return;
        }
        self.custodian.post(Message::Stop {
            child: self.record.id,
            start: Start::Stop(Stop::Force),
            pipes: PipeEnds::default(),
        });
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let pipes = std::mem::take(&mut self.pipes);
        self.stop(self.start_of(Stop::Force), pipes);
    }
}

/// The future of [`Child::exited`].
pub(crate) type ExitWait = Wait<Exit>;
