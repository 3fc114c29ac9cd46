//! Tells the lines of stderr to their sinks, on a thread of its own.
//!
//! A sink is code of others: it may block or panic. So it runs neither on the custodian, which
//! feeds it through a bounded queue and skips lines when that is full, nor in anybody's task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::process::once::lock;
use crate::process::stderr::{LineSink, StderrLine};

/// Cuts the stderr of one child into lines and queues them for their sink.
#[derive(Debug)]
pub(crate) struct LineFeed {
    pid: u32,
    sink: LineSink,
    partial: Vec<u8>,
    queue: SyncSender<Told>,
}

#[derive(Debug)]
struct Told {
    pid: u32,
    sink: LineSink,
    line: Vec<u8>,
    skipped: u64,
}

impl LineFeed {
    /// `None` if the thread cannot be had; the ring keeps the lines all the same.
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
            self.keep(&chunk[..end]);
            self.tell();
            chunk = &chunk[end + 1..];
        }
        self.keep(chunk);
    }

    /// Tells a last line that has no end.
    pub(crate) fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.tell();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn tell(&mut self) {
        let mut line = std::mem::take(&mut self.partial);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let skipped = SKIPPED.swap(0, Ordering::Relaxed);
        let told = Told {
            pid: self.pid,
            sink: self.sink.clone(),
            line,
            skipped,
        };
        match self.queue.try_send(told) {
            Ok(()) => {}
            Err(TrySendError::Full(told) | TrySendError::Disconnected(told)) => {
                SKIPPED.fetch_add(told.skipped + 1, Ordering::Relaxed);
            }
        }
    }
}

fn queue() -> Option<SyncSender<Told>> {
    static QUEUE: Mutex<Option<SyncSender<Told>>> = Mutex::new(None);
    let mut queue = lock(&QUEUE);
    if queue.is_none() {
        let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
        let thread = thread::Builder::new().name("stdio-lines".into());
        thread.spawn(move || tell_all(&receiver)).ok()?;
        *queue = Some(sender);
    }
    queue.clone()
}

fn tell_all(lines: &Receiver<Told>) {
    for told in lines {
        let text = String::from_utf8_lossy(&told.line);
        let line = StderrLine {
            pid: told.pid,
            text: &text,
            skipped: told.skipped,
        };
        // A panic in a sink is its own affair; the hook has reported it.
        drop(catch_unwind(AssertUnwindSafe(|| {
            tell_one(&told.sink, &line);
        })));
    }
}

fn tell_one(sink: &LineSink, line: &StderrLine<'_>) {
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
