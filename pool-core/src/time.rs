//! Time as the store counts it: nanoseconds since the pool was built.
//!
//! A [`Time`] is one word, compared and added without a clock. Only [`Clock`] reads a clock for the
//! pool's decisions, the runtime's, so tests can pause it.

use std::time::Duration;

use tokio::time::Instant;

/// A point in time of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time(u64);

impl Time {
    /// 584 years after the pool was built: later than anything that happens.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// In whole milliseconds.
    pub(crate) const fn as_millis(self) -> u64 {
        self.0 / NANOS_PER_MILLI
    }

    /// In milliseconds, a part of one counted as a whole.
    pub(crate) const fn as_millis_rounded_up(self) -> u64 {
        self.0.div_ceil(NANOS_PER_MILLI)
    }

    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// So long before; the beginning of time at the earliest.
    pub(crate) fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A duration in nanoseconds; beyond 584 years it is as good as infinite.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads the runtime's clock. Costs as much as half an uncontended acquire: slow paths only.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    birth: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            birth: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        Time(nanos(self.birth.elapsed()))
    }

    /// This moment as the pool counts it; zero if the pool did not exist yet.
    pub(crate) fn time(&self, instant: Instant) -> Time {
        Time(nanos(instant.saturating_duration_since(self.birth)))
    }

    /// This time on the runtime's clock; far in the future for [`Time::NEVER`].
    pub(crate) fn instant(&self, time: Time) -> Instant {
        const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
        let distance = Duration::from_nanos(time.0);
        self.birth
            .checked_add(distance)
            .unwrap_or_else(|| Instant::now() + FAR)
    }
}
