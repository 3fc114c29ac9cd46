//! What an operator can see of the parts that all children share: the guardian, the threads, and what
//! the system refused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::{counter, gauge};

use super::{notifier, service};

/// The state of what all children of this program share.
///
/// # Examples
///
/// ```
/// pool_stdio::prepare()?;
/// let health = pool_stdio::health();
/// assert!(health.threads >= 3 && health.thread_restarts == 0);
/// if !health.has_guardian {
///     eprintln!("children that ignore the end of their input will outlive this program");
/// }
/// # Ok::<(), pool_stdio::SpawnError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether a guardian will end the children if this program ends before them.
    pub has_guardian: bool,
    /// How often a guardian was started. More than once if one was killed, stopped or did not read, or
    /// if this program has changed its user.
    pub guardian_starts: u64,
    /// How many threads of this crate run.
    pub threads: usize,
    /// How often one of them was started over after a panic, which is a bug of this crate.
    pub thread_restarts: usize,
    /// How many scans for survivors could not tell who lives.
    pub failed_scans: u64,
    /// How many signals the system refused to send.
    pub refused_signals: u64,
    /// How many processes that lost their parent were reaped by this program, as the first process of
    /// a container or as a subreaper.
    pub adopted_zombies: u64,
}

/// The state of what all children of this program share. The same is published as
/// [metrics](https://docs.rs/metrics).
#[must_use]
pub fn health() -> Health {
    Health {
        has_guardian: HAS_GUARDIAN.load(Ordering::Acquire),
        guardian_starts: Event::GuardianStart.count().load(Ordering::Relaxed),
        threads: service::running(),
        thread_restarts: service::restarts(),
        failed_scans: Event::FailedScan.count().load(Ordering::Relaxed),
        refused_signals: Event::RefusedSignal.count().load(Ordering::Relaxed),
        adopted_zombies: Event::AdoptedZombie.count().load(Ordering::Relaxed),
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    GuardianStart,
    FailedScan,
    RefusedSignal,
    AdoptedZombie,
}

impl Event {
    fn count(self) -> &'static AtomicU64 {
        static COUNTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
        &COUNTS[self as usize]
    }

    const fn name(self) -> &'static str {
        match self {
            Self::GuardianStart => "stdio_guardian_starts_total",
            Self::FailedScan => "stdio_failed_scans_total",
            Self::RefusedSignal => "stdio_refused_signals_total",
            Self::AdoptedZombie => "stdio_adopted_zombies_total",
        }
    }

    /// Counts it. Can be called on any thread: the recorder of metrics is not.
    pub(crate) fn happened(self) {
        self.count().fetch_add(1, Ordering::Relaxed);
        notifier::run(move || counter!(self.name()).increment(1));
    }
}

/// Whether there is a guardian that knows all children.
#[cfg(unix)]
pub(crate) fn has_guardian() -> bool {
    HAS_GUARDIAN.load(Ordering::Relaxed)
}

/// Notes whether there is a guardian.
pub(crate) fn set_guardian(is_there: bool) {
    HAS_GUARDIAN.store(is_there, Ordering::Release);
    notifier::run(publish_gauges);
}

/// Publishes what does not change by events. Must be called on a thread that may run a user's code.
pub(crate) fn publish_gauges() {
    let Health {
        has_guardian,
        threads,
        thread_restarts,
        ..
    } = health();
    gauge!("stdio_guardian").set(f64::from(u8::from(has_guardian)));
    gauge!("stdio_threads").set(u32::try_from(threads).map_or(f64::MAX, f64::from));
    let restarts = u32::try_from(thread_restarts).unwrap_or(u32::MAX);
    counter!("stdio_thread_restarts_total").absolute(restarts.into());
}

static HAS_GUARDIAN: AtomicBool = AtomicBool::new(false);
