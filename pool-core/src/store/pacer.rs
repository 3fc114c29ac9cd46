//! When the next connect may begin after failures, and when waiting for it is pointless.
//!
//! Failures are counted in *rounds*: connects that ran side by side and failed are one round.
//! Otherwise `max_connecting` would decide how soon callers are refused. Each round doubles the span
//! from which the delay is drawn, up to what the failure cost. A mere connect does not reset the
//! count, since a crash loop connects as well; a connection that proves itself does. While connects
//! fail, they are made one at a time.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::ConnectError;
use crate::time::{Clock, Time, nanos};

#[derive(Debug, Clone, Copy)]
pub(crate) struct PacerLimits {
    pub(crate) delay: Duration,
    pub(crate) delay_max: Duration,
    pub(crate) fail_fast_after: u32,
}

/// What a failure cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// A connect that took so long.
    Connect(Duration),
    /// A connection, which had been opened.
    Connection,
}

#[derive(Debug)]
pub(crate) struct Pacer {
    limits: PacerLimits,
    random: Random,
    round: u32,
    permanent: bool,
    /// The last connect to end has failed, or its connection.
    is_failing: bool,
    not_before: Time,
    failed_at: Time,
    failure: Option<ConnectError>,
    /// How long connects that succeed take, smoothed.
    usual: Duration,
}

/// After a failed connect the delay is at most this many times what the connect took, so that
/// failing takes up a small part of the time,
const DELAY_PER_COST: u32 = 50;
/// but it may always be as long as this.
const CHEAP_DELAY_MAX: Duration = Duration::from_millis(500);
/// A failure is forgotten after this, or after twice the longest delay.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// A connect is not overdue before this,
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// nor before this many times what is usual.
const PATIENCE_PER_USUAL: u32 = 2;

/// What a pacer knows of failures, apart from the clock of its pool.
#[derive(Debug, Clone)]
pub(crate) struct FailureRecord {
    round: u32,
    permanent: bool,
    is_failing: bool,
    not_before: Instant,
    failed_at: Instant,
    /// From then on it says nothing any more.
    forgotten_at: Instant,
    failure: Option<ConnectError>,
}

impl FailureRecord {
    /// When the latest failure was.
    pub(crate) const fn at(&self) -> Instant {
        self.failed_at
    }

    pub(crate) fn is_past(&self, now: Instant) -> bool {
        self.forgotten_at <= now
    }
}

impl Pacer {
    /// What to remember of failures when the pool ends; `None` if there is nothing to wait for.
    pub(crate) fn record(&self, clock: &Clock) -> Option<FailureRecord> {
        (self.round(clock.now()) > 0).then(|| FailureRecord {
            round: self.round,
            permanent: self.permanent,
            is_failing: self.is_failing,
            not_before: clock.instant(self.not_before),
            failed_at: clock.instant(self.failed_at),
            forgotten_at: clock.instant(self.failed_at.after(self.kept())),
            failure: self.failure.clone(),
        })
    }

    /// Goes on from there.
    pub(crate) fn restore(&mut self, record: FailureRecord, clock: &Clock) {
        self.round = record.round;
        self.permanent = record.permanent;
        self.is_failing = record.is_failing;
        self.not_before = clock.time(record.not_before);
        self.failed_at = clock.time(record.failed_at);
        self.failure = record.failure;
    }

    pub(crate) const fn new(limits: PacerLimits, seed: u64) -> Self {
        Self {
            limits,
            random: Random(seed),
            round: 0,
            permanent: false,
            is_failing: false,
            not_before: Time::from_nanos(0),
            failed_at: Time::from_nanos(0),
            failure: None,
            usual: Duration::ZERO,
        }
    }

    /// The number of failed rounds since connections last proved themselves.
    pub(crate) fn round(&self, now: Time) -> u32 {
        match self.is_forgotten(now) {
            true => 0,
            false => self.round,
        }
    }

    /// Whether connections have failed and none has proved itself since.
    pub(crate) const fn is_failing(&self) -> bool {
        self.round > 0
    }

