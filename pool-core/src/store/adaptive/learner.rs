//! Learns how many leases a shared connection serves at once without slowing down, and how many
//! connections are worth having.
//!
//! # What is measured
//!
//! Each lease that begins adds the *load* it meets (the leases that are out, itself included) to a sum.
//! Each lease that ends adds one to a count. Once a tick the learner reads both, and the time that has
//! passed. So it knows the *rate* at which leases end and the mean load. By Little's law the mean *time*
//! of a lease is load / rate. No clock is read for any lease.
//!
//! # Algorithm
//!
//! Measuring is not enough. A connection that serves one request at a time slows down as its load grows;
//! so does one whose peer shares a database with all others. Another connection helps only the first.
//! So the learner makes experiments: it changes the *spread*, the number of connections that leases are
//! spread over, waits until their loads are even, measures, and compares.
//!
//! * **Growing** doubles the spread. It helped if leases were served faster by at least a third of what
//!   is possible: 1.35 times as fast with twice as many connections. Then the spread is kept. The load
//!   that each connection carried is the new *target*, and this many connections are *proven*. Up to
//!   that number the pool opens another one as soon as the target is exceeded. Beyond it, growing
//!   needs another experiment.
//! * **Shrinking** takes away a quarter of the spread. It is kept if it costs less than a seventh of what
//!   is possible. Between a seventh and a third nothing changes, so growing and shrinking cannot alternate.
//! * **The load changes meanwhile.** That explains part of a difference. What was measured is kept apart
//!   by load, and equal loads are compared. If there are none, the gain is known only between two
//!   bounds, see [`gain`](super::gain). Growing is kept if the upper bound is enough; if the lower one is
//!   not, it is reviewed after 2 s. Shrinking is kept only if both bounds say that nothing was lost.
//! * **Noise.** An experiment ends early if its result holds though the gain were off by its error.
//!   Otherwise it ends after 12 ticks, or when twice as many leases have ended as were out.
//! * **Damping.** After growth that brought nothing, the next attempt waits 2 s, or 8 s if the result is
//!   sure, and twice as long each time up to 10 min. What was proven is reviewed after 1 min, and twice as
//!   long each time up to 10 min. Either comes sooner if the load of each connection has doubled since, or
//!   leases take half as long again as the load explains.
//!
//! So a pool that is served best by one connection has a second one for about a second, ever more
//! rarely. One that is served best by sixteen has them after four experiments, in about three seconds.
//!
//! # Leases that are held for long
//!
//! A lease that is kept for a session says nothing about the speed of the peer. One that is out for
//! several times as long as most, and for 2 s at least, is *held*: it does not count as load. See
//! [`ages`](super::ages).
//!
//! # Bounds
//!
//! Memory is constant: a few kilobytes for each pool. All work but two additions is done once a tick.

use std::time::Duration;

use super::ages::{LeaseAge, LeaseAges, LeaseStamp};
use super::experiment::{Experiment, ExperimentProgress, SpreadGain};
use super::schedule::{Conditions, Schedule};
use super::view::PoolView;
use super::window::{LoadProfile, LoadWindow, real, real_count, whole};
use crate::time::Time;

/// The learned target, and the experiments it is learned by.
#[derive(Debug)]
pub(crate) struct TargetLearner {
    /// The target is learned between these.
    target_min: u32,
    target_max: u32,
    /// With more leases than this on each connection, another one helps as far as is known.
    target: u32,
    /// The most connections that were seen to help.
    proven: usize,
    counts: TickCounts,
    ages: LeaseAges,
    ticked: Time,
    /// The last tick with a lease in it.
    busy_at: Time,
    /// The load that the last tick saw.
    load_before: u32,
    /// The least time of a lease that was seen, slowly forgotten; infinite if it is not known.
    least_seconds: f64,
    /// What it is compared with next, when leases have been renewed twice.
    renewing: LoadWindow,
    profile: LoadProfile,
    /// The spread that the profile was measured with.
    profile_spread: usize,
    experiment: Option<Experiment>,
    /// When growing is tried again, and how it was when that brought nothing.
    growth: Schedule,
    /// When shrinking is tried, and how it was when the present spread was proven.
    review: Schedule,
}

