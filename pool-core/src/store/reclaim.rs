//! What a pool asks of its budget, and what it gives up for others.
//!
//! # Invariants
//!
//! A connection is given up only with a [`Claim`], which stays in its record until the slot is free.
//! So no more are given up than the budget wants. A connection that is idle at the end of a critical
//! section is given up at once; one that callers of this pool wait for, only after it served for the minimum residence, and
//! a lease, and if the pool keeps more for its share than the pool that gets it has.
//!
//! A pool gives up nothing for itself: what it asked the budget for is taken off what is wanted.

use std::time::Duration;

use crate::budget::{Allotment, BudgetUsage, Claim, Demand, FreedSlot, IdleOffer};
use crate::id::CloseReason;
use crate::store::slots::SlotRecord;
use crate::store::sweep::UPKEEP_PATIENCE;
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
        (self.asked, self.asked_spread) = (demand.callers, demand.spread);
        // As long as the budget does not know better, the pool itself is among those that want one.
        self.told = self.told.max(demand.callers);
        demand
    }

    /// The budget was asked for connections, and may not know yet that they are not wanted any more.
    const fn is_asking(&self) -> bool {
        self.told > 0
    }

    /// Whether it matters if the budget grants nothing: callers wait for it, or it may not know yet that
    /// none do, or a replacement waits for a proof.
    pub(crate) fn minds_refusal(&self) -> bool {
        self.is_asking() || self.wants_proof()
    }

    /// The budget knows of this demand, and granted nothing. It is asked again at this time.
    pub(crate) fn note_told(&mut self, demand: Demand, now: Time, asks_again_at: Time) {
        if demand != Demand::NONE {
            self.note_ungranted();
        }
        self.told = demand.callers;
        if demand.callers == 0 {
            self.ungranted_since = None;
            return;
        }
        let since = *self.ungranted_since.get_or_insert(now);
        if L::IS_SHARED && !self.is_refused_by_budget() {
            self.set_alarm(since.after(UPKEEP_PATIENCE));
        }
        self.set_alarm(asks_again_at);
    }

    /// A connect began: less is asked for.
    pub(crate) fn note_granted(&mut self, now: Time) {
        self.told = self.told.saturating_sub(1);
        self.ungranted_since = None;
        self.asked = self.asked.min(self.connect_demand(now).callers);
    }

    /// If less is wanted than the budget was asked for, or callers wait for less of it, the maintenance task
    /// must tell it: otherwise other pools would give up connections for nobody.
    #[cold]
    pub(super) fn watch_demand(&mut self) {
        let Demand {
            callers, spread, ..
        } = self.connect_demand(self.tick);
        if callers < self.asked || spread > self.asked_spread {
            (self.asked, self.asked_spread) = (callers, spread);
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
        let for_warm_up = self.wanted_by_callers() - L::connects_wanted(self, 0);
        Demand {
            callers,
            spread: (L::spread_wanted(self) + for_warm_up).min(callers),
            spare: total - callers,
        }
    }

    /// Whether callers must make do with the connections that there are. Until then the budget may yet grant
    /// what another pool gives up, or what waits only for a connect to end.
    pub(super) fn is_refused_by_budget(&self) -> bool {
        let refused_since = self.ungranted_since;
        refused_since.is_some_and(|since| since.after(UPKEEP_PATIENCE) <= self.tick)
    }

    /// The minimum residence, if the budget was asked for connections and has granted none.
    pub(super) fn unserved_residence(&self) -> Option<Duration> {
        let allotment = self.allotment.as_ref()?;
        (self.asked > 0).then(|| allotment.residence())
    }

    /// How full the budget is, if callers wait for it. What it was just asked for it may yet grant.
    pub(super) fn awaited_budget(&self) -> Option<BudgetUsage> {
        let allotment = self.allotment.as_ref()?;
        (self.asked > 0 && self.ungranted_since.is_some()).then(|| allotment.usage())
    }

    /// How full the budget is, if it has no room for another connection.
    pub(crate) fn full_budget(&self) -> Option<BudgetUsage> {
        let allotment = self.allotment.as_ref()?;
        self.budget_is_full().then(|| allotment.usage())
    }

    /// Whether the budget has no room for another connection.
    #[inline]
    pub(super) fn budget_is_full(&self) -> bool {
        let allotment = self.allotment.as_ref();
        allotment.is_some_and(|it| it.is_full(self.slots.len()))
    }

    /// Whether other pools wait for a connection of the budget.
    pub(super) fn others_wait_for_budget(&self) -> bool {
        let allotment = self.allotment.as_ref();
        allotment.is_some_and(|it| it.asking() > usize::from(self.told > 0))
    }

    /// Whether the budget grants nothing before connections have become lighter.
    pub(super) fn budget_is_too_heavy(&self) -> bool {
        let usage = self.allotment.as_ref().map(Allotment::usage);
        usage.is_some_and(|it| it.is_too_heavy())
    }

    /// Whether the budget can grant more as soon as one of the connects in flight has ended.
    pub(super) fn budget_is_connecting(&self) -> bool {
        let usage = self.allotment.as_ref().map(Allotment::usage);
        usage.is_some_and(|it| it.connecting >= it.max_connecting)
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
        // Without a minimum residence it serves a lease all the same.
        let has_served = record.uses > 0 && record.born.after(allotment.residence()) <= self.tick;
        if !is_wanted_here || !has_served {
            return false;
        }
        // If it is not wanted of a pool with more, it need not be counted exactly.
        if !allotment.wants_busy(self.slots.serving()) {
            return false;
        }
        let kept = self.slots.kept();
        // With leases it gives no room before they end. The last one stays while others that were given up before
        // have leases: they could be all that the one that waits gets, and the callers of this pool would have none.
        if record.load > 0 && kept <= 1 && self.slots.open() > kept {
            return false;
        }
        let claim = allotment.claim_busy(kept, record.load > 0);
        let gives_way = claim.is_some();
        if let Some(ages_at) = claim.as_ref().and_then(Claim::ages_at) {
            self.set_alarm(ages_at);
        }
        self.slots.get_mut(key).claim = claim;
        gives_way
    }

    /// Whether a claim of this pool has aged, so that another connection can be given up in its place.
    pub(crate) fn has_aged_claim(&self, now: Time) -> bool {
        self.claims_age_at().any(|ages_at| ages_at <= now)
    }

    /// When the next one ages.
    pub(super) fn next_claim_ages_at(&self, now: Time) -> Time {
        let later = self.claims_age_at().filter(|ages_at| *ages_at > now);
        later.min().unwrap_or(Time::NEVER)
    }

    fn claims_age_at(&self) -> impl Iterator<Item = Time> {
        let claims = self.slots.iter().flat_map(|record| &record.claim);
        claims.filter_map(Claim::ages_at)
    }

    /// Closes idle connections as long as the budget wants some.
    #[cold]
    pub(super) fn give_up_idle(&mut self) {
        while self.reclaim_idle() {}
    }

    /// When the least recently used idle connection was used, if another pool may have it now.
    pub(crate) fn oldest_idle(&mut self, now: Time) -> Option<Time> {
        self.note_time(now);
        let (key, offer) = self.reclaimable()?;
        let used = self.slots.get(key).used;
        if self.allotment.as_ref()?.wants_idle(offer) {
            return Some(used);
        }
        self.offer_later(key, offer);
        None
    }

    fn reclaimable(&self) -> Option<(SlotKey, IdleOffer)> {
        let allotment = self.allotment.as_ref()?;
        // While callers wait here as well, a shared connection only looks idle.
        if self.is_closed
            || !self.queue.is_empty()
            || self.slots.count(State::Idle) <= allotment.reserved()
            || self.closes_nothing()
        {
            return None;
        }
        let key = L::least_recent(self)?;
        let used = self.slots.get(key).used;
        let offer = IdleOffer {
            kept: self.slots.kept(),
            asked: self.told,
            is_in_use: used.after(allotment.residence()) > self.tick,
            is_needed: self.slots.count(State::Idle) <= self.unused_needed(),
        };
        Some((key, offer))
    }

    /// How many connections without leases it would open again if they were closed, though no caller waits.
    fn unused_needed(&self) -> usize {
        let in_use = self.slots.open() - self.slots.count(State::Idle);
        let for_warm_up = self.goals.open_wanted().saturating_sub(in_use);
        for_warm_up.max(L::unused_needed(self))
    }

    /// The close of this connection takes long. Another one is given up in its place, also of this pool.
    pub(crate) fn forget_claim(&mut self, key: SlotKey) {
        self.slots.get_mut(key).claim = None;
    }

    /// The close of what was given up before has not begun: the runtime of the pool does not run. A close that
    /// runs drops its claim when that ages.
    fn closes_nothing(&self) -> bool {
        let has_aged = |record: &SlotRecord| {
            let claim = record.claim.as_ref();
            record.state() == State::Closing && claim.is_some_and(Claim::has_aged)
        };
        self.slots.count(State::Closing) > 0 && self.slots.iter().any(has_aged)
    }

    /// A connection that is kept because it is in use is offered again when it was not used for a
    /// while.
    fn offer_later(&mut self, key: SlotKey, offer: IdleOffer) {
        if let (true, Some(allotment)) = (offer.is_in_use, &self.allotment) {
            let free_at = self.slots.get(key).used.after(allotment.residence());
            self.set_alarm(free_at);
        }
    }

    /// Closes the least recently used idle connection, if another pool still wants one.
    pub(crate) fn reclaim_idle(&mut self) -> bool {
        let Some((key, offer)) = self.reclaimable() else {
            return false;
        };
        let allotment = self.allotment.as_ref();
        let Some(claim) = allotment.and_then(|it| it.claim_idle(offer)) else {
            self.offer_later(key, offer);
            return false;
        };
        self.slots.get_mut(key).claim = Some(claim);
        L::retire_unused(self, key, CloseReason::Reclaimed);
        true
    }

    /// What a slot that is about to be freed leaves to the budget.
    pub(crate) fn take_freed(&mut self, key: SlotKey) -> FreedSlot {
        let record = self.slots.get_mut(key);
        FreedSlot {
            claim: record.claim.take(),
            weight: record.weight,
            is_reclaimed: record.close_reason == Some(CloseReason::Reclaimed),
        }
    }
}
