//! How many leases a shared connection serves at once without slowing down, and how many connections
//! are worth having: learned from what completes, by trying.
//!
//! # What is measured
//!
//! Each lease adds the load it meets (the leases that are out, itself included) to a sum; each
//! completion adds one to a count. Once a tick both are read, and the time that passed is added. So a
//! window of ticks knows the *rate* of completions, the mean *load*, and by Little's law the *time* of
//! a lease, which is load / rate, though no clock is read for any lease.
//!
//! # Algorithm
//!
//! A measurement alone cannot tell a connection that serves one request after the other from one whose
//! peer shares a database with all others: both slow down as their load grows. What differs is what
//! another connection brings. So the pool makes experiments: it changes the *spread*, the number of
//! connections that leases are spread over, waits until the loads are even, measures, and compares.
//!
//! * **Growing** doubles the spread. It helped if leases were served faster by at least a third of what
//!   is possible (by 1.35 for twice as many connections). What helped is kept: the load that each connection then carried is the new
//!   *target*, and so many connections are *proven*. Up to that number the pool opens another one as
//!   soon as the target is exceeded; only beyond it an experiment is needed.
//! * **Shrinking** takes a quarter of the spread away. If that costs less than a seventh of what is possible, it is kept.
//!   Between a seventh and a third nothing changes, so the two cannot alternate.
//! * **A load that changed meanwhile** explains part of a difference. Windows are kept apart by load,
//!   and those of the same load are compared. If there are none, the gain is known only between two
//!   bounds; see [`gain`]. Growing needs the upper bound, which is never more than what leases take
//!   longer than they ever did. What the lower one does not confirm is reviewed after 2 s by shrinking;
//!   shrinking is kept only if both say that nothing was lost.
//! * **Noise.** A verdict is given early if it would stand though both measurements were off by their
//!   error; otherwise after 12 ticks, or when twice as many leases have ended as were out.
//! * **Damping.** After growth that brought nothing the next attempt waits for 2 s, and twice as long
//!   each time up to 10 min. It is made sooner only if the load of a connection has doubled since, or
//!   leases take half as long again as they did then. What was proven is reviewed after 1 min, and twice
//!   as long each time up to 10 min; sooner under the same conditions.
//!
//! So a pool that is served best by one connection has a second one for about a second, ever more
//! rarely; one that is served best by sixteen has them after four experiments, in about two seconds.
//!
//! # Leases that are held for long
//!
//! A lease that is kept for a session says nothing about the speed of the peer. One that is out for
//! several times as long as most, and for 2 s at least, is *held*: it is no load. See [`ages`].
//!
//! # Bounds
//!
//! Memory is constant: a few kilobytes for each pool. All work but two additions is done once a tick.

mod ages;
mod experiment;
mod gain;
mod schedule;
mod window;

use std::time::Duration;

use crate::store::sweep::TICK;
use crate::time::Time;

pub(super) use ages::{LeaseAge, LeaseAges, LeaseStamp};
use experiment::{Experiment, Progress, Verdict};
use schedule::{Mark, Schedule};
use window::{LoadProfile, LoadWindow, real, real_count, whole};

/// The limits within which the target is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TargetRange {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// What a tick sees of the pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolView {
    pub(crate) now: Time,
    /// The connections that leases are spread over.
    pub(crate) spread: usize,
    /// So many there may be.
    pub(crate) spread_max: usize,
    /// The leases that are out and not held for long.
    pub(crate) load: u32,
    /// Connections are being opened or replaced: nothing can be compared.
    pub(crate) is_changing: bool,
}