/// What happened since the last tick.
#[derive(Debug, Default)]
struct TickCounts {
    begun: u64,
    load: u64,
    ended: u64,
}

impl TargetLearner {
    pub(crate) fn new(target_min: u32, target_max: u32) -> Self {
        Self {
            target_min,
            target_max,
            target: target_max,
            proven: 1,
            counts: TickCounts::default(),
            ages: LeaseAges::new(),
            ticked: Time::default(),
            busy_at: Time::default(),
            load_before: 0,
            least_seconds: f64::INFINITY,
            renewing: LoadWindow::default(),
            profile: LoadProfile::default(),
            profile_spread: 0,
            experiment: None,
            growth: Schedule::new(RETRY_FIRST),
            review: Schedule::new(REVIEW_FIRST),
        }
    }

    /// The stamp of a lease that begins now.
    pub(crate) const fn stamp(&self) -> LeaseStamp {
        self.ages.stamp()
    }

    /// A lease begins, and with it so many are out.
    pub(crate) fn begin_lease(&mut self, load: u32) {
        self.counts.begun += 1;
        self.counts.load += u64::from(load);
    }

    /// A lease ends; says how long it was out.
    pub(crate) const fn end_lease(&mut self, stamp: LeaseStamp) -> LeaseAge {
        // One that was held counts as well: where most are slow, it is slow, and elsewhere it is rare.
        self.counts.ended += 1;
        self.ages.end_lease(stamp)
    }

    /// Begins a new generation of leases if it is time, and says so.
    pub(crate) fn age_leases(&mut self, now: Time) -> bool {
        self.ages.tick(now)
    }

    pub(crate) const fn target(&self) -> u32 {
        self.target
    }

    /// How many connections so many leases should be spread over.
    pub(crate) fn spread_for(&self, load: u32) -> usize {
        let target = match &self.experiment {
            Some(_) => self.target_min,
            None => self.target,
        };
        let wanted = load.div_ceil(target) as usize;
        wanted.min(self.spread_max_for(load))
    }

    /// Leases should not be spread over more connections than this, even if they are open.
    pub(crate) fn spread_max_for(&self, load: u32) -> usize {
        if let Some(experiment) = &self.experiment {
            return experiment.to();
        }
        let unavoidable = load.div_ceil(self.target_max) as usize;
        self.proven.max(unavoidable)
    }

    /// The ticks begin again after a time in which nothing moved.
    pub(crate) fn start_ticks(&mut self, now: Time) {
        if self.load_before == 0 {
            self.ticked = now;
        }
    }

    /// When the last tick was.
    #[cfg(all(test, not(loom)))]
    pub(crate) const fn ticked(&self) -> Time {
        self.ticked
    }

    /// How many ticks what was measured comes from.
    #[cfg(all(test, not(loom)))]
    pub(crate) const fn measured_ticks(&self) -> u32 {
        self.profile.total.ticks
    }

    /// Learns from what happened since the last tick, and begins or ends experiments.
    pub(crate) fn tick(&mut self, view: &PoolView) {
        if view.now.since(self.ticked) < TICK_MIN {
            return;
        }
        let tick = self.take_tick(view);
        if let Some(tick) = &tick {
            self.busy_at = view.now;
            self.note_least_time(tick);
        } else if view.now.since(self.busy_at) > PAUSE_MAX {
            self.experiment = None;
        }
        if let Some(experiment) = self.experiment.take() {
            self.pursue(experiment, tick, view);
        } else if view.is_changing || view.spread != self.profile_spread {
            self.start_profile(view);
        } else if let Some(tick) = tick {
            self.profile.add(&tick);
            self.consider(view);
        }
    }

    /// Leases are held for long from now on, so the load is another one.
    pub(crate) fn hold_leases(&mut self, now: Time) {
        if self.experiment.take().is_some_and(|it| it.is_growth()) {
            self.growth.postpone(now);
        }
        self.profile = LoadProfile::default();
    }

