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
    /// How many times as long as at best leases took then: no more can be gained. Infinite if it is not
    /// known how long they take at best.
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
    /// Surely too little.
    SurelyNothing,
    /// Too little, if anything.
    Nothing,
    /// Enough, unless the change of the load explains it.
    Unsure,
    /// Enough, whatever the change of the load explains.
    Sure,
}

impl Experiment {
    pub(super) fn new(view: &PoolView, to: usize, base: LoadProfile, least_seconds: f64) -> Self {
        let slowdown = if least_seconds.is_finite() {
            base.total.mean_seconds() / least_seconds
        } else {
            f64::INFINITY
        };
        Self {
            from: view.spread,
            to,
            slowdown,
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
            Some(SpreadGain::SurelyNothing)
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The least time of a lease is so short that it limits nothing.
    const SHORT: f64 = 1e-9;
    /// How many leases end in each tick of the base. With a load of 16 a lease takes 1.6 ms.
    const BASE_ENDED: u64 = 1_000;

    fn tick(load: f64, ended: u64) -> LoadWindow {
        LoadWindow::of_tick(Duration::from_millis(100), load, ended)
    }

    fn view(spread: usize, load: u32) -> PoolView {
        PoolView {
            now: Time::default(),
            spread,
            spread_max: 64,
            load,
            is_changing: false,
        }
    }

    fn begin(from: usize, to: usize, load: u32, least_seconds: f64) -> Experiment {
        let mut base = LoadProfile::default();
        for _ in 0..12 {
            base.add(&tick(f64::from(load), BASE_ENDED));
        }
        Experiment::new(&view(from, load), to, base, least_seconds)
    }

    fn is_going(progress: &ExperimentProgress) -> bool {
        matches!(progress, ExperimentProgress::Going)
    }

    fn is_abandoned(progress: &ExperimentProgress) -> bool {
        matches!(progress, ExperimentProgress::Abandoned)
    }

    /// How many ticks pass between the arrival of the connections and the first that is measured.
    fn settling_ticks(from: usize, to: usize, load: u32, ended: u64) -> u32 {
        let mut experiment = begin(from, to, load, SHORT);
        let mut ticks = 0;
        while experiment.measured().total.ticks == 0 {
            let progress = experiment.advance(Some(&tick(load.into(), ended)), &view(to, load));
            assert!(is_going(&progress));
            ticks += 1;
        }
        ticks - 2
    }

    /// The result of an experiment in which so many leases end in each tick at this load, and how many
    /// ticks were measured.
    fn conclude(mut experiment: Experiment, load: f64, ended: u64) -> (SpreadGain, u32) {
        let there = view(experiment.to(), 16);
        for _ in 0..2 {
            let settled = experiment.advance(Some(&tick(load, 1_000_000)), &there);
            assert!(is_going(&settled));
        }
        loop {
            let progress = experiment.advance(Some(&tick(load, ended)), &there);
            if let ExperimentProgress::Ended(gain) = progress {
                return (gain, experiment.measured().total.ticks);
            }
            assert!(is_going(&progress));
        }
    }

    #[test]
    fn an_experiment_waits_fifteen_seconds_for_its_connections() {
        let mut experiment = begin(1, 2, 16, SHORT);
        let mut narrow = view(1, 16);
        for seconds in [0, 1, 15] {
            narrow.now = Time::default().after(Duration::from_secs(seconds));
            let progress = experiment.advance(Some(&tick(16.0, 10)), &narrow);
            assert!(is_going(&progress), "{seconds}");
        }
        narrow.now = Time::default().after(Duration::from_secs(16));
        assert!(is_going(&experiment.advance(None, &narrow)), "no lease");
        let progress = experiment.advance(Some(&tick(16.0, 10)), &narrow);
        assert!(is_abandoned(&progress));
    }

    #[test]
    fn an_experiment_begins_when_its_connections_are_there_to_stay() {
        let mut experiment = begin(1, 2, 16, SHORT);
        let mut wide = view(2, 16);
        wide.is_changing = true;
        for _ in 0..10 {
            assert!(is_going(&experiment.advance(Some(&tick(16.0, 100)), &wide)));
        }
        assert_eq!(experiment.measured().total.ticks, 0);
    }

    #[test]
    fn an_experiment_is_abandoned_when_connections_come_or_go() {
        for ticks_before in [1, 2, 3, 4] {
            for (spread, is_changing) in [(1, false), (3, false), (2, true)] {
                let mut experiment = begin(1, 2, 16, SHORT);
                for _ in 0..ticks_before {
                    let progress = experiment.advance(Some(&tick(16.0, 6)), &view(2, 16));
                    assert!(is_going(&progress));
                }
                let mut other = view(spread, 16);
                other.is_changing = is_changing;
                assert!(is_going(&experiment.advance(None, &other)), "no lease");
                let progress = experiment.advance(Some(&tick(16.0, 6)), &other);
                assert!(is_abandoned(&progress));
            }
        }
    }

    #[test]
    fn loads_are_even_when_the_leases_that_were_elsewhere_have_ended() {
        // Eight of 16 belong on the new connection.
        assert_eq!(settling_ticks(1, 2, 16, 8), 1);
        assert_eq!(settling_ticks(1, 2, 16, 4), 2);
        // Six of 24 were on the one that is set aside, 12 of 16 belong on six new ones.
        assert_eq!(settling_ticks(4, 3, 24, 7), 1);
        assert_eq!(settling_ticks(4, 3, 24, 4), 2);
        assert_eq!(settling_ticks(2, 8, 16, 11), 2);
        assert_eq!(settling_ticks(2, 8, 16, 13), 1);
    }

    #[test]
    fn leases_that_do_not_end_are_waited_for_three_ticks() {
        assert_eq!(settling_ticks(1, 2, 16, 1), 3);
    }

    #[test]
    fn growing_must_bring_a_third_of_what_is_possible() {
        use SpreadGain::{Nothing, Sure, SurelyNothing, Unsure};
        for (from, to, load, ended, expected) in [
            // Twice as fast is possible, and 1.35 times is enough.
            (1, 2, 16, 1_460, (Sure, 3)),
            (1, 2, 16, 1_440, (Unsure, 12)),
            (1, 2, 16, 1_390, (Unsure, 12)),
            (1, 2, 16, 1_370, (Nothing, 12)),
            (1, 2, 16, 1_260, (Nothing, 12)),
            (1, 2, 16, 1_240, (SurelyNothing, 3)),
            // With twelve leases on eight connections only 1.5 times as fast.
            (8, 16, 12, 1_270, (Sure, 3)),
            (8, 16, 12, 1_210, (Unsure, 12)),
            (8, 16, 12, 1_200, (Nothing, 12)),
            (8, 16, 12, 1_080, (SurelyNothing, 3)),
            // Four times as many connections could be four times as fast.
            (2, 8, 64, 2_210, (Sure, 3)),
            (2, 8, 64, 2_190, (Unsure, 12)),
        ] {
            let found = conclude(begin(from, to, load, SHORT), load.into(), ended);
            assert_eq!(found, expected, "{from} to {to} with {load}: {ended}");
        }
    }

    #[test]
    fn shrinking_may_cost_a_seventh_of_what_is_possible() {
        use SpreadGain::{Nothing, Sure, SurelyNothing, Unsure};
        for (ended, expected) in [
            (800, (Sure, 3)),
            (830, (Unsure, 12)),
            (850, (Nothing, 12)),
            (930, (Nothing, 12)),
            (950, (SurelyNothing, 3)),
        ] {
            let found = conclude(begin(2, 1, 16, SHORT), 16.0, ended);
            assert_eq!(found, expected, "{ended}");
        }
    }

    #[test]
    fn growing_waits_four_seconds_for_a_load_that_has_fallen() {
        let found = conclude(begin(1, 2, 16, SHORT), 4.0, BASE_ENDED);
        assert_eq!(found, (SpreadGain::Unsure, 40));
        // Not for one that has risen, and shrinking does not wait.
        let found = conclude(begin(1, 2, 16, SHORT), 64.0, 3 * BASE_ENDED);
        assert_eq!(found, (SpreadGain::Unsure, 12));
        let found = conclude(begin(2, 1, 16, SHORT), 4.0, BASE_ENDED);
        assert_eq!(found, (SpreadGain::SurelyNothing, 12));
    }

    #[test]
    fn no_lease_gets_faster_than_the_fastest_that_was_seen() {
        for (slowdown, gain) in [(1.3, SpreadGain::Nothing), (1.5, SpreadGain::Unsure)] {
            let experiment = begin(1, 2, 16, 0.001_6 / slowdown);
            assert_eq!(conclude(experiment, 4.0, BASE_ENDED), (gain, 40));
        }
        // It limits what growing can bring, not what shrinking has cost.
        let experiment = begin(2, 1, 16, 0.001_6);
        let found = conclude(experiment, 64.0, BASE_ENDED);
        assert_eq!(found, (SpreadGain::Unsure, 12));
    }

    #[test]
    fn growth_has_no_bound_while_it_is_not_known_how_fast_leases_can_be() {
        for (ended, gain) in [(2, SpreadGain::Unsure), (1, SpreadGain::SurelyNothing)] {
            let experiment = begin(1, 2, 16, f64::INFINITY);
            assert_eq!(
                conclude(experiment, 64.0, ended * BASE_ENDED),
                (gain, 12),
                "{ended} times as many ended"
            );
        }
    }

    #[test]
    fn only_a_larger_spread_is_growth() {
        assert!(begin(1, 2, 16, SHORT).is_growth());
        assert!(!begin(2, 1, 16, SHORT).is_growth());
    }
}
