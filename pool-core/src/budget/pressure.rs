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
//! # Claims that age
//!
//! A claim ends when its slot is free. That can take long: a shared connection that gives way has leases,
//! and the runtime of a pool can have stopped. So each claim has a time after which it *ages*: it counts
//! no more, and another connection can be given up in its place. A pool that waits looks for aged claims. If
//! the budget was made smaller, none waits. So the pool looks whose connection has leases, and a close that takes long
//! drops its claim itself.
//!
//! # Order
//!
//! What is wanted and what is claimed are one word, so a claim that ends and the smaller want that
//! follows from it are one step. Otherwise a connection could be given up twice, or not at all.
//!
//! Which pools give up what they use is another word, which stores read before the first. So a return in a
//! full budget costs its pool two loads if nothing is wanted of it.
//!
//! The words are read and written without any order. A value that is a moment old makes a pool give up a connection that
//! is not needed any more, or one critical section later. It breaks no limit: permits are counted
//! under the budget's lock.

use std::collections::BTreeMap;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::budget::accounts::{Givers, Want, by_share};
use crate::budget::budget_status::BudgetUsage;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use crate::sync::{Arc, Mutex};
use crate::time::{Clock, Time};

/// The numbers that stores read.
#[derive(Debug)]
pub(crate) struct Pressure {
    name: StdArc<str>,
    /// A [`Level`].
    level: AtomicU64,
    /// [`Givers`].
    givers: AtomicU64,
    is_full: AtomicBool,
    /// Their locks are leaves: nothing is called while they are held. Only slow paths take them.
    figures: Mutex<Figures>,
    claims: Mutex<Claims>,
    clock: Clock,
}

/// The claims that count.
#[derive(Debug, Default)]
struct Claims {
    /// When each of them ages.
    ages_at: BTreeMap<u64, Time>,
    next: u64,
}

/// How many connections are wanted, and how many of them are on their way out.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// Idle ones.
    idle: u64,
    /// Those that their pools use.
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

impl Givers {
    /// A share is never zero, so the words that have none are free for the others.
    const ALL: u64 = 0;
    const ABOVE_PART: u64 = 1;

    fn word(self) -> u64 {
        match self {
            Self::All | Self::Richer { share: 0, .. } => Self::ALL,
            Self::AbovePart => Self::ABOVE_PART,
            Self::Richer { slots, share } => {
                u64::from(share) << 32 | slots.min(u64::from(u32::MAX))
            }
        }
    }

    const fn from_word(word: u64) -> Self {
        match word {
            Self::ALL => Self::All,
            Self::ABOVE_PART => Self::AbovePart,
            word => Self::Richer {
                slots: word & u32::MAX as u64,
                share: (word >> 32) as u32,
            },
        }
    }
}

fn at_most_max(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(Level::MAX).min(Level::MAX)
}

/// What the budget writes after each change.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) limit: usize,
    pub(super) slots: usize,
    /// How many of them are held by closes that hang.
    pub(super) stuck: usize,
    /// What these take of what is not reserved.
    pub(super) stuck_beyond_reserve: usize,
    /// No permit is free but what is reserved.
    pub(super) is_full: bool,
    pub(super) reserved: usize,
    /// How many of these are not used.
    pub(super) unused_reserve: usize,
    /// The shares of all pools that hold more than their reserve.
    pub(super) shares_beyond_reserve: usize,
    pub(super) connecting: usize,
    pub(super) max_connecting: usize,
    /// How many pools hold a slot,
    pub(super) holders: usize,
    /// how many ask for more than spare connections,
    pub(super) asking: usize,
    /// and how many have callers that wait for one.
    pub(super) waiting: usize,
    /// What all connections together weigh,
    pub(super) weight: u64,
    /// and may weigh.
    pub(super) max_weight: Option<u64>,
}

/// A connection that is given up for another pool. It counts until this is dropped, or ages.
#[derive(Debug)]
pub(crate) struct Claim {
    pressure: Arc<Pressure>,
    number: u64,
}

impl Claim {
    /// Its connection is being closed from now on. It counts again if it had aged before, under a long lease.
    pub(crate) fn closing(&self) {
        let ages_at = self.pressure.clock.now().after(CLOSE_PATIENCE);
        let mut claims = self.pressure.claims.lock();
        let had_aged = claims.ages_at.insert(self.number, ages_at).is_none();
        if had_aged {
            self.pressure.count_in(|_| u64::MAX);
        }
    }

    /// When it ages; `None` if it counts no more.
    pub(crate) fn ages_at(&self) -> Option<Time> {
        let claims = self.pressure.claims.lock();
        claims.ages_at.get(&self.number).copied()
    }

    /// It counts no more.
    pub(crate) fn has_aged(&self) -> bool {
        self.ages_at().is_none()
    }