    /// The latest failure, unless a connection has proved itself since, or it is long past.
    pub(crate) fn failure(&self, now: Time) -> Option<&ConnectError> {
        let is_current = self.round(now) > 0;
        self.failure.as_ref().filter(|_| is_current)
    }

    fn is_forgotten(&self, now: Time) -> bool {
        now.since(self.failed_at) > self.kept()
    }

    /// For how long a failure is remembered.
    fn kept(&self) -> Duration {
        FORGOTTEN_AFTER.max(self.limits.delay_max.saturating_mul(2))
    }

    /// A connect that began in round `began` failed, or its connection ended too early. Returns the
    /// previous failure, to be dropped after unlocking.
    ///
    /// A connect that began before the latest failure belongs to the same round, unless the delay
    /// after that failure is over.
    #[must_use]
    pub(crate) fn failed(
        &mut self,
        now: Time,
        began: u32,
        cost: Cost,
        error: ConnectError,
    ) -> Option<ConnectError> {
        let is_of_latest = began != self.round && now < self.not_before;
        self.round = self.round(now);
        self.permanent = error.is_permanent();
        self.is_failing = true;
        self.failed_at = now;
        if !is_of_latest {
            let delay = self.random.below(self.span(cost));
            self.not_before = now.after(delay);
            self.round = self.round.saturating_add(1);
        }
        self.failure.replace(error)
    }

    /// A connect succeeded after `took`.
    pub(crate) fn connected(&mut self, took: Duration) {
        self.permanent = false;
        self.is_failing = false;
        self.usual = match self.usual {
            Duration::ZERO => took,
            usual => (usual * 3 + took) / 4,
        };
    }

    /// Whether another connect may begin beside so many that are not overdue.
    pub(crate) const fn allows_beside(&self, connects: usize) -> bool {
        !self.is_failing || connects == 0
    }

    /// How long a connect may take until it is overdue, beside so many that are. Each of those
    /// doubles it: if nothing answers, there must not be ever more of them.
    pub(crate) fn patience(&self, overdue: usize) -> Duration {
        let base = self.usual.saturating_mul(PATIENCE_PER_USUAL);
        let factor = u32::try_from(overdue)
            .ok()
            .and_then(|n| 1_u32.checked_shl(n));
        base.max(PATIENCE_MIN)
            .saturating_mul(factor.unwrap_or(u32::MAX))
    }

    /// A connection that was opened at `born` has proved itself. Returns whether that ends the
    /// series of failures: not if it was opened before the latest one.
    pub(crate) fn proved(&mut self, born: Time) -> bool {
        let recovered = self.round > 0 && born >= self.failed_at;
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

    /// The span of the next delay: `delay`, doubled for each round before, as far as the cost of the
    /// failure allows.
    fn span(&self, cost: Cost) -> Duration {
        let PacerLimits {
            delay, delay_max, ..
        } = self.limits;
        let ceiling = match cost {
            Cost::Connection => delay_max,
            Cost::Connect(took) => {
                let delay_max_for_cost = took.saturating_mul(DELAY_PER_COST);
                delay_max_for_cost.max(CHEAP_DELAY_MAX).max(delay)
            }
        };
        let factor = 1_u32.checked_shl(self.round.min(31)).unwrap_or(u32::MAX);
        delay.saturating_mul(factor).min(ceiling).min(delay_max)
    }
}

/// The splitmix64 generator: good enough to spread delays and lifetimes, and small.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A duration from zero up to, but not including, `span`.
    pub(crate) fn below(&mut self, span: Duration) -> Duration {
        Duration::from_nanos(self.number_below(nanos(span)))
    }

    /// A number from zero up to, but not including, `end`; zero if that is zero.
    pub(crate) fn number_below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let scaled = u128::from(z) * u128::from(end);
        u64::try_from(scaled >> 64).expect("a fraction of a u64")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pacer() -> Pacer {
        let limits = PacerLimits {
            delay: SECOND,
            delay_max: 8 * SECOND,
            fail_fast_after: 3,
        };
        Pacer::new(limits, 1)
    }

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    fn fail(pacer: &mut Pacer, now: Time, began: u32, error: ConnectError) {
        drop(pacer.failed(now, began, Cost::Connection, error));
        assert!(pacer.not_before() > now, "the seed draws a delay");
    }

