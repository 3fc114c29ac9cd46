//! The bars: what each judged figure must be.
//!
//! A figure is a ratio of two things that were measured in turns in one run, or a count. A ratio
//! meets its bar if it is within [`TOLERANCE`] of it. Each bar also says how far a figure can miss
//! it through noise alone on a machine that does other work too: only a figure beyond that fails a
//! run. Bars that are missed today are listed in [`known_misses`](crate::known_misses).

use std::fmt;

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// The limit itself.
    pub limit: Limit,
    /// The factor by which noise can carry a figure beyond the limit.
    pub noise: f64,
}

/// The side on which a figure must stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Bar {
    /// Not more than this.
    #[must_use]
    pub const fn at_most(limit: f64, noise: f64) -> Self {
        Self {
            limit: Limit::AtMost(limit),
            noise,
        }
    }

    /// Not less than this.
    #[must_use]
    pub const fn at_least(limit: f64, noise: f64) -> Self {
        Self {
            limit: Limit::AtLeast(limit),
            noise,
        }
    }

    /// Whether a figure meets it.
    #[must_use]
    pub fn is_met(self, value: f64) -> bool {
        self.limit.widened(TOLERANCE).holds(value)
    }

    /// Whether it is for a count, which no load of the machine changes.
    #[must_use]
    pub fn is_of_count(self) -> bool {
        self.noise <= NO_NOISE
    }

    /// Whether a figure meets it, or misses it by no more than noise explains.
    #[must_use]
    pub fn is_within_noise(self, value: f64) -> bool {
        self.limit.widened(self.noise.max(TOLERANCE)).holds(value)
    }

    /// The limit beyond which a run fails.
    #[must_use]
    pub fn tolerated(self) -> Limit {
        self.limit.widened(self.noise.max(TOLERANCE))
    }
}