    /// It counts no more from now on. Returns whether it did.
    fn end(&self) -> bool {
        let mut claims = self.pressure.claims.lock();
        claims.ages_at.remove(&self.number).is_some()
    }
}

/// How long the close of a connection that was given up may take until another one is given up.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(30);

impl Pressure {
    pub(super) fn new(name: StdArc<str>, clock: Clock) -> Self {
        Self {
            name,
            level: AtomicU64::new(0),
            givers: AtomicU64::new(Givers::All.word()),
            is_full: AtomicBool::new(false),
            figures: Mutex::new(Figures::default()),
            claims: Mutex::new(Claims::default()),
            clock,
        }
    }

    /// Writes the latest state, and ends a claim with it.
    ///
    /// Order: called under the budget's lock, so that the latest change is written last.
    pub(super) fn write(&self, want: Want, figures: Figures, ended: Option<Claim>) {
        // It counted, and does not any more: its drop counts nothing.
        let is_ended = ended.is_some_and(|claim| claim.end());
        self.givers.store(want.givers.word(), Relaxed);
        self.is_full.store(figures.is_full, Relaxed);
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

    fn givers(&self) -> Givers {
        Givers::from_word(self.givers.load(Relaxed))
    }

    fn change(&self, change: impl Fn(Level) -> Option<Level>) -> bool {
        let changed = |word| change(Level::from_word(word)).map(Level::word);
        self.level.fetch_update(Relaxed, Relaxed, changed).is_ok()
    }

    /// When the next claim ages.
    pub(super) fn ages_at(&self) -> Option<Time> {
        self.claims.lock().ages_at.values().min().copied()
    }

    /// Ends the claims that have aged by now.
    pub(super) fn end_aged(&self, now: Time) {
        let aged = {
            let mut claims = self.claims.lock();
            let before = claims.ages_at.len();
            claims.ages_at.retain(|_, ages_at| *ages_at > now);
            before - claims.ages_at.len()
        };
        if aged > 0 {
            self.count_out(aged);
        }
    }

    fn count_out(&self, claims: usize) {
        self.change(|level| {
            Some(Level {
                claimed: level.claimed - at_most_max(claims),
                ..level
            })
        });
    }

    /// Claims a connection if one is wanted, for at most `patience`.
    ///
    /// Order: it is counted while the lock is held. A pool that sees that nothing is wanted any more
    /// also finds when the claim ages, and looks again then.
    fn claim(this: &Arc<Self>, wanted: impl Fn(Level) -> u64, patience: Duration) -> Option<Claim> {
        let ages_at = this.clock.now().after(patience);
        let mut claims = this.claims.lock();
        if !this.count_in(wanted) {
            return None;
        }
        let number = claims.enter(ages_at);
        drop(claims);
        Some(Claim {
            pressure: Arc::clone(this),
            number,
        })
    }

    fn count_in(&self, wanted: impl Fn(Level) -> u64) -> bool {
        self.change(|level| {
            (level.claimed < wanted(level)).then_some(Level {
                claimed: level.claimed + 1,
                ..level
            })
        })
    }

    /// For a model that counts a claim before anybody can see when it ages.
    #[cfg(all(test, loom))]
    pub(super) fn claim_in_two_steps(this: &Arc<Self>, ages_at: Time) -> Option<Claim> {
        if !this.count_in(|level| level.idle) {
            return None;
        }
        let number = this.claims.lock().enter(ages_at);
        Some(Claim {
            pressure: Arc::clone(this),
            number,
        })
    }
}

impl Claims {
    /// Enters a claim, and returns its number.
    fn enter(&mut self, ages_at: Time) -> u64 {
        let number = self.next;
        self.next += 1;
        self.ages_at.insert(number, ages_at);
        number
    }
}

#[cfg(all(test, loom))]
impl Claim {
    /// For a model that looks in one critical section and counts in another.
    pub(super) fn end_in_two_steps(self) {
        if !self.has_aged() {
            self.end();
            self.pressure.count_out(1);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.end() {
            self.pressure.count_out(1);
        }
    }
}

/// An idle connection that a pool could give up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdleOffer {
    /// How many connections the pool keeps.
    pub(crate) kept: usize,
    /// How many the pool itself asked the budget for: it gives up none for itself.
    pub(crate) asked: usize,
    /// It was used within the minimum residence.
    pub(crate) is_in_use: bool,
    /// The pool spreads its leases over it, or a warm-up counts on it: another one would be opened in its place.
    pub(crate) is_needed: bool,
}

/// What one pool is entitled to, and what its budget wants of it.
#[derive(Debug, Clone)]
pub(crate) struct Allotment {
    pub(super) pressure: Arc<Pressure>,
    pub(super) share: u32,
    pub(super) reserved: usize,
    pub(super) residence: Duration,
    pub(super) max_weight: Option<u64>,
}

impl Allotment {
    /// Whether connections are weighed for the budget.
    pub(crate) const fn limits_weight(&self) -> bool {
        self.max_weight.is_some()
    }