    fn transient() -> ConnectError {
        ConnectError::transient("no")
    }

    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = Random(0);
        // The published numbers for seed 0. The largest range takes one off each.
        for expected in [
            0xe220_a839_7b1d_cdaf,
            0x6e78_9e6a_a1b9_65f4,
            0x06c4_5d18_8009_454f,
        ] {
            assert_eq!(random.number_below(u64::MAX), expected - 1);
        }
        assert_eq!(random.number_below(0), 0);
    }

    #[test]
    fn a_connect_is_overdue_after_twice_the_usual_time_doubled_for_each_that_is() {
        let mut pacer = pacer();
        assert_eq!(pacer.patience(0), SECOND);
        pacer.connected(4 * SECOND);
        assert_eq!(pacer.patience(0), 8 * SECOND);
        // A quarter of what is new.
        pacer.connected(8 * SECOND);
        assert_eq!(pacer.patience(0), 10 * SECOND);
        assert_eq!(pacer.patience(3), 80 * SECOND);
        assert!(pacer.patience(1_000) > 1_000 * SECOND);
    }

    #[test]
    fn a_connection_ends_the_failures_before_it_and_no_later_ones() {
        let mut pacer = pacer();
        assert!(!pacer.proved(at(5)), "there were none");
        fail(&mut pacer, at(10), 0, transient());
        assert!(!pacer.proved(at(9)));
        assert_eq!(pacer.round(at(10)), 1);
        assert!(pacer.proved(at(10)));
        assert_eq!(pacer.round(at(10)), 0);
        assert!(!pacer.proved(at(11)), "they have ended");
    }

    #[test]
    fn callers_are_refused_after_three_rounds_or_a_permanent_failure_until_the_delay_is_over() {
        let mut pacer = pacer();
        assert_eq!(pacer.unavailable_for(at(0)), None);
        for round in 0..3 {
            let now = at(10 * u64::from(round));
            fail(&mut pacer, now, round, transient());
            let refused = pacer.unavailable_for(now);
            let delay = pacer.not_before().since(now);
            assert_eq!(refused, (round == 2).then_some(delay));
        }
        assert_eq!(pacer.unavailable_for(pacer.not_before()), None);
        assert!(pacer.proved(at(20)));
        assert_eq!(pacer.unavailable_for(at(20)), None);

        fail(&mut pacer, at(30), 0, ConnectError::permanent("never"));
        assert!(pacer.unavailable_for(at(30)).is_some());
        assert!(pacer.proved(at(30)));
        assert_eq!(pacer.unavailable_for(at(30)), None, "it was not for ever");
    }

    #[test]
    fn an_older_connect_that_fails_when_the_delay_is_over_is_another_round() {
        for (is_over, rounds) in [(false, 1), (true, 2)] {
            let mut pacer = pacer();
            fail(&mut pacer, at(0), 0, transient());
            let now = match is_over {
                true => pacer.not_before(),
                false => pacer.not_before().before(Duration::from_nanos(1)),
            };
            drop(pacer.failed(now, 0, Cost::Connection, transient()));
            assert_eq!(pacer.round(now), rounds);
        }
    }

    #[test]
    fn failures_outlive_their_pool_until_they_are_forgotten() {
        let clock = Clock::start();
        let mut old = pacer();
        assert!(old.record(&clock).is_none());
        fail(&mut old, at(0), 0, ConnectError::permanent("never"));
        let record = old.record(&clock).expect("it failed");
        assert_eq!(record.at(), clock.instant(at(0)));
        assert!(!record.is_past(clock.instant(at(59))));
        assert!(record.is_past(clock.instant(at(60))));

        let mut new = pacer();
        new.restore(record, &clock);
        assert_eq!(new.round(at(0)), 1);
        assert_eq!(new.not_before(), old.not_before());
        assert_eq!(new.unavailable_for(at(0)), old.unavailable_for(at(0)));
        assert!(new.failure(at(0)).is_some_and(ConnectError::is_permanent));
        assert!(!new.allows_beside(1));
        assert!(new.proved(at(1)));
        assert!(new.record(&clock).is_none());
    }
}
