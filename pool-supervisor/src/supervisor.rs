//! What all tasks share: the children, what waits to be sent to the host, and how much is kept.
//!
//! Everything runs on one thread. A borrow of the state is never held across an await.
//!
//! # Invariants
//!
//! 1. A line of control is sent before any output, and lines of control in the order in which they came.
//!    So `spawned` comes before the child's first output, and an exit does not wait behind output.
//! 2. `terminated` is queued when nothing of the child's output is kept. So it comes last.
//! 3. `kept_total` is the sum of what the streams of all entries keep.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use pool_stdio::{Children, Signal, Stop};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::chunk_text::{ChunkText, encode};
use crate::control_queue::ControlQueue;
use crate::entry::{Entry, EntryState, InputDone, STREAMS, StdinEnd, StopCause, place, stopping};
use crate::input_queue::InputQueue;
use crate::limits::{BATCH_BYTES, CHUNK_BYTES_MAX, READ_BYTES_MIN, SHARE_BYTES};
use crate::look_ups::LookUps;
use crate::protocol::{
    DoneResult, Fault, Notice, OutputNotice, RequestId, StreamName, WriteResult, answer_line,
    fault_line, notice_line,
};

/// What all tasks share.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) children: Children,
    pub(crate) look_ups: LookUps,
    is_prepared: watch::Receiver<bool>,
    table: RefCell<BTreeMap<String, Rc<Entry>>>,
    in_flight: RefCell<BTreeSet<RequestId>>,
    /// What it costs to keep the inputs of all children.
    inputs_total: Rc<Cell<usize>>,
    control: RefCell<ControlQueue>,
    /// Streams with something to send, each once.
    ready: RefCell<VecDeque<(Rc<Entry>, StreamName)>>,
    kept_total: Cell<usize>,
    kept_total_max: Cell<usize>,
    is_finished: Cell<bool>,
    has_host_gone: Cell<bool>,
    is_drain_over: Cell<bool>,
    /// There is something to send.
    sendable: Notify,
    /// Some of what waited was sent.
    pub(crate) sent: Notify,
    /// There is room for output again.
    total_room: Notify,
    /// A child was told as terminated.
    pub(crate) emptied: Notify,
}

impl Supervisor {
    /// Children are started when `is_prepared` says so.
    pub(crate) fn new(kept_total_max: usize, is_prepared: watch::Receiver<bool>) -> Self {
        Self {
            children: Children::new(),
            look_ups: LookUps::new(),
            is_prepared,
            table: RefCell::default(),
            in_flight: RefCell::default(),
            inputs_total: Rc::default(),
            control: RefCell::default(),
            ready: RefCell::default(),
            kept_total: Cell::new(0),
            kept_total_max: Cell::new(kept_total_max),
            is_finished: Cell::new(false),
            has_host_gone: Cell::new(false),
            is_drain_over: Cell::new(false),
            sendable: Notify::new(),
            sent: Notify::new(),
            total_room: Notify::new(),
            emptied: Notify::new(),
        }
    }

    // The children.

    /// Resolves when a child can be started. One that was started before there is a guardian would live on if
    /// this program was killed at that moment.
    pub(crate) async fn prepared(&self) {
        let mut is_prepared = self.is_prepared.clone();
        // What prepares has gone if it failed, and starts show why.
        drop(is_prepared.wait_for(|is_prepared| *is_prepared).await);
    }

    pub(crate) fn entry(&self, name: &str) -> Option<Rc<Entry>> {
        self.table.borrow().get(name).cloned()
    }

    pub(crate) fn entries(&self) -> Vec<Rc<Entry>> {
        self.table.borrow().values().cloned().collect()
    }

    pub(crate) fn child_count(&self) -> usize {
        self.table.borrow().len()
    }

    pub(crate) fn add(&self, entry: Rc<Entry>) {
        self.table.borrow_mut().insert(entry.name.clone(), entry);
    }

    pub(crate) fn remove(&self, entry: &Entry) {
        self.table.borrow_mut().remove(&entry.name);
        self.emptied.notify_waiters();
    }

    /// Begins the end of a child that was started, or hastens it. Without a cause it has exited by itself.
    pub(crate) fn stop(&self, entry: &Entry, stop: Stop, cause: Option<StopCause>) {
        let mut state = entry.state();
        state.ending_since.get_or_insert_with(Instant::now);
        if state.stop.is_none() {
            state.stop = cause;
        }
        let answers = if state.child.is_some() {
            state.is_begun = true;
            self.hand_over_stdin(&mut state, stop)
        } else {
            Vec::new()
        };
        drop(state);
        self.answer_inputs(answers);
        entry.changed.notify_one();
        entry.stdin_changed.notify_one();
    }

