//! A pool's place in a budget.
//!
//! # Cancellation
//!
//! A [`BudgetPermit`] gives its permit back when it is dropped, wherever that happens. What was granted
//! to a pool and not taken is given back when the pool asks for less, or leaves. If it does not run, another
//! pool that asks takes it back after a while.

use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::budget::accounts::{Demand, Entitlement, MemberKey};
use crate::budget::budget::Budget;
use crate::budget::member::Member;
use crate::budget::pressure::{Allotment, Claim};
use crate::budget::shared_budget::SharedBudget;
use crate::error::BuildError;
use crate::foreign::drop_quietly;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::{Clock, Time};

/// The terms on which a pool joins a budget.
#[derive(Debug, Clone)]
pub(crate) struct MemberTerms {
    pub(crate) budget: Budget,
    pub(crate) share: u32,
    pub(crate) reserves_min_idle: bool,
}

/// A pool's place in a budget. The account is closed when it is dropped.
pub(crate) struct Membership {
    budget: Arc<SharedBudget>,
    key: MemberKey,
    share: u32,
    reserved: usize,
    /// The budget knows of a demand, or has granted something. Only the pool's maintenance task changes
    /// it.
    is_asking: AtomicBool,
}

impl Membership {
    /// Joins the budget.
    ///
    /// # Errors
    ///
    /// There is no room for what is to be reserved.
    pub(crate) fn join(
        terms: &MemberTerms,
        name: &StdArc<str>,
        min_idle: usize,
    ) -> Result<Arc<Self>, BuildError> {
        let budget = &terms.budget.shared;
        let reserved = if terms.reserves_min_idle { min_idle } else { 0 };
        let entitlement = Entitlement {
            name: StdArc::clone(name),
            share: terms.share,
            reserved,
        };
        let mut accounts = budget.accounts.lock();
        let joined = accounts.join(entitlement);
        budget.finish(accounts, None);
        let key = joined.map_err(|left| BuildError::Unreservable {
            budget: StdArc::clone(&budget.settings.name),
            wanted: reserved,
            left,
        })?;
        if reserved > 0 {
            budget.reclaim(Some(key));
        }
        Ok(Arc::new(Self {
            budget: Arc::clone(budget),
            key,
            share: terms.share,
            reserved,
            is_asking: AtomicBool::new(false),
        }))
    }

    /// How the budget reaches the pool from now on.
    pub(crate) fn attach(&self, member: StdArc<dyn Member>) {
        let mut accounts = self.budget.accounts.lock();
        accounts.attach(self.key, member);
    }

    pub(crate) fn clock(&self) -> Clock {
        self.budget.clock.clone()
    }

    /// What the pool's store needs to know.
    pub(crate) fn allotment(&self) -> Allotment {
        Allotment {
            pressure: Arc::clone(&self.budget.pressure),
            share: self.share,
            reserved: self.reserved,
            residence: self.budget.settings.min_residence,
            max_weight: self.budget.settings.max_weight,
        }
    }

    /// Takes a permit for one connect of `demand`. If there is none, the pool is kicked when there is,
    /// and what others do not use is reclaimed meanwhile.
    pub(crate) fn take(this: &Arc<Self>, demand: Demand, now: Time) -> Option<BudgetPermit> {
        let wants_any = demand != Demand::NONE;
        if !wants_any && !this.is_asking.load(Ordering::Relaxed) {
            return None;
        }
        let budget = &*this.budget;
        let mut accounts = budget.accounts.lock();
        accounts.take_back_untaken(this.key, GRANT_PATIENCE, now);
        accounts.ask(this.key, demand, now);
        let granted = accounts.grant_free(now);
        let is_taken = accounts.take_granted(this.key);
        let is_asking = accounts.is_asking(this.key);
        let others = granted.into_iter().filter(|key| *key != this.key);
        let others = accounts.handles(others);
        budget.finish(accounts, None);
        for member in others {
            member.kick();
            drop_quietly(member);
        }
        this.is_asking.store(is_asking, Ordering::Relaxed);
        if is_taken {
            return Some(BudgetPermit {
                membership: Some(Arc::clone(this)),
                is_connecting: true,
                is_stuck: false,
            });
        }
        if demand.callers > 0 {
            budget.reclaim(Some(this.key));
        }
        None
    }

