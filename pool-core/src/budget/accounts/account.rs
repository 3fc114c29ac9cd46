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

    /// Whether callers wait for any of it.
    pub(in crate::budget) const fn is_awaited(self) -> bool {
        self.callers > self.spread
    }

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
    /// The connections whose close hangs.
    pub(in crate::budget) stuck: usize,
    /// Its connects in flight, what was granted included.
    pub(in crate::budget) connecting: usize,
    pub(in crate::budget) demand: Demand,
    /// When its callers' wait for the next permit began, if any wait.
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

    /// The permits that it has something of: a connection whose close hangs serves nobody, and it may hang
    /// for ever.
    const fn present(&self) -> usize {
        self.slots - self.stuck
    }

    /// What it has if it is compared with others. Only one connection whose close hangs is nothing to it: if all
    /// its closes hang, it would get one after the other, and in the end all that others have.
    pub(super) fn has(&self) -> usize {
        self.slots - self.stuck.min(1)
    }

    /// What its stuck connections take of what is not reserved.
    pub(super) fn stuck_beyond_reserve(&self) -> usize {
        self.committed() - self.present().max(self.entitlement.reserved)
    }

    /// Its share, if it holds more than its reserve. What a member leaves behind is gone soon.
    pub(super) const fn share_beyond_reserve(&self) -> usize {
        match self.handle.is_some() && self.present() > self.entitlement.reserved {
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
        let level = |account: &Self| (account.has(), account.entitlement.share);
        has_no_caller(self)
            .cmp(&has_no_caller(other))
            .then_with(|| by_share(level(self), level(other)))
            .then(self.turn.cmp(&other.turn))
    }
}

/// Compares slots for each unit of share, without a division.
pub(in crate::budget) fn by_share(
    (slots, share): (usize, u32),
    (its_slots, its_share): (usize, u32),
) -> Ordering {
    (slots as u128 * u128::from(its_share)).cmp(&(its_slots as u128 * u128::from(share)))
}