/// The learned target, and the experiments it is learned by.
#[derive(Debug)]
pub(crate) struct Adaptive {
    range: TargetRange,
    /// With more leases than this on each connection, another one helps as far as is known.
    target: u32,
    /// The most connections that were seen to help.
    proven: usize,
    tally: Tally,
    ages: LeaseAges,
    ticked: Time,
    /// The last tick with a lease in it.
    busy_at: Time,
    /// The load that the last tick saw.
    load_before: u32,
    /// The least time of a lease that was seen, slowly forgotten.
    least_seconds: f64,
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
struct Tally {
    begun: u64,
    load: u64,
    ended: u64,
}

impl Adaptive {
    pub(crate) fn new(range: TargetRange) -> Self {
        Self {
            range,
            target: range.max,
            proven: 1,
            tally: Tally::default(),
            ages: LeaseAges::new(),
            ticked: Time::default(),
            busy_at: Time::default(),
            load_before: 0,
            least_seconds: f64::INFINITY,
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
        self.tally.begun += 1;
        self.tally.load += u64::from(load);
    }

    /// A lease ends; says how long it was out.
    pub(crate) const fn end_lease(&mut self, stamp: LeaseStamp) -> LeaseAge {
        // One that was held counts as well: where most are slow, it is slow, and elsewhere it is rare.
        self.tally.ended += 1;
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
            Some(_) => self.range.min,
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
        let unavoidable = load.div_ceil(self.range.max) as usize;
        self.proven.max(unavoidable)
    }

    /// The ticks begin again after a time in which nothing moved.
    pub(crate) fn start_ticks(&mut self, now: Time) {
        if self.load_before == 0 {
            self.ticked = now;
        }
    }

    /// Learns from what happened since the last tick, and begins or ends experiments.
    pub(crate) fn tick(&mut self, view: &PoolView) {
        if view.now.since(self.ticked) < TICK / 2 {
            return;
        }
        let tick = self.take_tick(view);
        if let Some(tick) = &tick {
            self.busy_at = view.now;
            let known = self.least_seconds * FORGETTING;
            self.least_seconds = known.min(tick.seconds_at_most());
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
        let tally = std::mem::take(&mut self.tally);
        let passed = view.now.since(self.ticked);
        self.ticked = view.now;
        let load_before = std::mem::replace(&mut self.load_before, view.load);
        let was_idle = load_before == 0 && tally.begun == 0 && tally.ended == 0;
        // Leases that begin independently of each other meet the mean load of the tick.
        let load = match tally.begun {
            0 => f64::from(load_before),
            begun => real_count(tally.load) / real_count(begun),
        };
        (!was_idle).then(|| LoadWindow::of_tick(passed, load, tally.ended))
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
        let seen = Mark::of(total, view.spread);
        let is_other = self.growth.notice(&seen, view.now) | self.review.notice(&seen, view.now);
        if is_other {
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
        let useful = load / f64::from(self.range.min);
        if from == 0 || useful < WORTH_SPLITTING * real(from) {
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
            Progress::Going => self.experiment = Some(experiment),
            Progress::Abandoned => {
                let schedule = if experiment.is_growth() {
                    &mut self.growth
                } else {
                    &mut self.review
                };
                schedule.postpone(view.now);
                self.start_profile(view);
            }
            Progress::Ended(verdict, measured) => {
                self.start_profile(view);
                if experiment.is_growth() {
                    self.conclude_growth(&experiment, verdict, &measured, view.now);
                } else {
                    self.conclude_review(&experiment, verdict, &measured, view.now);
                }
                // What was kept may be built upon at once.
                if self.profile_spread == view.spread {
                    self.consider(view);
                }
            }
        }
    }

    fn conclude_growth(
        &mut self,
        experiment: &Experiment,
        verdict: Verdict,
        measured: &LoadProfile,
        now: Time,
    ) {
        match verdict {
            Verdict::Gain { is_sure } => {
                self.target = self.target.min(self.share(experiment, measured));
                self.keep(experiment, measured);
                let seen = Mark::of(&measured.total, experiment.to());
                self.review.reset();
                self.review.fail(now, Some(seen));
                if is_sure {
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
            Verdict::Nothing => {
                self.proven = experiment.from();
                let before = Mark::of(&experiment.base().total, experiment.from());
                self.growth.fail(now, Some(before));
            }
        }
    }

    fn conclude_review(
        &mut self,
        experiment: &Experiment,
        verdict: Verdict,
        measured: &LoadProfile,
        now: Time,
    ) {
        match verdict {
            Verdict::Nothing => {
                self.target = self.target.max(self.share(experiment, measured));
                self.keep(experiment, measured);
                let seen = Mark::of(&measured.total, experiment.to());
                self.growth.fail(now, Some(seen));
                self.review.set(now);
            }
            Verdict::Gain { .. } => {
                let before = Mark::of(&experiment.base().total, experiment.from());
                self.review.fail(now, Some(before));
            }
        }
    }

    /// The load of each connection that was measured.
    fn share(&self, experiment: &Experiment, measured: &LoadProfile) -> u32 {
        let share = measured.total.mean_load() / real(experiment.to());
        let share = u32::try_from(whole(share.round())).unwrap_or(u32::MAX);
        share.clamp(self.range.min, self.range.max)
    }

    /// The new spread is kept, and what was measured is what the next experiment is compared with.
    fn keep(&mut self, experiment: &Experiment, measured: &LoadProfile) {
        self.proven = experiment.to();
        self.profile = *measured;
        self.profile_spread = experiment.to();
    }
}

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
