//! The bars that are missed today, each with the reason.
//!
//! A miss that stands here is printed with its reason and does not fail a run, unless the figure
//! has become worse than when it was listed by more than noise explains. Remove the line of a miss
//! when it is mended: from then on the bar holds.

/// A bar that is missed today.
#[derive(Debug, Clone, Copy)]
pub struct KnownMiss {
    /// The figure as a report names it.
    pub figure: &'static str,
    /// What it was when it was listed.
    pub value: f64,
    /// Why it is missed.
    pub why: &'static str,
}

/// The miss that is known of this figure.
#[must_use]
pub fn known_miss(figure: &str) -> Option<&'static KnownMiss> {
    KNOWN_MISSES.iter().find(|miss| miss.figure == figure)
}

/// All of them.
pub const KNOWN_MISSES: &[KnownMiss] = &[];
