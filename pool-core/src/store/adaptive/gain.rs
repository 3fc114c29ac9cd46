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