impl Limit {
    /// Whether this value is on the right side.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    /// The same limit, looser by this factor.
    #[must_use]
    pub fn widened(self, factor: f64) -> Self {
        match self {
            Self::AtMost(limit) => Self::AtMost(limit * factor),
            Self::AtLeast(limit) => Self::AtLeast(limit / factor),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two digits are enough: 33.33, not 33.333333333333336.
        let rounded = |limit: f64| (limit * 100.0).round() / 100.0;
        match self {
            Self::AtMost(limit) => write!(f, "<= {}", rounded(*limit)),
            Self::AtLeast(limit) => write!(f, ">= {}", rounded(*limit)),
        }
    }
}

/// The factor within which a ratio still counts as met: two runs in a row differ by as much.
pub const TOLERANCE: f64 = 1.05;
/// Of a count.
const NO_NOISE: f64 = 1.0;

// Pools beside their peers.

/// Acquire and drop when nobody waits.
pub const UNCONTENDED: Bar = Bar::at_most(0.40, 2.0);
/// 64 tasks over 4 connections. Whether the two workers really run side by side is up to the
/// machine, so the noise is large.
pub const CROWD: Bar = Bar::at_most(0.85, 3.0);
/// The p99.9 wait of that crowd.
pub const CROWD_WAITS: Bar = Bar::at_most(1.0, 4.0);
/// How the cost of an operation grows with connections and waiters.
pub const GROWTH: Bar = Bar::at_most(1.1, 2.0);
/// CPU of waiters that all reach their deadlines.
pub const EXPIRY: Bar = Bar::at_most(1.2, 1.5);

// Budgets and keys.

/// Acquire and drop when nobody waits, in a budget and without.
pub const BUDGET: Bar = Bar::at_most(1.05, 1.3);
/// 1 000 keys over 16 connections, beside one pool that replaces as many.
pub const MANY_KEYS: Bar = Bar::at_most(1.3, 1.5);

// Requests to children.

/// A pooled request, with everything on one core.
pub const EXCLUSIVE_REQUEST: Bar = Bar::at_most(1.15, 2.0);
/// A process for each request beside a pooled request: a native child, pinned. A start on a busy
/// core varies more than a request does.
pub const NATIVE_SPAWN_PINNED: Bar = Bar::at_least(100.0, 3.0);
/// The same, unpinned.
pub const NATIVE_SPAWN: Bar = Bar::at_least(15.0, 3.0);
/// The same for an interpreter.
pub const INTERPRETER_SPAWN: Bar = Bar::at_least(200.0, 3.0);

// JSON-RPC.

/// The median call of one caller on two workers, pinned to one core.
pub const RPC_ONE_CALLER_PINNED: Bar = Bar::at_most(0.5, 1.5);
/// The same, unpinned. Where the system runs the child decides: waking another core can cost more
/// than the call.
pub const RPC_ONE_CALLER: Bar = Bar::at_most(0.5, 4.0);
/// Requests per second of 64 callers, pinned to one core.
pub const RPC_CROWD_PINNED: Bar = Bar::at_least(7.0, 1.5);
/// The same, unpinned.
pub const RPC_CROWD: Bar = Bar::at_least(7.0, 4.0);
/// A megabyte forwarded, pinned to one core.
pub const FORWARD_PINNED: Bar = Bar::at_most(1.0, 1.5);
/// The same, unpinned.
pub const FORWARD: Bar = Bar::at_most(1.0, 4.0);
/// A lease for each request beside a kept connection.
pub const LEASE_FOR_EACH_REQUEST: Bar = Bar::at_least(0.9, 1.5);
/// An exchange for each request of a client beside `forward` of it.
pub const EXCHANGE: Bar = Bar::at_least(0.95, 1.5);
/// A shared pool with default settings in front of a child that serves one request at a time.
pub const SHARED_SERIAL: Bar = Bar::at_least(0.9, 1.5);
/// The same in front of a child that multiplexes, beside one child.
pub const SHARED_MULTIPLEXING: Bar = Bar::at_least(0.95, 2.0);

// Children in numbers, and their ends.

/// Starting a child from a large parent.
pub const LARGE_PARENT: Bar = Bar::at_most(1.1, 2.0);
/// Descriptors of ours for each child: a count, so there is no noise.
pub const DESCRIPTORS: Bar = Bar::at_most(4.0, NO_NOISE);
/// An event of one child beside 1 000 idle children.
pub const IDLE_CHILDREN: Bar = Bar::at_most(1.2, 2.0);
/// 180 trees that are ended at once beside 5.
pub const MANY_ENDS: Bar = Bar::at_most(1.2, 1.5);
/// Something of which there must be none.
pub const NONE: Bar = Bar::at_most(0.0, NO_NOISE);

#[cfg(test)]
mod tests {
    use super::{Bar, Limit, NONE};

    #[test]
    fn a_figure_at_its_bar_or_within_the_tolerance_meets_it() {
        let bar = Bar::at_most(1.0, 2.0);
        assert!(bar.is_met(1.0) && bar.is_met(1.05));
        assert!(!bar.is_met(1.06));
        let bar = Bar::at_least(10.0, 2.0);
        assert!(bar.is_met(10.0) && bar.is_met(9.53));
        assert!(!bar.is_met(9.5));
    }

    #[test]
    fn noise_excuses_a_miss_up_to_its_factor() {
        let bar = Bar::at_most(1.0, 2.0);
        assert!(bar.is_within_noise(2.0) && !bar.is_within_noise(2.1));
        let bar = Bar::at_least(100.0, 2.0);
        assert!(bar.is_within_noise(50.0) && !bar.is_within_noise(49.0));
    }

    #[test]
    fn nothing_excuses_one_where_there_must_be_none() {
        assert!(NONE.is_met(0.0));
        assert!(!NONE.is_met(1.0) && !NONE.is_within_noise(1.0));
    }

    #[test]
    fn a_limit_is_written_in_few_digits() {
        assert_eq!(Limit::AtLeast(100.0 / 3.0).to_string(), ">= 33.33");
        assert_eq!(Limit::AtMost(4.0).to_string(), "<= 4");
    }
}
