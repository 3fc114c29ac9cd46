//! What a connector reports to the `metrics` facade. Handles are resolved once per connector.
//!
//! Without a recorder the clock is not read for the histograms.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, IntoF64, counter, gauge, histogram};

use crate::error::{ErrorKind, StdioError};
use crate::process::{Exit, Rung, Termination};

/// The handles of all metrics of one connector.
pub(crate) struct Meters {
    /// The `connector` label, which logs carry as well.
    connector: Box<str>,
    is_recorded: bool,
    spawns: Counter,
    spawn_failures: Counter,
    spawn_seconds: Histogram,
    children: Gauge,
    exits: [Counter; ExitKind::ALL.len()],
    requests: Counter,
    request_failures: [Counter; ErrorKind::ALL.len()],
    request_seconds: Histogram,
    read_bytes: Counter,
    written_bytes: Counter,
    stray_frames: Counter,
    unclaimed_replies: [Counter; 3],
    stderr_lines: Counter,
}

/// Replies that belonged to no pending call, by the reason.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UnclaimedCounts {
    /// The call had been given up.
    pub(crate) late: u64,
    /// The call had been answered.
    pub(crate) duplicate: u64,
    /// There never was such a call.
    pub(crate) unknown: u64,
}

/// The fields of [`UnclaimedCounts`] as labels.
const UNCLAIMED: [&str; 3] = ["late", "duplicate", "unknown"];

/// The `kind` label of exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitKind {
    /// The child exited by itself, with code 0.
    Clean,
    /// The child exited by itself, with another code.
    Failure,
    /// A signal that was not ours ended it.
    Signal,
    /// Our SIGTERM ended it.
    Terminated,
    /// Our SIGKILL ended it.
    Killed,
    /// The child exited by itself, and something else in this program collected its status.
    Lost,
    /// It was dropped and not closed: killed in the background.
    Dropped,
}

impl ExitKind {
    const ALL: [Self; 7] = [
        Self::Clean,
        Self::Failure,
        Self::Signal,
        Self::Terminated,
        Self::Killed,
        Self::Lost,
        Self::Dropped,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Failure => "failure",
            Self::Signal => "signal",
            Self::Terminated => "terminated",
            Self::Killed => "killed",
            Self::Lost => "lost",
            Self::Dropped => "dropped",
        }
    }

    fn of(termination: &Termination) -> Self {
        match (termination.rung, termination.exit) {
            // What ended others of its scope says nothing of a root that had exited before.
            (Rung::Kill, _) if !termination.exited_by_itself => Self::Killed,
            (Rung::Term, _) if !termination.exited_by_itself => Self::Terminated,
            (_, Exit::Lost) => Self::Lost,
            (_, Exit::Status(status)) => match status.code() {
                Some(0) => Self::Clean,
                Some(_) => Self::Failure,
                None => Self::Signal,
            },
        }
    }
}

impl Meters {
    pub(crate) fn new(connector: &str) -> Arc<Self> {
        let label = || connector.to_owned();
        let children = gauge!("stdio_children", "connector" => label());
        Arc::new(Self {
            connector: connector.into(),
            is_recorded: is_recorded(&children),
            spawns: counter!("stdio_spawns_total", "connector" => label()),
            spawn_failures: counter!("stdio_spawn_failures_total", "connector" => label()),
            spawn_seconds: histogram!("stdio_spawn_seconds", "connector" => label()),
            children,
            exits: ExitKind::ALL.map(|kind| {
                counter!("stdio_exits_total", "connector" => label(), "kind" => kind.as_str())
            }),
            requests: counter!("stdio_requests_total", "connector" => label()),
            request_failures: ErrorKind::ALL.map(|kind| {
                let error = kind.as_str();
                counter!("stdio_request_failures_total", "connector" => label(), "error" => error)
            }),
            request_seconds: histogram!("stdio_request_seconds", "connector" => label()),
            read_bytes: counter!("stdio_read_bytes_total", "connector" => label()),
            written_bytes: counter!("stdio_written_bytes_total", "connector" => label()),
            stray_frames: counter!("stdio_stray_frames_total", "connector" => label()),
            unclaimed_replies: UNCLAIMED.map(|kind| {
                counter!("stdio_unclaimed_replies_total", "connector" => label(), "kind" => kind)
            }),
            stderr_lines: counter!("stdio_stderr_lines_total", "connector" => label()),
        })
    }

