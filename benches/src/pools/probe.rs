//! What is recorded at each acquire: nothing where the cost counts, else the wait.

use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::{Percentiles, Waits};

/// Watches the acquires of one task.
pub(super) trait Probe: Send + 'static {
    /// What is kept from the start of an acquire to its end.
    type Began: Send;

    /// A probe with room for so many acquires.
    fn with_capacity(ops: usize) -> Self;

    /// An acquire starts.
    fn begin() -> Self::Began;

    /// That acquire has been served.
    fn served(&mut self, began: Self::Began);
}

/// Records nothing and costs nothing: a clock read costs as much as the acquire that is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoProbe;

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

/// Records how long each acquire took.
#[derive(Debug, Clone)]
pub(super) struct WaitProbe {
    waits_ns: Vec<u64>,
}

impl WaitProbe {
    /// The waits in the order in which they were served.
    #[must_use]
    pub(super) fn waits_ns(&self) -> &[u64] {
        &self.waits_ns
    }

    /// The percentiles of all tasks together; `None` if nothing was recorded.
    #[must_use]
    pub(super) fn percentiles(probes: &[Self]) -> Option<Percentiles> {
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