    /// The connections of the pool weigh this much more than before, and the heaviest of them this much, if that
    /// is known.
    pub(crate) fn weigh(&self, change: i128, of_one: Option<u64>) {
        let mut accounts = self.budget.accounts.lock();
        let was_heavy = accounts.is_heavy();
        accounts.weigh(self.key, change, of_one);
        let is_heavy = accounts.is_heavy();
        self.budget.finish(accounts, None);
        if is_heavy {
            self.budget.shed();
        }
        // Once they are lighter, a pool with none gets one of those that were kept.
        if is_heavy || was_heavy {
            self.budget.reclaim(None);
        }
    }

    /// When a pool that waits asks again: when the next claim ages, since what is wanted can be taken
    /// elsewhere then, or when what was granted to others may not have been taken.
    pub(crate) fn asks_again_at(&self, now: Time) -> Time {
        let claim_ages_at = self.budget.pressure.ages_at().unwrap_or(Time::NEVER);
        claim_ages_at.min(now.after(GRANT_PATIENCE))
    }

    /// For a model that looks before it asks.
    #[cfg(all(test, loom))]
    pub(crate) fn ask_only(&self, demand: Demand, now: Time) {
        let mut accounts = self.budget.accounts.lock();
        accounts.ask(self.key, demand, now);
        self.budget.finish(accounts, None);
    }

    /// Has idle connections closed, if pools wait for some.
    pub(crate) fn reclaim(&self) {
        self.budget.reclaim(None);
    }

    /// Publishes the metrics of the budget.
    pub(crate) fn publish(&self) {
        self.budget.publish();
    }

    /// The pool opens nothing any more. What it holds counts until it is gone.
    pub(crate) fn leave(&self) {
        let mut accounts = self.budget.accounts.lock();
        let member = accounts.leave(self.key);
        self.budget.finish(accounts, None);
        drop_quietly(member);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut accounts = self.budget.accounts.lock();
        let member = accounts.leave(self.key);
        accounts.remove(self.key);
        self.budget.finish(accounts, None);
        drop_quietly(member);
    }
}

/// What a slot leaves to the budget when it is freed.
#[derive(Debug, Default)]
pub(crate) struct FreedSlot {
    /// Its connection was given up for another pool, and the claim has not ended before.
    pub(crate) claim: Option<Claim>,
    /// Its connection was closed for another pool.
    pub(crate) is_reclaimed: bool,
    /// What it weighed.
    pub(crate) weight: u64,
}

/// The right to one slot, out of a budget. It is given back when this is dropped.
pub(crate) struct BudgetPermit {
    /// `None` after it was given back.
    membership: Option<Arc<Membership>>,
    /// The connect counts as in flight.
    is_connecting: bool,
    /// The close hangs.
    is_stuck: bool,
}

impl BudgetPermit {
    /// The connect has ended, or is overdue: it does not count any more.
    pub(crate) fn connect_ended(&mut self) {
        let is_connecting = std::mem::take(&mut self.is_connecting);
        if let (true, Some(membership)) = (is_connecting, &self.membership) {
            let mut accounts = membership.budget.accounts.lock();
            accounts.connect_ended(membership.key);
            membership.budget.finish(accounts, None);
        }
    }

    /// The close of its connection hangs: the pool has nothing of it any more.
    pub(crate) fn close_hangs(&mut self) {
        let was_stuck = std::mem::replace(&mut self.is_stuck, true);
        if let (false, Some(membership)) = (was_stuck, &self.membership) {
            let mut accounts = membership.budget.accounts.lock();
            accounts.close_hangs(membership.key);
            membership.budget.finish(accounts, None);
        }
    }

    /// Gives it back.
    pub(crate) fn give_back(mut self, freed: FreedSlot) {
        self.release(freed);
    }

    fn release(&mut self, freed: FreedSlot) {
        let Some(membership) = self.membership.take() else {
            return;
        };
        let mut accounts = membership.budget.accounts.lock();
        if self.is_connecting {
            accounts.connect_ended(membership.key);
        }
        if self.is_stuck {
            accounts.close_ended(membership.key);
        }
        let was_heavy = accounts.is_heavy();
        accounts.release(membership.key, freed.is_reclaimed, freed.weight);
        membership.budget.finish(accounts, freed.claim);
        if was_heavy {
            // One connection less may not be enough, or others can be given up now that were kept.
            membership.budget.reclaim(None);
        }
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        self.release(FreedSlot::default());
    }
}

/// How long a pool may leave what it was granted untaken. It takes it at once if its tasks run.
const GRANT_PATIENCE: Duration = Duration::from_secs(30);