    /// The termination flushes what waits, and closes stdin when its ladder says so.
    fn hand_over_stdin(&self, state: &mut EntryState, stop: Stop) -> Vec<InputDone> {
        let (answers, left) = state.abandon_inputs(&stopping());
        let stdin = state.stdin.take();
        if stdin.is_some() || state.stdin_end == StdinEnd::Open {
            state.stdin_end = StdinEnd::Stopping;
        }
        let Some(child) = &mut state.child else {
            return answers;
        };
        if let Some(stdin) = stdin {
            child.return_input(stdin, left);
        } else {
            state.unwritten_bytes += left.len() as u64;
        }
        child.begin_stop(stop);
        answers
    }

    /// Sends a signal of the terminal on to the group of each child. None of them is in the group of this
    /// program, to which the terminal sends it. One in a session of its own has no terminal.
    pub(crate) fn forward(&self, signal: Signal) {
        for entry in self.entries() {
            if let Some(child) = &entry.state().child
                && !entry.settings.is_in_session
            {
                let (Ok(()) | Err(_)) = child.signal(signal);
            }
        }
    }

    /// Notes that nobody grants or asks for anything any more.
    pub(crate) fn note_host_gone(&self) {
        self.has_host_gone.set(true);
    }

    pub(crate) fn has_host_gone(&self) -> bool {
        self.has_host_gone.get()
    }

    /// Ends the time of all drains: what is still read is cut, and what there is no credit for.
    pub(crate) fn end_drains(&self) {
        self.is_drain_over.set(true);
        let entries = self.entries();
        entries.iter().for_each(|entry| entry.changed.notify_one());
    }

    pub(crate) fn is_drain_over(&self) -> bool {
        self.is_drain_over.get()
    }

    /// Gives up all output that is kept, granted or not.
    pub(crate) fn cut_kept(&self) {
        for entry in self.entries() {
            for name in STREAMS {
                let cut = entry.state().stream(name).kept.cut_all();
                self.release(cut);
            }
            entry.changed.notify_one();
        }
    }

    // What is written.

    pub(crate) fn input_queue(&self) -> InputQueue {
        InputQueue::new(Rc::clone(&self.inputs_total))
    }

    pub(crate) fn inputs_total(&self) -> usize {
        self.inputs_total.get()
    }

    // What is sent.

    /// Notes that an answer is owed. `false` if one is owed under this id already.
    pub(crate) fn owe(&self, id: &RequestId) -> bool {
        self.in_flight.borrow_mut().insert(id.clone())
    }

    pub(crate) fn answer<R: Serialize>(&self, id: Option<RequestId>, result: &Result<R, Fault>) {
        if let Some(id) = id {
            self.in_flight.borrow_mut().remove(&id);
            self.send(answer_line(&id, result));
        }
    }

    pub(crate) fn answer_inputs(&self, answers: impl IntoIterator<Item = InputDone>) {
        for done in answers {
            match done {
                InputDone::Written(id, bytes) => self.answer(id, &Ok(WriteResult { bytes })),
                InputDone::Closed(id) => self.answer(id, &Ok(DoneResult {})),
                InputDone::Failed(id, fault) => self.answer::<DoneResult>(id, &Err(fault)),
            }
        }
    }

    /// An error that answers nothing that is owed.
    pub(crate) fn complain(&self, id: Option<&RequestId>, fault: &Fault) {
        self.send(fault_line(id, fault));
    }

    pub(crate) fn tell(&self, notice: &Notice) {
        self.send(notice_line(notice));
    }

    fn send(&self, line: Vec<u8>) {
        self.control.borrow_mut().push(line);
        self.sendable.notify_one();
    }

    /// Whether the host has left too many answers unread.
    pub(crate) fn is_clogged(&self) -> bool {
        self.control.borrow().is_full()
    }

    /// Nothing more will come. What waits is still sent.
    pub(crate) fn finish(&self) {
        self.is_finished.set(true);
        self.sendable.notify_one();
    }

    /// The next lines to send, together; `None` at the end.
    pub(crate) async fn next_batch(&self) -> Option<Vec<u8>> {
        loop {
            let batch = self.compose();
            if !batch.is_empty() {
                return Some(batch);
            }
            if self.is_finished.get() {
                return None;
            }
            self.sendable.notified().await;
        }
    }

