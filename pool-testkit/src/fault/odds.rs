//! How often calls and queries go wrong.

use std::fmt;
use std::time::Duration;

use super::random::SplitMix64;

/// How many of a thousand calls of one method go wrong, and how.
///
/// # Examples
///
/// ```
/// use pool_testkit::fault::Odds;
/// use std::time::Duration;
///
/// let odds = Odds::none().transient(50).hang(1).slow(200, Duration::from_millis(20));
/// assert_eq!(odds.to_string(), "transient 50 hang 1 slow 200 up to 20ms");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    transient: u16,
    permanent: u16,
    panic: u16,
    hang: u16,
    pub(super) slow: u16,
    pub(super) delay_max: Duration,
}

impl Odds {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        let delay_max = Duration::ZERO;
        Self {
            transient: 0,
            permanent: 0,
            panic: 0,
            hang: 0,
            slow: 0,
            delay_max,
        }
    }

    /// So many calls fail; connects among them with a transient error.
    #[must_use]
    pub const fn transient(mut self, per_mille: u16) -> Self {
        self.transient = per_mille;
        self
    }

    /// So many calls fail; connects among them with a permanent error.
    #[must_use]
    pub const fn permanent(mut self, per_mille: u16) -> Self {
        self.permanent = per_mille;
        self
    }

    /// So many calls panic.
    #[must_use]
    pub const fn panic(mut self, per_mille: u16) -> Self {
        self.panic = per_mille;
        self
    }

    /// So many calls hang until the faults are switched off.
    #[must_use]
    pub const fn hang(mut self, per_mille: u16) -> Self {
        self.hang = per_mille;
        self
    }

    /// So many calls are late by up to `delay_max`, in addition to whatever else happens to them.
    #[must_use]
    pub const fn slow(mut self, per_mille: u16, delay_max: Duration) -> Self {
        self.slow = per_mille;
        self.delay_max = delay_max;
        self
    }

    /// Draws what happens to one call.
    pub(super) fn draw(&self, numbers: &mut SplitMix64) -> FaultKind {
        let mut draw = numbers.below(1000);
        let kinds = [
            (self.transient, FaultKind::Transient),
            (self.permanent, FaultKind::Permanent),
            (self.panic, FaultKind::Panic),
            (self.hang, FaultKind::Hang),
        ];
        for (odds, kind) in kinds {
            if draw < u64::from(odds) {
                return kind;
            }
            draw -= u64::from(odds);
        }
        FaultKind::None
    }

    /// How many of a thousand fail, panic or hang.
    pub(super) const fn sum(&self) -> u32 {
        self.transient as u32 + self.permanent as u32 + self.panic as u32 + self.hang as u32
    }
}

impl fmt::Display for Odds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (odds, what) in [
            (self.transient, "transient"),
            (self.permanent, "permanent"),
            (self.panic, "panic"),
            (self.hang, "hang"),
            (self.slow, "slow"),
        ] {
            if odds > 0 {
                write!(f, "{gap}{what} {odds}")?;
                gap = " ";
            }
        }
        match (gap, self.slow) {
            ("", _) => f.write_str("none"),
            (_, 0) => Ok(()),
            (_, _) => write!(f, " up to {:?}", self.delay_max),
        }
    }
}

/// How many of a thousand queries of one kind go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct QueryOdds {
    pub(super) unfavourable: u16,
    pub(super) panic: u16,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Nothing: it is the real call.
    None,
    /// It fails; a connect fails with a transient error.
    Transient,
    /// It fails; a connect fails with a permanent error.
    Permanent,
    /// It panics.
    Panic,
    /// It hangs until the faults are switched off.
    Hang,
}
