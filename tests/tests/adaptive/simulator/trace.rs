//! What was seen in a run.

/// What was seen in a tenth of a second, and at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Its end, from the beginning of the run.
    pub(crate) seconds: f64,
    /// Requests that were answered.
    pub(crate) completed: usize,
    /// Open connections.
    pub(crate) open: usize,
    /// Those of them that had leases.
    pub(crate) leased: usize,
    /// All leases.
    pub(crate) leases: usize,
    /// How many leases a connection should carry.
    pub(crate) target: u32,
}

/// What was seen in a run.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// In their order.
    pub(crate) samples: Vec<Sample>,
}

impl Trace {
    /// What was seen from then on.
    pub(crate) fn after(&self, seconds: f64) -> impl Iterator<Item = &Sample> + Clone {
        self.samples
            .iter()
            .filter(move |sample| sample.seconds > seconds + 1e-6)
    }

    /// Answers per second from then on.
    pub(crate) fn rate_after(&self, seconds: f64) -> f64 {
        let samples = self.after(seconds);
        let completed: usize = samples.clone().map(|sample| sample.completed).sum();
        let last = samples.last().map_or(seconds, |sample| sample.seconds);
        real(completed) / (last - seconds)
    }

    /// The most connections that had leases at a time, from then on.
    pub(crate) fn widest_after(&self, seconds: f64) -> usize {
        let leased = self.after(seconds).map(|sample| sample.leased);
        leased.max().unwrap_or(0)
    }

    /// When there were more leases than this for the last time.
    pub(crate) fn crowded_until(&self, leases: usize) -> f64 {
        let mut backwards = self.samples.iter().rev();
        let last = backwards.find(|sample| sample.leases > leases);
        last.map_or(0.0, |sample| sample.seconds)
    }

    /// How many connections had leases, on average, from then on.
    pub(crate) fn mean_leased_after(&self, seconds: f64) -> f64 {
        let leased = self.after(seconds).map(|sample| sample.leased);
        real(leased.clone().sum::<usize>()) / real(leased.count())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn real(count: usize) -> f64 {
    count as f64
}
