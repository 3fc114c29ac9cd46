//! One child as the supervisor sees it, from the request for it until it is told as `terminated`.

use std::cell::{RefCell, RefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pool_stdio::{Child, ChildInput, Stop};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::input_queue::{Input, InputQueue};
use crate::kept::KeptOutput;
use crate::protocol::{
    AfterExit, ChildState, DrainReport, Fault, FaultKind, RequestId, StreamName, WhenFull,
};

/// One child.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) settings: EntrySettings,
    state: RefCell<EntryState>,
    /// Something happened that its task may wait for.
    pub(crate) changed: Notify,
    /// Input was queued, or stdin was closed.
    pub(crate) stdin_changed: Notify,
    /// Output was sent, so that more can be read; one for each stream.
    pub(crate) room: [Notify; 2],
}

/// What was asked for it.
#[derive(Debug, Clone)]
pub(crate) struct EntrySettings {
    pub(crate) kept_bytes_max: usize,
    pub(crate) when_full: WhenFull,
    pub(crate) after_exit: AfterExit,
    pub(crate) drain_timeout: Duration,
    pub(crate) drain_idle: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) is_in_session: bool,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct EntryState {
    pub(crate) pid: Option<u32>,
    /// `None` until it was started.
    pub(crate) child: Option<Child>,
    pub(crate) stdin: Option<ChildInput>,
    pub(crate) stdin_end: StdinEnd,
    inputs: InputQueue,
    pub(crate) streams: [StreamState; 2],
    /// Set by the first that ends it, unless it exits by itself.
    pub(crate) stop: Option<StopCause>,
    /// Its termination was begun, if only because it has exited.
    pub(crate) is_begun: bool,
    pub(crate) has_exited: bool,
    /// When its end began.
    pub(crate) ending_since: Option<Instant>,
    /// Of writes that were given up.
    pub(crate) unwritten_bytes: u64,
}

/// Who ends it, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StopCause {
    pub(crate) reason: String,
    pub(crate) stop: Stop,
}

/// Why nothing more is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdinEnd {
    /// Not at all: it is written, or will be when the child was started.
    Open,
    /// The host closed it, or there was none.
    Closed,
    /// The child closed it.
    Broken,
    /// The termination has it.
    Stopping,
}

/// What is to be answered about stdin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InputDone {
    /// So many bytes were written.
    Written(Option<RequestId>, u64),
    Closed(Option<RequestId>),
    Failed(Option<RequestId>, Fault),
}

/// One stream that it writes.
#[derive(Debug)]
pub(crate) struct StreamState {
    pub(crate) kept: KeptOutput,
    /// `None` while it is read.
    pub(crate) end: Option<DrainReport>,
    pub(crate) last_read: Option<Instant>,
    /// The host knows of its end.
    pub(crate) is_end_told: bool,
    /// It waits for its turn to be sent.
    pub(crate) is_queued: bool,
    /// It is not read, for lack of room.
    pub(crate) is_paused: bool,
}

impl Entry {
    pub(crate) fn new(
        name: String,
        settings: EntrySettings,
        credit: [u64; 2],
        inputs: InputQueue,
    ) -> Self {
        let stream = |credit| StreamState {
            kept: KeptOutput::new(credit, settings.when_full),
            end: None,
            last_read: None,
            is_end_told: false,
            is_queued: false,
            is_paused: false,
        };
        let state = EntryState {
            pid: None,
            child: None,
            stdin: None,
            stdin_end: StdinEnd::Open,
            inputs,
            streams: credit.map(stream),
            stop: None,
            is_begun: false,
            has_exited: false,
            ending_since: None,
            unwritten_bytes: 0,
        };
        Self {
            name,
            settings,
            state: RefCell::new(state),
            changed: Notify::new(),
            stdin_changed: Notify::new(),
            room: [Notify::new(), Notify::new()],
        }
    }

    /// Nothing else may be done with this entry while it is held, and nothing awaited.
    pub(crate) fn state(&self) -> RefMut<'_, EntryState> {
        self.state.borrow_mut()
    }
}

impl EntryState {
    pub(crate) const fn stream(&mut self, name: StreamName) -> &mut StreamState {
        &mut self.streams[place(name)]
    }

    pub(crate) fn kept_bytes(&self) -> usize {
        self.streams.iter().map(|stream| stream.kept.len()).sum()
    }

    pub(crate) fn phase(&self) -> ChildState {
        if self.stop.is_some() {
            ChildState::Stopping
        } else if self.has_exited {
            ChildState::Exited
        } else if self.pid.is_none() {
            ChildState::Starting
        } else {
            ChildState::Running
        }
    }

    /// What it costs to keep what waits to be written.
    pub(crate) const fn input_cost(&self) -> usize {
        self.inputs.cost()
    }

