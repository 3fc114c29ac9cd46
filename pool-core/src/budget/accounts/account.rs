//! One member of a budget: what it asks for, what it holds, and whether it comes before another one.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::time::Time;

/// How many connects a pool would begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Demand {
    /// For callers that wait or soon would.
    pub(crate) callers: usize,
    /// Of these, those that no caller waits for: leases are to be spread over more connections, or a
    /// warm-up waits for them.
    pub(crate) spread: usize,
    /// For `min_idle`.
    pub(crate) spare: usize,
}

impl Demand {
    pub(crate) const NONE: Self = Self {
        callers: 0,
        spread: 0,
        spare: 0,
    };

    pub(super) const fn is_none(self) -> bool {
        self.callers == 0 && self.spare == 0
    }
}

/// What a member is entitled to.
#[derive(Debug, Clone)]
pub(in crate::budget) struct Entitlement {
    pub(in crate::budget) name: Arc<str>,
    pub(in crate::budget) share: u32,
    pub(in crate::budget) reserved: usize,
}

/// One member's account. `H` is the way to reach it.
#[derive(Debug)]
pub(in crate::budget) struct Account<H> {
    pub(in crate::budget) entitlement: Entitlement,
    /// The permits that it holds or was granted.
    pub(in crate::budget) slots: usize,
    /// Those that it has not taken yet.
    pub(super) granted: usize,
    /// When the first of these was granted.
    pub(super) granted_at: Time,
    /// Its connects in flight, what was granted included.
    pub(in crate::budget) connecting: usize,
    pub(in crate::budget) demand: Demand,
    /// When its callers' wait for the next permit began, if they wait.
    pub(in crate::budget) asked_at: Time,
    /// Its place among those that ask for equally much.
    pub(super) turn: u64,
    /// What its connections weigh together. Changes and releases come in any order, so it can be negative
    /// for a moment.
    pub(in crate::budget) weight: i128,
    /// What the heaviest of them weighed when they were weighed last: what another one will weigh.
    pub(super) weight_of_one: u64,
    /// How many of its connections were reclaimed.
    pub(in crate::budget) reclaimed: u64,
    /// `None` after it left: then it gets nothing any more.
    pub(super) handle: Option<H>,
}

impl<H> Account<H> {
    /// It has left and holds nothing.
    pub(in crate::budget) const fn is_gone(&self) -> bool {
        self.handle.is_none() && self.slots == 0
    }

    /// The permits that nobody else can have.
    pub(super) fn committed(&self) -> usize {
        self.slots.max(self.entitlement.reserved)
    }

    /// It counts when the limit is divided into shares.
    pub(super) const fn is_active(&self) -> bool {
        self.slots > 0 || self.demand.callers > 0
    }

    pub(super) fn active_share(&self) -> usize {
        match self.is_active() {
            true => self.entitlement.share as usize,
            false => 0,
        }
    }

    /// What it asks for its callers beyond its own reserve.
    pub(super) fn callers_beyond_reserve(&self) -> usize {
        let own = self.entitlement.reserved.saturating_sub(self.slots);
        self.demand.callers.saturating_sub(own)
    }

    /// The part of that which callers wait for now.
    pub(super) fn waiting_beyond_reserve(&self) -> usize {
        let beyond_reserve = self.callers_beyond_reserve();
        beyond_reserve.saturating_sub(self.demand.spread)
    }

    /// When the oldest of what it has not taken was granted.
    pub(super) fn untaken_since(&self) -> Option<Time> {
        (self.granted > 0).then_some(self.granted_at)
    }

    /// Gives back what was granted beyond `kept` permits and not taken.
    pub(super) const fn give_back_beyond(&mut self, kept: usize) {
        let surplus = self.granted.saturating_sub(kept);
        self.granted -= surplus;
        self.slots -= surplus;
        self.connecting -= surplus;
    }

    /// Which of two members gets the next permit.
    pub(super) fn precedence(&self, other: &Self) -> Ordering {
        let has_no_caller = |account: &Self| account.demand.callers == 0;
        let (mine, its) = (&self.entitlement, &other.entitlement);
        has_no_caller(self)
            .cmp(&has_no_caller(other))
            // Slots for each unit of share, without a division.
            .then_with(|| {
                (self.slots * its.share as usize).cmp(&(other.slots * mine.share as usize))
            })
            .then(self.turn.cmp(&other.turn))
    }
}
