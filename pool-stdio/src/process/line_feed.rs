//! Passes the lines of stderr on to their sinks, on a thread of its own.
//!
//! A sink is the user's code: it can block or panic, and so can the drop of what it holds. So it
//! lives on this thread alone. The custodian hands over bytes as it reads them, at the cost of a
//! copy; if a child's sink is too slow for them, it drops them and counts their lines. They are cut
//! into lines on this thread.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::lock::lock;
use super::record::ChildId;
use super::stderr::{LineSink, StderrLine};
use super::{service, sys};

/// The way from one child's stderr to its sink. Dropping it ends the last line.
#[derive(Debug)]
pub(crate) struct LineFeed {
    child: ChildId,
    /// How much waits for the sink.
    waiting_bytes: Arc<AtomicUsize>,
    /// Bytes were dropped since the last that were not.
    has_gap: bool,
    /// The last of those that were dropped was no line end.
    is_mid_line: bool,
}

impl LineFeed {
    /// `None` if the thread cannot be started. The ring keeps the lines all the same.
    pub(crate) fn new(child: ChildId, pid: u32, sink: LineSink) -> Option<Self> {
        prepare()?;
        let waiting_bytes = Arc::default();
        post(Delivery::Open {
            child,
            outlet: Outlet {
                pid,
                sink,
                partial: Vec::new(),
                waiting_bytes: Arc::clone(&waiting_bytes),
            },
        });
        Some(Self {
            child,
            waiting_bytes,
            has_gap: false,
            is_mid_line: false,
        })
    }

    pub(crate) fn push(&mut self, mut chunk: &[u8]) {
        if self.is_mid_line {
            let Some(end) = memchr::memchr(b'\n', chunk) else {
                return;
            };
            self.is_mid_line = false;
            SKIPPED.fetch_add(1, Ordering::Relaxed);
            chunk = &chunk[end + 1..];
        }
        if chunk.is_empty() {
            return;
        }
        let cost = cost(chunk);
        let before = self.waiting_bytes.fetch_add(cost, Ordering::Relaxed);
        if before + cost <= WAITING_BYTES_MAX {
            post(Delivery::Bytes {
                child: self.child,
                bytes: chunk.to_vec(),
                has_gap: std::mem::take(&mut self.has_gap),
            });
            return;
        }
        self.waiting_bytes.fetch_sub(cost, Ordering::Relaxed);
        let lines = memchr::memchr_iter(b'\n', chunk).count() as u64;
        SKIPPED.fetch_add(lines, Ordering::Relaxed);
        self.has_gap = true;
        self.is_mid_line = chunk.last() != Some(&b'\n');
    }
}

impl Drop for LineFeed {
    fn drop(&mut self) {
        post(Delivery::Close {
            child: self.child,
            has_gap: self.has_gap,
        });
    }
}

#[derive(Debug)]
enum Delivery {
    Open {
        child: ChildId,
        outlet: Outlet,
    },
    /// If there is a gap before them, the line that was begun is none.
    Bytes {
        child: ChildId,
        bytes: Vec<u8>,
        has_gap: bool,
    },
    Close {
        child: ChildId,
        has_gap: bool,
    },
}

/// Cuts the bytes of one child into lines and calls its sink.
#[derive(Debug)]
struct Outlet {
    pid: u32,
    sink: LineSink,
    partial: Vec<u8>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Outlet {
    fn push(&mut self, mut bytes: &[u8]) {
        let cost = cost(bytes);
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.add(&bytes[..end]);
            self.deliver();
            bytes = &bytes[end + 1..];
        }
        self.add(bytes);
        self.waiting_bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn deliver(&mut self) {
        if self.partial.last() == Some(&b'\r') {
            self.partial.pop();
        }
        let text = String::from_utf8_lossy(&self.partial);
        let line = StderrLine {
            pid: self.pid,
            text: &text,
            skipped: SKIPPED.swap(0, Ordering::Relaxed),
        };
        // The panic hook has reported a panic of a sink. It must not end the thread.
        drop(catch_unwind(AssertUnwindSafe(|| {
            self.sink.call(&line);
        })));
        drop(text);
        self.partial.clear();
    }

    fn close(mut self) {
        if !self.partial.is_empty() {
            self.deliver();
        }
        // The last sink of its kind drops what the user's function holds.
        drop(catch_unwind(AssertUnwindSafe(move || drop(self))));
    }
}

fn prepare() -> Option<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut is_started = lock(&STARTED);
    if !*is_started {
        let mut outlets = BTreeMap::new();
        service::start("stdio-lines", move || run(&mut outlets)).ok()?;
        *is_started = true;
    }
    Some(())
}

fn post(delivery: Delivery) {
    lock(&DELIVERIES).push_back(delivery);
    POSTED.notify_one();
}

fn run(outlets: &mut BTreeMap<ChildId, Outlet>) {
    sys::block_signals();
    loop {
        let mut deliveries = POSTED
            .wait_while(lock(&DELIVERIES), |deliveries| deliveries.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let delivery = deliveries.pop_front();
        drop(deliveries);
        match delivery {
            Some(Delivery::Open { child, outlet }) => drop(outlets.insert(child, outlet)),
            Some(Delivery::Bytes {
                child,
                bytes,
                has_gap,
            }) => {
                if let Some(outlet) = outlets.get_mut(&child) {
                    if has_gap {
                        outlet.partial.clear();
                    }
                    outlet.push(&bytes);
                }
            }
            Some(Delivery::Close { child, has_gap }) => {
                if let Some(mut outlet) = outlets.remove(&child) {
                    if has_gap {
                        outlet.partial.clear();
                    }
                    outlet.close();
                }
            }
            None => {}
        }
    }
}

/// What bytes cost while they wait, with what is kept beside them.
const fn cost(bytes: &[u8]) -> usize {
    bytes.len() + 64
}

/// Bounded by [`WAITING_BYTES_MAX`] for each child.
static DELIVERIES: Mutex<VecDeque<Delivery>> = Mutex::new(VecDeque::new());
static POSTED: Condvar = Condvar::new();
/// Lines of all children that were skipped since the last one that reached a sink.
static SKIPPED: AtomicU64 = AtomicU64::new(0);
/// What may wait for the sink of one child.
const WAITING_BYTES_MAX: usize = 256 * 1024;
const LINE_BYTES_MAX: usize = 8 * 1024;
