//! How much faster a load is served by more connections.
//!
//! At the same load there are two ways to say it, and they agree: the rate rises as much as the time of
//! a lease falls. If the load has changed, they differ. A peer at its limit keeps its rate when the load
//! changes, so only a change of the rate would be news; a peer below its limit keeps the time of a
//! lease, so only a change of that would be. Which of the two it is is not known: the gain lies
//! between them.

use super::window::{ENDED_MIN, LoadProfile, LoadWindow};

/// As many times as fast, between two bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gain {
    pub(super) lower: f64,
    pub(super) upper: f64,
    /// By what part it may be off by chance.
    pub(super) error: f64,
    /// The load it was measured at.
    pub(super) load: f64,
}

impl Gain {
    /// The gain of `wide` over `narrow`, by what was measured at about the same load; `None` if that is
    /// not enough.
    pub(super) fn at_equal_load(narrow: &LoadProfile, wide: &LoadProfile) -> Option<Self> {
        let ratio = narrow.total.mean_load() / wide.total.mean_load();
        let is_equal = (1.0 / EQUAL_LOAD..=EQUAL_LOAD).contains(&ratio);
        if is_equal && narrow.total.is_telling() && wide.total.is_telling() {
            return Some(Self::between(&narrow.total, &wide.total));
        }
        let classes = narrow.classes.iter().zip(&wide.classes);
        let both = classes.filter(|(one, other)| one.ended.min(other.ended) >= ENDED_MIN);
        let (mut all_narrow, mut all_wide) = (LoadWindow::default(), LoadWindow::default());
        let (mut lower, mut upper, mut weights) = (0.0, 0.0, 0.0);
        for (narrow, wide) in both {
            all_narrow.add(narrow);
            all_wide.add(wide);
            let gain = Self::between(narrow, wide);
            let weight = narrow.ended.min(wide.ended);
            lower += weight * gain.lower.ln();
            upper += weight * gain.upper.ln();
            weights += weight;
        }
        (all_narrow.is_telling() && all_wide.is_telling()).then(|| Self {
            lower: (lower / weights).exp(),
            upper: (upper / weights).exp(),
            error: all_narrow.error_beside(&all_wide),
            load: all_narrow.mean_load(),
        })
    }

    /// By all that was measured.
    pub(super) fn at_any_load(narrow: &LoadProfile, wide: &LoadProfile) -> Self {
        Self::between(&narrow.total, &wide.total)
    }

    fn between(narrow: &LoadWindow, wide: &LoadWindow) -> Self {
        let by_rate = wide.rate() / narrow.rate();
        let by_time = narrow.mean_seconds() / wide.mean_seconds();
        Self {
            lower: by_rate.min(by_time),
            upper: by_rate.max(by_time),
            error: narrow.error_beside(wide),
            load: narrow.mean_load(),
        }
    }
}

/// Loads that differ by no more are the same.
const EQUAL_LOAD: f64 = 1.2;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Ticks of a tenth of a second: how many, with which load, and how many leases ended in each.
    fn profile(ticks: &[(u32, f64, u64)]) -> LoadProfile {
        let mut profile = LoadProfile::default();
        for (count, load, ended) in ticks {
            for _ in 0..*count {
                let tenth = Duration::from_millis(100);
                profile.add(&LoadWindow::of_tick(tenth, *load, *ended));
            }
        }
        profile
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn at_about_the_same_load_all_ticks_are_compared() {
        // Not of one class.
        let narrow = profile(&[(4, 4.6, 10)]);
        let wide = profile(&[(4, 4.9, 20)]);
        let gain = Gain::at_equal_load(&narrow, &wide).expect("it is about the same");
        assert_near(gain.upper, 2.0);
        assert_near(gain.lower, 2.0 * 4.6 / 4.9);
        assert_near(gain.load, 4.6);
        assert_near(gain.error, (1.0 / 40.0 + 1.0 / 80.0_f64).sqrt());
        let gain = Gain::at_equal_load(&wide, &narrow).expect("it is about the same");
        assert_near(gain.lower, 0.5);
        assert_near(gain.upper, 0.5 * 4.9 / 4.6);
    }

    #[test]
    fn at_other_loads_those_ticks_are_compared_that_had_the_same_load() {
        let narrow = profile(&[(3, 4.0, 10), (3, 16.0, 20)]);
        // Twice as fast at the one load, as fast at the other. A third one met narrow never.
        let wide = profile(&[(3, 4.0, 20), (6, 16.0, 20), (6, 64.0, 90)]);
        let gain = Gain::at_equal_load(&narrow, &wide).expect("two loads are the same");
        // What is known of 60 leases counts for twice as much as what is known of 30.
        assert_near(gain.lower, 2.0_f64.powf(1.0 / 3.0));
        assert_near(gain.upper, 2.0_f64.powf(1.0 / 3.0));
        assert_near(gain.load, 10.0);
        let gain = Gain::at_equal_load(&wide, &narrow).expect("two loads are the same");
        assert_near(gain.lower, 0.5_f64.powf(1.0 / 3.0));
        assert_near(gain.load, 12.0);
    }

    #[test]
    fn bounds_are_told_apart_at_each_load() {
        let narrow = profile(&[(3, 4.0, 10), (3, 64.0, 10)]);
        let wide = profile(&[(3, 4.5, 20)]);
        let gain = Gain::at_equal_load(&narrow, &wide).expect("one load is the same");
        assert_near(gain.lower, 2.0 * 4.0 / 4.5);
        assert_near(gain.upper, 2.0);
    }

    #[test]
    fn too_few_ticks_or_leases_say_nothing_about_equal_loads() {
        let narrow = profile(&[(3, 4.0, 10), (3, 64.0, 10)]);
        assert!(Gain::at_equal_load(&narrow, &profile(&[(2, 4.0, 20)])).is_none());
        assert!(Gain::at_equal_load(&narrow, &profile(&[(3, 4.0, 2)])).is_none());
        assert!(Gain::at_equal_load(&narrow, &profile(&[(9, 16.0, 20)])).is_none());
        let few = profile(&[(2, 4.0, 20)]);
        assert!(Gain::at_equal_load(&few, &profile(&[(9, 4.0, 20)])).is_none());
        assert!(Gain::at_equal_load(&profile(&[(9, 4.0, 20)]), &few).is_none());
    }

    #[test]
    fn a_class_with_seven_leases_is_left_out_and_one_with_eight_counts() {
        let narrow = profile(&[(3, 4.0, 10), (1, 64.0, 10)]);
        let seven = profile(&[(3, 4.0, 10), (1, 64.0, 7), (9, 1.0, 10)]);
        let gain = Gain::at_equal_load(&narrow, &seven).expect("one load is the same");
        assert_near(gain.lower, 1.0);
        let eight = profile(&[(3, 4.0, 10), (1, 64.0, 8), (9, 1.0, 10)]);
        let gain = Gain::at_equal_load(&narrow, &eight).expect("two loads are the same");
        assert_near(gain.lower, 0.8_f64.powf(8.0 / 38.0));
    }

    #[test]
    fn at_any_load_the_gain_lies_between_that_of_the_rate_and_that_of_the_time() {
        let narrow = profile(&[(4, 4.0, 10)]);
        let wide = profile(&[(4, 8.0, 10)]);
        let gain = Gain::at_any_load(&narrow, &wide);
        assert_near(gain.lower, 0.5);
        assert_near(gain.upper, 1.0);
        assert_near(gain.load, 4.0);
    }
}
