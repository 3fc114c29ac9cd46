//! What the leases of some ticks came to: their load, their rate, their time.

use std::time::Duration;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LoadWindow {
    pub(super) ticks: u32,
    seconds: f64,
    /// The load, added up over time: by Little's law, the time of all leases together.
    lease_seconds: f64,
    pub(super) ended: f64,
    /// The squares of what ended in each tick, added up.
    ended_squared: f64,
}

impl LoadWindow {
    pub(super) fn of_tick(passed: Duration, load: f64, ended: u64) -> Self {
        let seconds = passed.as_secs_f64();
        let ended = real_count(ended);
        Self {
            ticks: 1,
            seconds,
            lease_seconds: load * seconds,
            ended,
            ended_squared: ended * ended,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.ticks += other.ticks;
        self.seconds += other.seconds;
        self.lease_seconds += other.lease_seconds;
        self.ended += other.ended;
        self.ended_squared += other.ended_squared;
    }

    /// Counts for half of what it was, so that what comes counts for more.
    fn fade(&mut self) {
        self.ticks /= 2;
        self.seconds /= 2.0;
        self.lease_seconds /= 2.0;
        self.ended /= 2.0;
        self.ended_squared /= 2.0;
    }

    /// Completions per second.
    pub(super) fn rate(&self) -> f64 {
        self.ended / self.seconds
    }

    /// The leases that are out at a time.
    pub(super) fn mean_load(&self) -> f64 {
        self.lease_seconds / self.seconds
    }

    /// The time of a lease.
    pub(super) fn mean_seconds(&self) -> f64 {
        self.lease_seconds / self.ended
    }

    /// The time of a lease, and it is hardly longer; infinite if too few have ended.
    pub(super) fn seconds_at_most(&self) -> f64 {
        if self.ended < ENDED_MIN {
            return f64::INFINITY;
        }
        self.mean_seconds() * (1.0 + 2.0 / self.ended.sqrt())
    }

    /// There is enough in it for a first judgement.
    pub(super) fn is_telling(&self) -> bool {
        self.ticks >= TICKS_MIN && self.ended >= ENDED_MIN
    }

    /// By what part the rate may be off by chance: as the ends vary from tick to tick, and not less
    /// than if they came independently.
    fn error(&self) -> f64 {
        let ticks = f64::from(self.ticks);
        let mean = self.ended / ticks;
        let variance = (self.ended_squared / ticks - mean * mean).max(0.0) / (ticks - 1.0).max(1.0);
        (variance.sqrt() / mean).max(1.0 / self.ended.sqrt())
    }

    /// By what part the ratio of two rates may be off by chance.
    pub(super) fn error_beside(&self, other: &Self) -> f64 {
        self.error().hypot(other.error()).max(ERROR_MIN)
    }

    /// It is exact enough to be compared with.
    pub(super) fn is_steady(&self) -> bool {
        self.error() <= ERROR_STEADY
    }

    /// There will be no better judgement: the ends come evenly, or twice as many leases have ended as
    /// are out at a time.
    pub(super) fn is_complete(&self) -> bool {
        let is_even = self.error() <= ERROR_EVEN || self.ended >= 2.0 * self.mean_load();
        let is_long = self.ticks >= TICKS_MAX && is_even || self.ticks >= TICKS_LIMIT;
        is_long && self.is_telling()
    }
}

/// What leases came to, in all and at different loads.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadProfile {
    pub(super) total: LoadWindow,
    /// Two classes for each doubling of the load.
    pub(super) classes: [LoadWindow; CLASSES],
}

impl Default for LoadProfile {
    fn default() -> Self {
        Self {
            total: LoadWindow::default(),
            classes: [LoadWindow::default(); CLASSES],
        }
    }
}

impl LoadProfile {
    pub(super) fn add(&mut self, tick: &LoadWindow) {
        self.total.add(tick);
        self.classes[class_of(tick.mean_load())].add(tick);
    }

    pub(super) fn fade(&mut self) {
        self.total.fade();
        self.classes.iter_mut().for_each(LoadWindow::fade);
    }
}

/// Twice the binary logarithm.
fn class_of(load: f64) -> usize {
    whole((2.0 * load.max(1.0).log2()).round()).min(CLASSES - 1)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) const fn real(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) const fn real_count(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion that saturates; loads are small and not negative"
)]
pub(super) const fn whole(number: f64) -> usize {
    number as usize
}

const TICKS_MIN: u32 = 3;
const TICKS_MAX: u32 = 12;
/// However few leases end.
const TICKS_LIMIT: u32 = 300;
pub(super) const ENDED_MIN: f64 = 8.0;
/// What a busy machine makes of two equal measurements.
const ERROR_MIN: f64 = 0.05;
const ERROR_EVEN: f64 = 0.1;
const ERROR_STEADY: f64 = 0.25;
/// Up to a load of 2^12.
const CLASSES: usize = 25;