    fn compose(&self) -> Vec<u8> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_BYTES {
            if let Some(line) = self.control.borrow_mut().pop() {
                batch.extend(line);
                continue;
            }
            let Some((entry, stream)) = self.ready.borrow_mut().pop_front() else {
                break;
            };
            batch.extend(self.take_output(&entry, stream));
        }
        if !batch.is_empty() {
            self.sent.notify_waiters();
        }
        batch
    }

    fn take_output(&self, entry: &Rc<Entry>, name: StreamName) -> Vec<u8> {
        let mut state = entry.state();
        let stream = state.stream(name);
        stream.is_queued = false;
        let Some(chunk) = stream.kept.take(CHUNK_BYTES_MAX) else {
            return Vec::new();
        };
        if stream.kept.is_sendable() {
            stream.is_queued = true;
            self.ready.borrow_mut().push_back((Rc::clone(entry), name));
        }
        let is_empty = stream.kept.is_empty();
        drop(state);
        self.release(chunk.bytes.len());
        entry.room.iter().for_each(Notify::notify_one);
        if is_empty {
            entry.changed.notify_one();
        }
        let (text, base64) = match encode(chunk.bytes) {
            ChunkText::Text(text) => (Some(text), None),
            ChunkText::Base64(text) => (None, Some(text)),
        };
        notice_line(&Notice::Output(OutputNotice {
            child: entry.name.clone(),
            stream: name,
            seq: chunk.seq,
            dropped_bytes: chunk.dropped_bytes,
            text,
            base64,
        }))
    }

    // What is kept.

    pub(crate) fn kept_total(&self) -> usize {
        self.kept_total.get()
    }

    pub(crate) fn limit_kept(&self, total_max: usize) {
        self.kept_total_max.set(total_max);
    }

    pub(crate) fn kept_total_max(&self) -> usize {
        self.kept_total_max.get()
    }

    /// How much more output of this stream can be kept. A stream whose output is sent as it comes is not
    /// held up by others that keep all there is.
    fn room(&self, entry: &Entry, state: &mut EntryState, name: StreamName) -> usize {
        let own = entry.settings.kept_bytes_max;
        let own = own.saturating_sub(state.kept_bytes());
        let total = self.kept_total_max.get();
        let total = total.saturating_sub(self.kept_total.get());
        let share = state.stream(name).kept.share(SHARE_BYTES);
        own.min(total.max(share))
    }

    /// How many bytes of a stream may be read at this moment.
    pub(crate) fn readable_now(&self, entry: &Entry, name: StreamName) -> usize {
        let mut state = entry.state();
        let room = self.room(entry, &mut state, name);
        // A few bytes at a time would cost more than the wait for some more room.
        let least = READ_BYTES_MIN.min(entry.settings.kept_bytes_max).max(1);
        let stream = state.stream(name);
        // The end of a silent stream is seen by reading: so one byte always has room. What is sent as it comes
        // has some more.
        let little = match stream.kept.is_empty() {
            true => stream.kept.share(READ_BYTES_MIN).max(1),
            false => 0,
        };
        let readable = stream
            .kept
            .readable(if room < least { little } else { room });
        stream.is_paused = readable == 0;
        readable
    }

    /// Resolves when a stream may be read. Others may use the room up again before it is read.
    pub(crate) async fn may_read(&self, entry: &Entry, name: StreamName) {
        loop {
            // Order: registered before the look, or a wake-up in between would be lost.
            let total_room = self.total_room.notified();
            if self.readable_now(entry, name) > 0 {
                return;
            }
            entry.changed.notify_one();
            tokio::select! {
                () = entry.room[place(name)].notified() => {}
                () = total_room => {}
            }
        }
    }

    /// Keeps what was read.
    pub(crate) fn received(&self, entry: &Rc<Entry>, name: StreamName, bytes: &[u8]) {
        let mut state = entry.state();
        let room = self.room(entry, &mut state, name);
        let stream = state.stream(name);
        stream.last_read = Some(Instant::now());
        let dropped = stream.kept.push(bytes, room);
        self.kept_total
            .set(self.kept_total.get() + bytes.len() - dropped);
        drop(state);
        self.queue_output(entry, name);
    }

    pub(crate) fn grant(&self, entry: &Rc<Entry>, name: StreamName, bytes: u64) {
        entry.state().stream(name).kept.grant(bytes);
        entry.room[place(name)].notify_one();
        self.queue_output(entry, name);
    }

    fn queue_output(&self, entry: &Rc<Entry>, name: StreamName) {
        let mut state = entry.state();
        let stream = state.stream(name);
        if stream.kept.is_sendable() && !stream.is_queued {
            stream.is_queued = true;
            self.ready.borrow_mut().push_back((Rc::clone(entry), name));
            self.sendable.notify_one();
        }
    }

    /// Gives up what a child has no credit for.
    pub(crate) fn cut_ungranted(&self, entry: &Entry) {
        for name in STREAMS {
            let cut = entry.state().stream(name).kept.cut_ungranted();
            self.release(cut);
        }
    }

    fn release(&self, bytes: usize) {
        let before = self.kept_total.get();
        self.kept_total.set(before - bytes);
        if before + READ_BYTES_MIN > self.kept_total_max.get() {
            self.total_room.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
