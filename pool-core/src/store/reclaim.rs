//! What a pool asks of its budget, and what it gives up for others.
//!
//! # Invariants
//!
//! A connection is given up only with a [`Claim`], which stays in its record until the slot is free.
//! So no more are given up than the budget wants. A connection that is idle at the end of a critical
//! section is given up at once; one that callers of this pool wait for, only after it served for the minimum residence and if
//! the pool has more than its share.

use crate::budget::{Allotment, BudgetUsage, Claim, Demand};
use crate::id::CloseReason;
use crate::store::{Lending, SlotKey, State, Store};
use crate::time::Time;

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// The pool has a budget from now on.
    pub(crate) fn join_budget(&mut self, allotment: Allotment) {
        self.allotment = Some(allotment);
    }

    /// How many connects would begin now if the budget allowed them. The budget is asked for this
    /// next.
    pub(crate) fn ask(&mut self, now: Time) -> Demand {
        let demand = self.connect_demand(now);
        if demand == Demand::NONE && self.may_open() {
            self.set_alarm(self.pacer.not_before());
        }
        self.asked = demand.callers;
        demand
    }

    /// A connect began: less is asked for.
    pub(crate) fn note_granted(&mut self, now: Time) {
        self.asked = self.asked.min(self.connect_demand(now).callers);
    }

    /// If less is wanted than the budget was asked for, the maintenance task must tell it: otherwise
    /// other pools would give up connections for nobody.
    #[cold]
    pub(super) fn watch_demand(&mut self) {
        let callers = self.connect_demand(self.tick).callers;
        if callers < self.asked {
            self.asked = callers;
            self.kick();
        }
    }

    fn connect_demand(&self, now: Time) -> Demand {
        if !self.may_open() || now < self.pacer.not_before() {
            return Demand::NONE;
        }
        let opening = self.slots.on_time(State::Opening);
        let room = (self.limits.max_connecting - opening)
            .min(L::size_limit(self) - self.slots.len())
            .min(if self.pacer.allows_beside(1) {
                usize::MAX
            } else {
                1
            });
        let total = self.wanted().saturating_sub(opening).min(room);
        let callers = self.wanted_by_callers().saturating_sub(opening).min(total);
        Demand {
            callers,
            spare: total - callers,
        }
    }

    /// How full the budget is, if callers wait for it.
    pub(super) fn awaited_budget(&self) -> Option<BudgetUsage> {
        let allotment = self.allotment.as_ref()?;
        (self.asked > 0).then(|| allotment.usage())
    }

    /// Whether the budget wants a connection back.
    #[inline]
    pub(super) fn is_pressed(&self) -> bool {
        let allotment = self.allotment.as_ref();
        allotment.is_some_and(Allotment::is_pressed)
    }

    /// Whether the pool gives way: this connection came home, callers wait for it, and it is closed for
    /// another pool. If nobody waits for it, it is idle next, and given up like all that are.
    #[cold]
    pub(super) fn gives_way(&mut self, key: SlotKey) -> bool {
        let Some(allotment) = &self.allotment else {
            return false;
        };
        let record = self.slots.get(key);
        let is_wanted_here = record.load > 0 || !self.queue.is_empty();
        let has_served = record.born.after(allotment.residence()) <= self.tick;
        if !is_wanted_here || !has_served {
            return false;
        }
        let claim = allotment.claim_busy(self.slots.serving());
        let gives_way = claim.is_some();
        self.slots.get_mut(key).claim = claim;
        gives_way
    }

    /// Closes idle connections as long as the budget wants some.
    #[cold]
    pub(super) fn give_up_idle(&mut self) {
        while self.reclaim_idle() {}
    }

    /// When the least recently used idle connection was used that others may have.
    pub(crate) fn oldest_idle(&self) -> Option<Time> {
        let (key, _) = self.reclaimable()?;
        Some(self.slots.get(key).used)
    }

    fn reclaimable(&self) -> Option<(SlotKey, &Allotment)> {
        let allotment = self.allotment.as_ref()?;
        // While callers wait here as well, a shared connection only looks idle.
        if self.is_closed
            || !self.queue.is_empty()
            || self.slots.count(State::Idle) <= allotment.reserved()
        {
            return None;
        }
        Some((L::least_recent(self)?, allotment))
    }

    /// Closes the least recently used idle connection, if another pool still wants one.
    pub(crate) fn reclaim_idle(&mut self) -> bool {
        let serving = self.slots.serving();
        let Some((key, allotment)) = self.reclaimable() else {
            return false;
        };
        let Some(claim) = allotment.claim_idle(serving) else {
            return false;
        };
        self.slots.get_mut(key).claim = Some(claim);
        L::retire_unused(self, key, CloseReason::Reclaimed);
        true
    }

    /// The claim on a slot that is about to be freed, for the budget.
    pub(crate) fn take_claim(&mut self, key: SlotKey) -> Option<Claim> {
        self.slots.get_mut(key).claim.take()
    }
}
