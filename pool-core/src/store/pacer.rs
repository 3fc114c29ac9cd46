//! When the next connect may begin after failures, and when waiting for it is pointless.
//!
//! Failures are counted in *rounds*: connects that ran side by side and failed are one round.
//! Otherwise `max_connecting` would decide how soon callers are refused. Each round doubles the span
//! from which the delay is drawn. A mere connect does not reset the count, since a crash loop
//! connects as well; a connection that lives for `min_uptime` does.

use std::time::Duration;

use crate::error::ConnectError;
use crate::time::{Time, nanos};

#[derive(Debug, Clone, Copy)]
pub(crate) struct PacerLimits {
    pub(crate) delay: Duration,
    pub(crate) delay_max: Duration,
    pub(crate) fail_fast_after: u32,
}

#[derive(Debug)]
pub(crate) struct Pacer {
    limits: PacerLimits,
    random: Random,
    round: u32,
    permanent: bool,
    not_before: Time,
    failed_at: Time,
    failure: Option<ConnectError>,
}

impl Pacer {
    pub(crate) const fn new(limits: PacerLimits, seed: u64) -> Self {
        Self {
            limits,
            random: Random(seed),
            round: 0,
            permanent: false,
            not_before: Time::from_nanos(0),
            failed_at: Time::from_nanos(0),
            failure: None,
        }
    }

    /// The number of failed rounds since connections last lived long enough.
    pub(crate) const fn round(&self) -> u32 {
        self.round
    }

    /// The latest failure, unless a connection has lived long enough since.
    pub(crate) fn failure(&self) -> Option<&ConnectError> {
        self.failure.as_ref().filter(|_| self.round > 0)
    }

    /// A connect that began in round `began` failed, or its connection died early. Returns the
    /// previous failure, to be dropped after unlocking.
    ///
    /// A connect that began before the latest failure belongs to the same round, unless the delay
    /// after that failure is over.
    #[must_use]
    pub(crate) fn failed(
        &mut self,
        now: Time,
        began: u32,
        error: ConnectError,
    ) -> Option<ConnectError> {
        self.permanent = error.is_permanent();
        self.failed_at = now;
        if began == self.round || now >= self.not_before {
            let delay = self.random.below(self.span());
            self.not_before = now.after(delay);
            self.round = self.round.saturating_add(1);
        }
        self.failure.replace(error)
    }

    /// A connect succeeded, so failure is no longer permanent.
    pub(crate) const fn connected(&mut self) {
        self.permanent = false;
    }

    /// A connection that was opened at `born` is alive at `now`. Returns whether that ends the
    /// series of failures.
    pub(crate) fn alive(&mut self, born: Time, now: Time, min_uptime: Duration) -> bool {
        let recovered = self.round > 0 && born >= self.failed_at && now >= born.after(min_uptime);
        if recovered {
            self.round = 0;
        }
        recovered
    }

    /// When the next connect may begin.
    pub(crate) const fn not_before(&self) -> Time {
        self.not_before
    }

    /// If connects keep failing: after how long the next one may begin. `None` while there is reason to
    /// wait.
    pub(crate) fn unavailable_for(&self, now: Time) -> Option<Duration> {
        let tripped =
            self.round > 0 && (self.permanent || self.round >= self.limits.fail_fast_after);
        (tripped && now < self.not_before).then(|| self.not_before.since(now))
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The span of the next delay: `delay`, doubled for each round before, up to `delay_max`.
    fn span(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.round.min(31)).unwrap_or(u32::MAX);
        self.limits
            .delay
            .saturating_mul(factor)
            .min(self.limits.delay_max)
    }
}

/// The splitmix64 generator: good enough to spread delays and lifetimes, and small.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A duration from zero up to, but not including, `span`.
    pub(crate) fn below(&mut self, span: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let scaled = u128::from(z) * u128::from(nanos(span));
        Duration::from_nanos(u64::try_from(scaled >> 64).expect("a fraction of a u64"))
    }
}
