//! One change of the spread, from its beginning to its result.

use std::time::Duration;

use super::gain::Gain;
use super::view::PoolView;
use super::window::{LoadProfile, LoadWindow, real};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Experiment {
    from: usize,
    to: usize,
    /// What was measured before.
    base: LoadProfile,
    /// How many times as long as at best leases took then: no more can be gained.
    slowdown: f64,
    began: Time,
    stage: ExperimentStage,
    /// What was measured since the loads are even.
    measured: LoadProfile,
}

#[derive(Debug)]
enum ExperimentStage {
    /// Connections are being opened, or set aside.
    Preparing,
    /// So many leases have to end until the loads are even. New ones fill new connections at once, so
    /// a long queue on the others is not waited for.
    Settling {
        left: f64,
        ticks: u32,
    },
    Measuring,
}

/// How an experiment stands after a tick.
pub(super) enum ExperimentProgress {
    Going,
    /// Something else happened, so nothing can be compared.
    Abandoned,
    Ended(SpreadGain),
}

/// What the larger spread brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpreadGain {
    /// Too little.
    Nothing,
    /// Enough, unless the change of the load explains it.
    Unsure,
    /// Enough, whatever the change of the load explains.
    Sure,
}

impl Experiment {
    pub(super) fn new(view: &PoolView, to: usize, base: LoadProfile, least_seconds: f64) -> Self {
        Self {
            from: view.spread,
            to,
            slowdown: base.total.mean_seconds() / least_seconds,
            base,
            began: view.now,
            stage: ExperimentStage::Preparing,
            measured: LoadProfile::default(),
        }
    }

    pub(super) const fn from(&self) -> usize {
        self.from
    }

    pub(super) const fn to(&self) -> usize {
        self.to
    }

    pub(super) const fn base(&self) -> &LoadProfile {
        &self.base
    }

    pub(super) const fn measured(&self) -> &LoadProfile {
        &self.measured
    }

    pub(super) const fn is_growth(&self) -> bool {
        self.to > self.from
    }

    /// Takes in a tick; `None` if there was no lease in it.
    pub(super) fn advance(
        &mut self,
        tick: Option<&LoadWindow>,
        view: &PoolView,
    ) -> ExperimentProgress {
        let Some(tick) = tick else {
            return ExperimentProgress::Going;
        };
        let is_there = view.spread == self.to && !view.is_changing;
        match &mut self.stage {
            ExperimentStage::Preparing if is_there => {
                let left = self.uneven(view.load);
                self.stage = ExperimentStage::Settling { left, ticks: 0 };
            }
            ExperimentStage::Preparing => {
                if view.now.since(self.began) > PREPARING_MAX {
                    return ExperimentProgress::Abandoned;
                }
            }
            _ if !is_there => return ExperimentProgress::Abandoned,
            ExperimentStage::Settling { left, ticks } => {
                *left -= tick.ended;
                *ticks += 1;
                if *left <= 0.0 || *ticks >= SETTLING_TICKS {
                    self.stage = ExperimentStage::Measuring;
                }
            }
            ExperimentStage::Measuring => {
                self.measured.add(tick);
                if let Some(gain) = self.result() {
                    return ExperimentProgress::Ended(gain);
                }
            }
        }
        ExperimentProgress::Going
    }

    /// The gain between its bounds, when equal loads are not to be expected any more.
    fn gain_at_any_load(&self, narrow: &LoadProfile, wide: &LoadProfile) -> Option<Gain> {
        let total = &self.measured.total;
        let has_fallen = total.mean_load() < self.base.total.mean_load();
        let is_patient = self.is_growth() && has_fallen && total.ticks < PATIENCE_TICKS;
        (total.is_complete() && !is_patient).then(|| {
            let mut gain = Gain::at_any_load(narrow, wide);
            if self.is_growth() {
                gain.upper = gain.upper.min(self.slowdown);
            }
            gain
        })
    }

    /// How many of the leases are not where they would be if the loads were even.
    fn uneven(&self, load: u32) -> f64 {
        f64::from(load) * (1.0 - 1.0 / self.times())
    }

    /// As many times as many connections are in the larger spread.
    fn times(&self) -> f64 {
        real(self.from.max(self.to)) / real(self.from.min(self.to))
    }

    /// The result, unless it takes longer to tell.
    fn result(&self) -> Option<SpreadGain> {
        let (narrow, wide, needed) = if self.is_growth() {
            (&self.base, &self.measured, GROWTH_GAIN)
        } else {
            (&self.measured, &self.base, REVIEW_GAIN)
        };
        let gain =
            Gain::at_equal_load(narrow, wide).or_else(|| self.gain_at_any_load(narrow, wide))?;
        // If each connection serves one lease after the other, twice as many are twice as fast, but no
        // connection without a lease helps.
        let each = gain.load / real(self.from.min(self.to));
        let possible = self.times().min(each).max(1.0);
        let least = 1.0 + needed * (possible - 1.0);
        let doubt = CERTAINTY * gain.error;
        if gain.lower >= least * (1.0 + doubt) {
            Some(SpreadGain::Sure)
        } else if gain.upper <= least * (1.0 - doubt) {
            Some(SpreadGain::Nothing)
        } else if !self.measured.total.is_complete() {
            None
        } else if gain.upper >= least * (1.0 + gain.error / 2.0) {
            Some(SpreadGain::Unsure)
        } else {
            Some(SpreadGain::Nothing)
        }
    }
}

/// The part of the possible gain that growing must bring.
const GROWTH_GAIN: f64 = 0.35;
/// The part that shrinking may cost.
const REVIEW_GAIN: f64 = 0.15;
/// An early result holds though the gain were off by its error, so many times.
const CERTAINTY: f64 = 1.5;
const SETTLING_TICKS: u32 = 3;
/// So long growing waits for the load to be what it was.
const PATIENCE_TICKS: u32 = 40;
/// An experiment waits so long for its connections.
const PREPARING_MAX: Duration = Duration::from_secs(15);
