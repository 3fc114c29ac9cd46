//! Passes the lines of stderr on to their sinks, on a thread of its own.
//!
//! A sink is the user's code: it can block or panic. So it runs neither on the custodian, which
//! queues lines for it and skips them when the queue is full, nor in a task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use super::lock::lock;
use super::stderr::{LineSink, StderrLine};

/// Cuts the stderr of one child into lines and queues them for their sink.
#[derive(Debug)]
pub(crate) struct LineFeed {
    pid: u32,
    sink: LineSink,
    partial: Vec<u8>,
    queue: SyncSender<QueuedLine>,
}

#[derive(Debug)]
struct QueuedLine {
    pid: u32,
    sink: LineSink,
    line: Vec<u8>,
    skipped: u64,
}

impl LineFeed {
    /// `None` if the thread cannot be started. The ring keeps the lines all the same.
    pub(crate) fn new(pid: u32, sink: LineSink) -> Option<Self> {
        Some(Self {
            pid,
            sink,
            partial: Vec::new(),
            queue: queue()?,
        })
    }

    pub(crate) fn push(&mut self, mut chunk: &[u8]) {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            self.add(&chunk[..end]);
            self.queue_line();
            chunk = &chunk[end + 1..];
        }
        self.add(chunk);
    }

    /// Queues a last line that has no line end.
    pub(crate) fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.queue_line();
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn queue_line(&mut self) {
        let mut line = std::mem::take(&mut self.partial);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let skipped = SKIPPED.swap(0, Ordering::Relaxed);
        let queued = QueuedLine {
            pid: self.pid,
            sink: self.sink.clone(),
            line,
            skipped,
        };
        match self.queue.try_send(queued) {
            Ok(()) => {}
            Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) => {
                SKIPPED.fetch_add(refused.skipped + 1, Ordering::Relaxed);
            }
        }
    }
}

fn queue() -> Option<SyncSender<QueuedLine>> {
    static QUEUE: Mutex<Option<SyncSender<QueuedLine>>> = Mutex::new(None);
    let mut queue = lock(&QUEUE);
    if queue.is_none() {
        let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
        let thread = thread::Builder::new().name("stdio-lines".into());
        thread.spawn(move || run(&receiver)).ok()?;
        *queue = Some(sender);
    }
    queue.clone()
}

fn run(lines: &Receiver<QueuedLine>) {
    for queued in lines {
        let text = String::from_utf8_lossy(&queued.line);
        let line = StderrLine {
            pid: queued.pid,
            text: &text,
            skipped: queued.skipped,
        };
        // The panic hook has reported a panic of a sink. It must not end the thread.
        drop(catch_unwind(AssertUnwindSafe(|| {
            pass_on(&queued.sink, &line);
        })));
    }
}

fn pass_on(sink: &LineSink, line: &StderrLine<'_>) {
    match sink {
        LineSink::Tracing => tracing::info!(
            target: "pool_stdio::stderr",
            pid = line.pid,
            line = line.text,
            skipped = line.skipped,
        ),
        LineSink::Callback(callback) => callback(line),
    }
}

/// Lines that were skipped since the last one that was queued.
static SKIPPED: AtomicU64 = AtomicU64::new(0);
/// Worst case in memory: this many lines of [`LINE_BYTES_MAX`], 8 MiB.
const QUEUE_LINES_MAX: usize = 1024;
const LINE_BYTES_MAX: usize = 8 * 1024;
