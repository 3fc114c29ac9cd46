//! How replacements are put off while connections are too heavy as soon as they are new.

use std::time::Duration;

use crate::time::Time;

/// How long the next one is put off.
#[derive(Debug, Default)]
pub(super) struct HeavyPause {
    /// Zero while new connections are light enough.
    length: Duration,
    pub(super) ends: Time,
}

impl HeavyPause {
    /// A connection that was too heavy when it was new is replaced now, and the next one after twice the time.
    /// Returns whether it is the first of them.
    pub(super) fn begin(&mut self, interval: Duration, now: Time) -> bool {
        let is_first = self.length.is_zero();
        let length = self.length.saturating_mul(2).min(HEAVY_PAUSE_MAX);
        self.length = length.max(interval);
        self.ends = now.after(self.length);
        is_first
    }
}

/// A connection that is too heavy when it is new can leak memory as well, so the heaviest is replaced at least this often.
const HEAVY_PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