    /// Whether a recorder was installed when the connector was made.
    pub(crate) const fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    pub(crate) fn spawn_failed(&self) {
        self.spawn_failures.increment(1);
    }

    pub(crate) fn request_begun(&self) {
        self.requests.increment(1);
    }

    pub(crate) fn request_answered(&self, time: Duration) {
        self.request_seconds.record(time);
    }

    pub(crate) fn request_failed(&self, error: &StdioError) {
        self.failed(error.kind());
    }

    pub(crate) fn failed(&self, error: ErrorKind) {
        let kinds = ErrorKind::ALL.iter().zip(&self.request_failures);
        for (_, counter) in kinds.filter(|(kind, _)| **kind == error) {
            counter.increment(1);
        }
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.read_bytes.increment(bytes as u64);
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.written_bytes.increment(bytes as u64);
    }

    pub(crate) fn strayed(&self, frames: u64) {
        self.stray_frames.increment(frames);
    }

    /// Replies that belonged to no pending call.
    pub(crate) fn unclaimed(&self, counts: UnclaimedCounts) {
        let counts = [counts.late, counts.duplicate, counts.unknown];
        for (counter, count) in self.unclaimed_replies.iter().zip(counts) {
            if count > 0 {
                counter.increment(count);
            }
        }
    }

    fn exited(&self, kind: ExitKind) {
        let kinds = ExitKind::ALL.iter().zip(&self.exits);
        for (_, counter) in kinds.filter(|(other, _)| **other == kind) {
            counter.increment(1);
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters")
            .field("is_recorded", &self.is_recorded)
            .finish_non_exhaustive()
    }
}

/// Counts one child as alive until it is dropped, and its exit then.
#[derive(Debug)]
pub(crate) struct ChildMeter {
    meters: Arc<Meters>,
    ending: Option<ExitKind>,
    stderr_lines: AtomicU64,
}

impl ChildMeter {
    pub(crate) fn new(meters: Arc<Meters>, spawn_time: Duration) -> Self {
        meters.spawns.increment(1);
        meters.spawn_seconds.record(spawn_time);
        meters.children.increment(1.0);
        Self {
            meters,
            ending: None,
            stderr_lines: AtomicU64::new(0),
        }
    }

    /// The child has written this many lines to stderr in all.
    pub(crate) fn wrote_lines(&self, total: u64) {
        let before = self.stderr_lines.fetch_max(total, Ordering::Relaxed);
        self.meters
            .stderr_lines
            .increment(total.saturating_sub(before));
    }

    /// The metrics of its connector.
    pub(crate) fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    /// The `connector` label.
    pub(crate) fn connector(&self) -> &str {
        &self.meters.connector
    }

    pub(crate) fn end(mut self, termination: &Termination) {
        self.wrote_lines(termination.stderr.lines_total);
        self.ending = Some(ExitKind::of(termination));
    }
}

impl Drop for ChildMeter {
    fn drop(&mut self) {
        self.meters.exited(self.ending.unwrap_or(ExitKind::Dropped));
        self.meters.children.decrement(1.0);
    }
}

/// Whether a recorder is installed, found out by adding zero to a gauge: without a recorder the
/// facade does not ask for the value.
fn is_recorded(gauge: &Gauge) -> bool {
    struct Probe<'a>(&'a Cell<bool>);
    impl IntoF64 for Probe<'_> {
        fn into_f64(self) -> f64 {
            self.0.set(true);
            0.0
        }
    }
    let seen = Cell::new(false);
    gauge.increment(Probe(&seen));
    seen.get()
}