    pub(crate) fn unwritten(&self) -> u64 {
        let left = self.inputs.iter().map(|input| match input {
            Input::Bytes { bytes, written, .. } => (bytes.len() - written) as u64,
            Input::Close { .. } => 0,
        });
        left.sum()
    }

    /// Whether bytes can be queued.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn check_input(&self) -> Result<(), Fault> {
        let closes = |input: &Input| matches!(input, Input::Close { .. });
        match self.stdin_end {
            StdinEnd::Open if self.inputs.last().is_some_and(closes) => Err(closed()),
            StdinEnd::Open => Ok(()),
            end @ (StdinEnd::Closed | StdinEnd::Broken | StdinEnd::Stopping) => {
                Err(why_not_written(end))
            }
        }
    }

    pub(crate) fn queue_bytes(&mut self, id: Option<RequestId>, bytes: Vec<u8>) {
        self.inputs.push(Input::Bytes {
            id,
            bytes,
            written: 0,
        });
    }

    pub(crate) fn queue_close(&mut self, id: Option<RequestId>) {
        self.inputs.push(Input::Close { id });
    }

    /// Writes once of what comes first. Ready with what is done, or `None` after a part of it.
    pub(crate) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Option<InputDone>> {
        let Some(first) = self.inputs.first_mut() else {
            return Poll::Pending;
        };
        let Some(stdin) = &mut self.stdin else {
            // Not started yet, or it has an end, at which all inputs were taken.
            return Poll::Pending;
        };
        let Input::Bytes { id, bytes, written } = first else {
            return Poll::Ready(self.close());
        };
        if *written < bytes.len() {
            match Pin::new(stdin).poll_write(cx, &bytes[*written..]) {
                Poll::Ready(Ok(count)) => *written += count,
                Poll::Ready(Err(_)) => {
                    let fault = broken().written(*written as u64);
                    let done = InputDone::Failed(id.take(), fault);
                    self.inputs.pop();
                    self.stdin = None;
                    self.stdin_end = StdinEnd::Broken;
                    return Poll::Ready(Some(done));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if *written < bytes.len() {
            return Poll::Ready(None);
        }
        let done = InputDone::Written(id.take(), *written as u64);
        self.inputs.pop();
        Poll::Ready(Some(done))
    }

    fn close(&mut self) -> Option<InputDone> {
        let Some(Input::Close { id }) = self.inputs.pop() else {
            return None;
        };
        self.stdin = None;
        self.stdin_end = StdinEnd::Closed;
        Some(InputDone::Closed(id))
    }

    /// Gives up what waits, and returns it: what is to be answered, and the bytes.
    pub(crate) fn abandon_inputs(&mut self, why: &Fault) -> (Vec<InputDone>, Vec<u8>) {
        let mut answers = Vec::new();
        let mut left = Vec::new();
        for input in self.inputs.take_all() {
            match input {
                Input::Bytes { id, bytes, written } => {
                    left.extend_from_slice(&bytes[written..]);
                    answers.push(InputDone::Failed(id, why.clone().written(written as u64)));
                }
                // It will be closed, or is.
                Input::Close { id } => answers.push(InputDone::Closed(id)),
            }
        }
        (answers, left)
    }
}

impl StreamState {
    /// Everything of it was read and sent, or given up.
    pub(crate) fn is_done(&self) -> bool {
        self.end.is_some() && self.kept.is_empty()
    }

    /// It is still read, or there is no credit for all that is kept.
    pub(crate) fn can_be_cut(&self) -> bool {
        self.end.is_none() || self.kept.has_ungranted()
    }
}

/// Where a stream is in the arrays.
pub(crate) const fn place(name: StreamName) -> usize {
    match name {
        StreamName::Stdout => 0,
        StreamName::Stderr => 1,
    }
}

pub(crate) const STREAMS: [StreamName; 2] = [StreamName::Stdout, StreamName::Stderr];

fn closed() -> Fault {
    Fault::new(FaultKind::StdinClosed, "stdin of the child was closed")
}

pub(crate) fn broken() -> Fault {
    let message = "the child has closed its stdin, or has exited: write no more to it";
    Fault::new(FaultKind::StdinBroken, message).errno(Some("EPIPE"))
}

pub(crate) fn stopping() -> Fault {
    let message = "the child is being ended: write no more to it, and wait for `terminated`";
    Fault::new(FaultKind::Stopping, message)
}

pub(crate) fn why_not_written(end: StdinEnd) -> Fault {
    match end {
        StdinEnd::Open | StdinEnd::Closed => closed(),
        StdinEnd::Broken => broken(),
        StdinEnd::Stopping => stopping(),
    }
}
