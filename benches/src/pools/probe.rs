//! What is noted at each acquire: nothing, where the cost counts, or the wait.

use pool_reuse::measure::clock::Stopwatch;
use pool_reuse::measure::stats::{Percentiles, Waits};

/// Watches the acquires of one task.
pub trait Probe: Send + 'static {
    /// What is remembered from the begin of an acquire to its end.
    type Began: Send;

    /// A probe for so many acquires.
    fn with_capacity(ops: usize) -> Self;

    /// An acquire begins.
    fn begin() -> Self::Began;

    /// That acquire has been served.
    fn served(&mut self, began: Self::Began);
}

/// Notes nothing and costs nothing: a clock read is as dear as the acquire that is measured.
#[derive(Debug, Clone, Copy)]
pub struct NoProbe;

impl Probe for NoProbe {
    type Began = ();

    fn with_capacity(_ops: usize) -> Self {
        Self
    }

    #[inline]
    fn begin() {}

    #[inline]
    fn served(&mut self, (): ()) {}
}

/// Notes how long each acquire took.
#[derive(Debug, Clone)]
pub struct WaitProbe {
    waits_ns: Vec<u64>,
}

impl WaitProbe {
    /// The waits in the order in which they were served.
    #[must_use]
    pub fn waits_ns(&self) -> &[u64] {
        &self.waits_ns
    }

    /// The percentiles of all tasks together; `None` if nothing was noted.
    #[must_use]
    pub fn percentiles(probes: &[Self]) -> Option<Percentiles> {
        let mut waits = Waits::new();
        for &wait_ns in probes.iter().flat_map(Self::waits_ns) {
            waits.record_ns(wait_ns);
        }
        waits.percentiles()
    }
}

impl Probe for WaitProbe {
    type Began = Stopwatch;

    fn with_capacity(ops: usize) -> Self {
        Self {
            waits_ns: Vec::with_capacity(ops),
        }
    }

    #[inline]
    fn begin() -> Stopwatch {
        Stopwatch::start()
    }

    #[inline]
    fn served(&mut self, began: Stopwatch) {
        self.waits_ns.push(began.elapsed_ns());
    }
}
