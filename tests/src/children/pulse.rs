//! How busy the machine is while a test measures time.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Measures how late the machine runs things. A busy machine is no fault of the code under test, but
/// a blocked runtime is.
///
/// A thread that only naps adds up how much too late it was woken. That alone is not enough, since a
/// machine may wake sleepers at once and make workers wait; so the time for which threads of this
/// process were ready to run and did not run is added.
#[derive(Debug)]
pub struct Pulse {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Duration>,
    waited_before: Duration,
}

impl Pulse {
    /// Starts to measure.
    #[must_use]
    pub fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || nap(&over));
        Self {
            is_over,
            thread,
            waited_before: waited_for_a_core(),
        }
    }

    /// Ends the measurement and returns the lateness in all.
    ///
    /// # Panics
    ///
    /// Never: the napping thread does not panic.
    #[must_use]
    pub fn stop(self) -> Duration {
        let waited = waited_for_a_core().saturating_sub(self.waited_before);
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the napping thread cannot panic") + waited
    }
}

/// For how long the living threads of this process were ready to run and did not run; zero where the
/// system does not say.
fn waited_for_a_core() -> Duration {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Duration::ZERO;
    };
    let waited = |thread: io::Result<fs::DirEntry>| -> Option<u64> {
        let statistics = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        statistics.split_whitespace().nth(1)?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(waited).sum())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the nap that takes too long is what is measured"
)]
fn nap(is_over: &AtomicBool) -> Duration {
    let mut late = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let begun = std::time::Instant::now();
        thread::sleep(NAP);
        late += begun.elapsed().saturating_sub(NAP);
    }
    late
}

const NAP: Duration = Duration::from_millis(5);