    /// A connect failed: this is no time for experiments.
    pub(crate) fn connect_failed(&mut self, now: Time) {
        if self.experiment.take().is_some_and(|it| it.is_growth()) {
            self.growth.fail(now, None);
        }
    }

    /// What happened since the last tick; `None` if there was not a single lease.
    fn take_tick(&mut self, view: &PoolView) -> Option<LoadWindow> {
        let counts = std::mem::take(&mut self.counts);
        let passed = view.now.since(self.ticked);
        self.ticked = view.now;
        let load_before = std::mem::replace(&mut self.load_before, view.load);
        let was_idle = load_before == 0 && counts.begun == 0 && counts.ended == 0;
        // Leases that begin independently of each other meet the mean load of the tick.
        let load = match counts.begun {
            0 => f64::from(load_before),
            begun => real_count(counts.load) / real_count(begun),
        };
        (!was_idle).then(|| LoadWindow::of_tick(passed, load, counts.ended))
    }

    /// Compares the least time of a lease with what was measured since the last time. While more leases
    /// begin than end, the load over the rate says how long the last one will take, which is far more
    /// than the least. So leases have to be renewed first, however many ticks that takes.
    fn note_least_time(&mut self, tick: &LoadWindow) {
        self.least_seconds *= FORGETTING;
        self.renewing.add(tick);
        if self.renewing.is_renewed() {
            let window = std::mem::take(&mut self.renewing);
            self.least_seconds = self.least_seconds.min(window.seconds_at_most());
        }
    }

    fn start_profile(&mut self, view: &PoolView) {
        self.profile = LoadProfile::default();
        self.profile_spread = view.spread;
    }

    fn consider(&mut self, view: &PoolView) {
        let total = &self.profile.total;
        if !total.is_telling() {
            return;
        }
        // Only what was not tried yet is urgent.
        let is_quick = self.growth.is_fresh() && total.is_steady();
        if !is_quick && !total.is_complete() {
            return;
        }
        let seen = Conditions::of(total, view.spread);
        let is_other_for_growth = self.growth.notice(&seen, view.now);
        let is_other_for_review = self.review.notice(&seen, view.now);
        if is_other_for_growth || is_other_for_review {
            // What was measured before must not be compared with what comes now.
            return self.start_profile(view);
        }
        self.experiment = self.next_experiment(view);
        if self.experiment.is_none() && self.profile.total.ticks >= PROFILE_TICKS {
            self.profile.fade();
        }
    }

    fn next_experiment(&mut self, view: &PoolView) -> Option<Experiment> {
        // What there is to measure with, now and as far as is known.
        let load = f64::from(view.load).min(self.profile.total.mean_load());
        let wider = || {
            let is_due = self.growth.is_due(view.now);
            is_due.then(|| self.wider(load, view)).flatten()
        };
        let narrower = || {
            let is_due = self.review.is_due(view.now);
            is_due.then(|| self.narrower(load, view)).flatten()
        };
        let to = wider().or_else(narrower)?;
        let base = std::mem::take(&mut self.profile);
        Some(Experiment::new(view, to, base, self.least_seconds))
    }

    /// So many connections could serve this load faster, if anything could.
    fn wider(&self, load: f64, view: &PoolView) -> Option<usize> {
        let from = view.spread;
        // No connection needs less than the least target.
        let useful = load / f64::from(self.target_min);
        if useful < WORTH_SPLITTING * real(from) {
            return None;
        }
        let useful = whole(useful.ceil());
        let step = 2 * from;
        // What would be left is not worth an experiment of its own.
        let to = if useful <= step + step / 4 {
            useful
        } else {
            step
        };
        let to = to.min(view.spread_max);
        (to > from).then_some(to)
    }

    /// So many connections could do as well. When the load is below the target anyway, there is nothing
    /// to try: they are given back for being idle.
    fn narrower(&self, load: f64, view: &PoolView) -> Option<usize> {
        let to = view.spread.saturating_sub((view.spread / 4).max(1));
        (to > 0 && load > real(to) * f64::from(self.target)).then_some(to)
    }

