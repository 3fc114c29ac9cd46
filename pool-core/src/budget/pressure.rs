//! What a store reads of its budget without the budget's lock.
//!
//! # Algorithm
//!
//! Under its lock the budget writes how many connections its members should give up. A store reads
//! that inside its own critical section, when a connection comes home or becomes idle. If one is
//! wanted, it *claims* it: it raises the number of connections that are on their way out. So members
//! that decide at the same time do not give up more than is wanted.
//!
//! # Why no connection is missed
//!
//! A pool that asks first raises the number, then locks each store that holds a slot to look for an
//! idle connection. A connection that came home before is found there. One that comes home later sees
//! the number, because its critical section follows the one that looked.
//!
//! What is wanted and what is claimed are one word, so a claim that ends and the smaller want that
//! follows from it are one step. Otherwise a connection could be given up twice, or not at all.
//!
//! The word is read and written without any order. A value that is a moment old makes a pool give up a connection that
//! is not needed any more, or one critical section later. It breaks no limit: permits are counted
//! under the budget's lock.

use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::budget::accounts::Want;
use crate::budget::budget_status::BudgetUsage;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Arc, Mutex};

/// The numbers that stores read.
#[derive(Debug)]
pub(crate) struct Pressure {
    name: StdArc<str>,
    /// A [`Level`].
    level: AtomicU64,
    /// Its lock is a leaf: nothing is called while it is held. Only slow paths take it.
    figures: Mutex<Figures>,
}

/// How many connections are wanted, and how many of them are on their way out.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// Idle ones.
    idle: u64,
    /// Those that callers of the pool itself wait for.
    busy: u64,
    claimed: u64,
}

impl Level {
    const BITS: u32 = 20;
    /// More are not wanted at a time.
    const MAX: u64 = (1 << Self::BITS) - 1;

    const fn from_word(word: u64) -> Self {
        Self {
            idle: word & Self::MAX,
            busy: word >> Self::BITS & Self::MAX,
            claimed: word >> (2 * Self::BITS),
        }
    }

    const fn word(self) -> u64 {
        self.idle | self.busy << Self::BITS | self.claimed << (2 * Self::BITS)
    }
}

fn at_most_max(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(Level::MAX).min(Level::MAX)
}

/// What the budget writes after each change.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) limit: usize,
    /// The shares of all pools that hold or want something.
    pub(super) active_shares: usize,
    pub(super) slots: usize,
    pub(super) connecting: usize,
    pub(super) max_connecting: usize,
    /// How many pools hold a slot,
    pub(super) holders: usize,
    /// and how many ask for one.
    pub(super) askers: usize,
}

/// A connection that is given up for another pool. It counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    /// `None` after it was counted out.
    pressure: Option<Arc<Pressure>>,
}

impl Pressure {
    pub(super) fn new(name: StdArc<str>) -> Self {
        Self {
            name,
            level: AtomicU64::new(0),
            figures: Mutex::new(Figures::default()),
        }
    }

    /// Writes the latest state, and ends a claim with it.
    ///
    /// Order: called under the budget's lock, so that the latest change is written last.
    pub(super) fn write(&self, want: Want, figures: Figures, ended: Option<Claim>) {
        let mut ended = ended;
        let is_ended = ended
            .as_mut()
            .and_then(|claim| claim.pressure.take())
            .is_some();
        self.change(|level| {
            Some(Level {
                idle: at_most_max(want.idle),
                busy: at_most_max(want.busy),
                claimed: level.claimed - u64::from(is_ended),
            })
        });
        *self.figures.lock() = figures;
    }

    pub(super) fn figures(&self) -> Figures {
        *self.figures.lock()
    }

    /// Whether an idle connection is wanted that nobody has given up yet.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        let level = self.level();
        level.idle > level.claimed
    }

    /// How many connections are on their way out.
    pub(super) fn claimed(&self) -> usize {
        usize::try_from(self.level().claimed).unwrap_or(usize::MAX)
    }

    #[inline]
    fn level(&self) -> Level {
        Level::from_word(self.level.load(Relaxed))
    }

    fn change(&self, change: impl Fn(Level) -> Option<Level>) -> bool {
        let changed = |word| change(Level::from_word(word)).map(Level::word);
        self.level.fetch_update(Relaxed, Relaxed, changed).is_ok()
    }

    fn claim(this: &Arc<Self>, wanted: fn(Level) -> u64) -> Option<Claim> {
        let is_claimed = this.change(|level| {
            (level.claimed < wanted(level)).then_some(Level {
                claimed: level.claimed + 1,
                ..level
            })
        });
        is_claimed.then(|| Claim {
            pressure: Some(Arc::clone(this)),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(pressure) = self.pressure.take() {
            pressure.change(|level| {
                Some(Level {
                    claimed: level.claimed - 1,
                    ..level
                })
            });
        }
    }
}

/// What one pool is entitled to, and what its budget wants of it.
#[derive(Debug, Clone)]
pub(crate) struct Allotment {
    pub(super) pressure: Arc<Pressure>,
    pub(super) share: usize,
    pub(super) reserved: usize,
    pub(super) residence: Duration,
}

impl Allotment {
    /// Whether a connection is wanted. The hot path reads nothing else.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressure.is_on()
    }

    /// How many idle connections the pool keeps, and how many connections in all.
    pub(crate) const fn reserved(&self) -> usize {
        self.reserved
    }

    /// How long a connection serves until the pool must give way with it.
    pub(crate) const fn residence(&self) -> Duration {
        self.residence
    }

    /// Gives up one of `serving` connections that is idle, if one is wanted.
    pub(crate) fn claim_idle(&self, serving: usize) -> Option<Claim> {
        if serving <= self.reserved {
            return None;
        }
        Pressure::claim(&self.pressure, |level| level.idle)
    }

    /// Gives up one of `serving` connections that callers of this pool wait for, if another pool is
    /// owed one and this one has more than its share.
    pub(crate) fn claim_busy(&self, serving: usize) -> Option<Claim> {
        let Figures {
            limit,
            active_shares,
            ..
        } = self.pressure.figures();
        let is_above_share =
            serving as u128 * active_shares as u128 > limit as u128 * self.share as u128;
        if serving <= self.reserved || !is_above_share {
            return None;
        }
        Pressure::claim(&self.pressure, |level| level.busy)
    }

    /// How full the budget is.
    pub(crate) fn usage(&self) -> BudgetUsage {
        let figures = self.pressure.figures();
        BudgetUsage {
            name: StdArc::clone(&self.pressure.name),
            used: figures.slots,
            limit: figures.limit,
            connecting: figures.connecting,
            max_connecting: figures.max_connecting,
            holders: figures.holders,
            waiting: figures.askers,
        }
    }
}