    /// What all connections of the budget may weigh together.
    pub(crate) fn max_weight(&self) -> u64 {
        self.max_weight.unwrap_or(u64::MAX)
    }

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

    /// Whether an idle connection is wanted of this pool.
    ///
    /// One that is in use or needed is wanted only as one that is returned to callers is: a caller that
    /// needs it again and again would have to connect each time, and two pools that spread their leases, or
    /// warm up, could take it from each other for ever.
    pub(crate) fn wants_idle(&self, offer: IdleOffer) -> bool {
        let level = self.pressure.level();
        level.claimed < self.idle_wanted(offer)(level)
    }

    /// Gives up an idle connection, if one is wanted.
    pub(crate) fn claim_idle(&self, offer: IdleOffer) -> Option<Claim> {
        Pressure::claim(&self.pressure, self.idle_wanted(offer), CLOSE_PATIENCE)
    }

    fn idle_wanted(&self, offer: IdleOffer) -> impl Fn(Level) -> u64 {
        let is_reserved = offer.kept <= self.reserved;
        let is_kept = offer.is_in_use || offer.is_needed;
        // If there are too many, idle ones go first.
        let givers = match self.pressure.givers() {
            Givers::AbovePart => Givers::All,
            givers @ (Givers::All | Givers::Richer { .. }) => givers,
        };
        let busy_wanted = self.busy_wanted(offer.kept, givers);
        move |level| match (is_reserved, is_kept) {
            (true, _) => 0,
            (_, true) => busy_wanted(level),
            (_, false) => level.idle.saturating_sub(at_most_max(offer.asked)),
        }
    }

    /// How many connections in use are wanted of this pool, which keeps so many.
    fn busy_wanted(&self, kept: usize, givers: Givers) -> impl Fn(Level) -> u64 {
        let (reserved, share) = (self.reserved, self.share);
        let is_above_part = givers == Givers::AbovePart && self.is_above_part(kept);
        move |level| {
            let gives = match givers {
                Givers::All => true,
                // As if all that are on their way out were for the neediest: then no more are given up than
                // it can have.
                Givers::Richer { slots, share: its } => {
                    let has = usize::try_from(slots + level.claimed).unwrap_or(usize::MAX);
                    by_share((kept.saturating_sub(1), share), (has, its)).is_gt()
                }
                Givers::AbovePart => is_above_part,
            };
            if gives && kept > reserved {
                level.busy
            } else {
                0
            }
        }
    }

    /// Whether the pool has more than its part of what is not reserved.
    fn is_above_part(&self, kept: usize) -> bool {
        let figures = self.pressure.figures();
        let shares = figures.shares_beyond_reserve;
        // Nobody can give up what is stuck.
        let others = figures.reserved + figures.stuck_beyond_reserve;
        let unreserved = figures.limit.saturating_sub(others);
        let beyond_reserve = kept.saturating_sub(self.reserved);
        beyond_reserve as u128 * shares as u128 > unreserved as u128 * u128::from(self.share)
    }

    /// Whether a connection is wanted of this pool, which keeps so many and has callers that wait. Of a
    /// pool that keeps fewer, no more is wanted.
    pub(crate) fn wants_busy(&self, kept: usize) -> bool {
        let level = self.pressure.level();
        level.claimed < self.busy_wanted(kept, self.pressure.givers())(level)
    }

    /// Gives up one of `kept` connections that callers of this pool wait for, if one is wanted of this
    /// pool. If it still has leases, the claim ages soon.
    pub(crate) fn claim_busy(&self, kept: usize, has_leases: bool) -> Option<Claim> {
        let wanted = self.busy_wanted(kept, self.pressure.givers());
        let patience = match has_leases {
            true => self.residence,
            false => CLOSE_PATIENCE,
        };
        Pressure::claim(&self.pressure, wanted, patience)
    }

    /// Whether the budget has no room for another connection of a pool with so many.
    pub(crate) fn is_full(&self, slots: usize) -> bool {
        slots >= self.reserved && self.pressure.is_full.load(Relaxed)
    }

    /// How many pools ask for more than spare connections.
    pub(crate) fn asking(&self) -> usize {
        self.pressure.figures().asking
    }

    /// How full the budget is.
    pub(crate) fn usage(&self) -> BudgetUsage {
        let figures = self.pressure.figures();
        BudgetUsage {
            name: StdArc::clone(&self.pressure.name),
            used: figures.slots,
            limit: figures.limit,
            stuck: figures.stuck,
            unused_reserve: figures.unused_reserve,
            connecting: figures.connecting,
            max_connecting: figures.max_connecting,
            holders: figures.holders,
            waiting: figures.waiting,
            weight: figures.weight,
            max_weight: figures.max_weight,
        }
    }
}