    fn pursue(&mut self, mut experiment: Experiment, tick: Option<LoadWindow>, view: &PoolView) {
        match experiment.advance(tick.as_ref(), view) {
            ExperimentProgress::Going => self.experiment = Some(experiment),
            ExperimentProgress::Abandoned => {
                let schedule = if experiment.is_growth() {
                    &mut self.growth
                } else {
                    &mut self.review
                };
                schedule.postpone(view.now);
                self.start_profile(view);
            }
            ExperimentProgress::Ended(gain) => {
                self.start_profile(view);
                if experiment.is_growth() {
                    self.conclude_growth(&experiment, gain, view.now);
                } else {
                    self.conclude_review(&experiment, gain, view.now);
                }
                // What was kept may be built upon at once.
                if self.profile_spread == view.spread {
                    self.consider(view);
                }
            }
        }
    }

    fn conclude_growth(&mut self, experiment: &Experiment, gain: SpreadGain, now: Time) {
        let measured = experiment.measured();
        match gain {
            SpreadGain::Sure | SpreadGain::Unsure => {
                self.target = self.target.min(self.share(experiment));
                self.keep(experiment);
                let seen = Conditions::of(&measured.total, experiment.to());
                self.review.reset();
                self.review.fail(now, Some(seen));
                if gain == SpreadGain::Sure {
                    self.growth.reset();
                    self.growth.set(now);
                    return;
                }
                // Order: what is not sure is reviewed before anything is built upon it, unless there
                // is a rush.
                self.review.set(now.after(DOUBT));
                let is_rush = measured.total.rate() > experiment.base().total.rate();
                let wait = if is_rush { Duration::ZERO } else { 2 * DOUBT };
                self.growth.set(now.after(wait));
            }
            SpreadGain::SurelyNothing | SpreadGain::Nothing => {
                self.proven = experiment.from();
                if gain == SpreadGain::SurelyNothing {
                    self.growth.skip_early_attempts();
                }
                let before = Conditions::of(&experiment.base().total, experiment.from());
                self.growth.fail(now, Some(before));
            }
        }
    }

    fn conclude_review(&mut self, experiment: &Experiment, gain: SpreadGain, now: Time) {
        let measured = experiment.measured();
        match gain {
            SpreadGain::SurelyNothing | SpreadGain::Nothing => {
                self.target = self.target.max(self.share(experiment));
                self.keep(experiment);
                let seen = Conditions::of(&measured.total, experiment.to());
                self.growth.fail(now, Some(seen));
                self.review.set(now);
            }
            SpreadGain::Sure | SpreadGain::Unsure => {
                let before = Conditions::of(&experiment.base().total, experiment.from());
                self.review.fail(now, Some(before));
            }
        }
    }

    /// The load of each connection that was measured.
    fn share(&self, experiment: &Experiment) -> u32 {
        let share = experiment.measured().total.mean_load() / real(experiment.to());
        let share = u32::try_from(whole(share.round())).unwrap_or(u32::MAX);
        share.clamp(self.target_min, self.target_max)
    }

    /// The new spread is kept, and what was measured is what the next experiment is compared with.
    fn keep(&mut self, experiment: &Experiment) {
        self.proven = experiment.to();
        self.profile = *experiment.measured();
        self.profile_spread = experiment.to();
    }
}

/// What is shorter is no tick: somebody swept out of turn.
const TICK_MIN: Duration = Duration::from_millis(50);
/// An experiment goes on if leases begin again within this time.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// What was measured longer ago counts less and less.
const PROFILE_TICKS: u32 = 60;
/// With fewer leases for each connection, more connections cannot bring much.
const WORTH_SPLITTING: f64 = 1.1;
/// In each tick; in five minutes it becomes twice as much.
const FORGETTING: f64 = 1.000_23;

const RETRY_FIRST: Duration = Duration::from_secs(2);
const REVIEW_FIRST: Duration = Duration::from_secs(60);
/// When growth is reviewed that may not have helped.
const DOUBT: Duration = Duration::from_secs(2);

#[cfg(all(test, not(loom)))]
mod tests;
