//! Who holds the permits of a budget, who asks for one, and who gets the next: plain data, without
//! lock, clock or spawn.
//!
//! # Algorithm
//!
//! A free permit goes to the asking member with the fewest slots for its share; of equals, to the one
//! that has asked for longest. A grant waits in the member's account until the member takes it.
//!
//! If none is free, others are asked to give some up (`want`).
//!
//! Members that only want spare connections come after all that want one for a caller, and no
//! connection is reclaimed for them: otherwise two pools could take the same permit from each other
//! for ever without a caller. For the same reason a spare connection that is not reserved must fit: all connections,
//! and once more the heaviest one of its member, must not weigh more than the budget allows. Otherwise it would be
//! closed for the weight of all, and opened again.
//!
//! # Invariants
//!
//! They are numbered as in `docs/invariants.md`.
//!
//! * B1: a permit is granted only while there are fewer slots than the limit, and not out of what is
//!   reserved for another member.
//! * B2: no connect begins while `max_connecting` are in flight.
//! * B3: no permit is free while a member that could use it asks.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Time;

mod account;
#[cfg(debug_assertions)]
mod asserts;
mod want;

pub(crate) use self::account::Demand;
pub(super) use self::account::{Account, Entitlement, by_share};
pub(super) use self::want::{Givers, Want};
use self::want::{Room, want};

/// A member of a budget; valid until the member is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemberKey(u32);

/// What all members are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) slots: usize,
    /// Slots and unused reserves.
    pub(super) committed: usize,
    pub(super) reserved: usize,
    pub(super) connecting: usize,
    /// The connections whose close hangs.
    pub(super) stuck: usize,
    /// What these take of what is not reserved.
    pub(super) stuck_beyond_reserve: usize,
    /// The shares of all members that hold more than their reserve.
    pub(super) shares_beyond_reserve: usize,
    /// How many members ask for more than spare connections,
    pub(super) asking: usize,
    /// and how many of these have callers that wait.
    pub(super) waiting: usize,
    pub(super) weight: i128,
    callers_beyond_reserve: usize,
}

impl Totals {
    fn add<H>(&mut self, account: &Account<H>) {
        self.slots += account.slots;
        self.committed += account.committed();
        self.reserved += account.entitlement.reserved;
        self.connecting += account.connecting;
        self.stuck += account.stuck;
        self.stuck_beyond_reserve += account.stuck_beyond_reserve();
        self.shares_beyond_reserve += account.share_beyond_reserve();
        self.asking += usize::from(account.demand.callers > 0);
        self.waiting += usize::from(account.demand.is_awaited());
        self.weight += account.weight;
        self.callers_beyond_reserve += account.callers_beyond_reserve();
    }

    fn subtract<H>(&mut self, account: &Account<H>) {
        self.slots -= account.slots;
        self.committed -= account.committed();
        self.reserved -= account.entitlement.reserved;
        self.connecting -= account.connecting;
        self.stuck -= account.stuck;
        self.stuck_beyond_reserve -= account.stuck_beyond_reserve();
        self.shares_beyond_reserve -= account.share_beyond_reserve();
        self.asking -= usize::from(account.demand.callers > 0);
        self.waiting -= usize::from(account.demand.is_awaited());
        self.weight -= account.weight;
        self.callers_beyond_reserve -= account.callers_beyond_reserve();
    }
}

/// All accounts of a budget.
#[derive(Debug)]
pub(super) struct Accounts<H> {
    limit: usize,
    max_connecting: usize,
    max_weight: Option<u64>,
    table: Vec<Option<Account<H>>>,
    free: Vec<u32>,
    totals: Totals,
    holders: BTreeSet<MemberKey>,
    askers: BTreeSet<MemberKey>,
    /// The members that have not taken what they were granted, by when it was.
    untaken: BTreeSet<(Time, MemberKey)>,
    next_turn: u64,
}

impl<H: Clone> Accounts<H> {
    pub(super) const fn new(limit: usize, max_connecting: usize, max_weight: Option<u64>) -> Self {
        Self {
            limit,
            max_connecting,
            max_weight,
            table: Vec::new(),
            free: Vec::new(),
            totals: Totals {
                slots: 0,
                committed: 0,
                reserved: 0,
                connecting: 0,
                stuck: 0,
                stuck_beyond_reserve: 0,
                shares_beyond_reserve: 0,
                asking: 0,
                waiting: 0,
                weight: 0,
                callers_beyond_reserve: 0,
            },
            holders: BTreeSet::new(),
            askers: BTreeSet::new(),
            untaken: BTreeSet::new(),
            next_turn: 0,
        }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    pub(super) const fn max_connecting(&self) -> usize {
        self.max_connecting
    }

    pub(super) const fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn holder_count(&self) -> usize {
        self.holders.len()
    }

    /// Opens an account, unless there is no room for its reserve: the number that is left.
    ///
    /// Others can hold what is reserved now. Then they are asked for it back.
    pub(super) fn join(&mut self, entitlement: Entitlement) -> Result<MemberKey, usize> {
        let left = self.limit.saturating_sub(self.totals.reserved);
        if entitlement.reserved > left {
            return Err(left);
        }
        let account = Account {
            entitlement,
            slots: 0,
            granted: 0,
            granted_at: Time::default(),
            stuck: 0,
            connecting: 0,
            demand: Demand::NONE,
            asked_at: Time::default(),
            turn: 0,
            weight: 0,
            weight_of_one: 0,
            reclaimed: 0,
            handle: None,
        };
        self.totals.add(&account);
        let place = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            u32::try_from(self.table.len() - 1).expect("pools are fewer than 2^32")
        });
        self.table[place as usize] = Some(account);
        Ok(MemberKey(place))
    }

    /// How the member is reached from now on.
    pub(super) fn attach(&mut self, key: MemberKey, handle: H) {
        self.change(key, |account| account.handle = Some(handle));
    }

    /// The member takes no permit any more. Returns its handle, to be dropped outside.
    pub(super) fn leave(&mut self, key: MemberKey) -> Option<H> {
        self.change(key, |account| {
            account.give_back_beyond(0);
            account.demand = Demand::NONE;
            account.entitlement.reserved = 0;
            account.handle.take()
        })
    }

    /// Removes a member that has left and holds nothing.
    pub(super) fn remove(&mut self, key: MemberKey) {
        let account = self.table[key.0 as usize].take().expect(STALE);
        debug_assert!(
            account.slots == 0 && account.handle.is_none(),
            "invariant broken: a member is removed that holds {} slots",
            account.slots
        );
        self.totals.subtract(&account);
        self.free.push(key.0);
    }

    /// The member wants this now. What it asked for before is forgotten.
    pub(super) fn ask(&mut self, key: MemberKey, demand: Demand, now: Time) {
        if self.account(key).handle.is_none() {
            return;
        }
        let turn = self.next_turn();
        self.change(key, |account| {
            let Demand {
                callers,
                spread,
                spare,
            } = demand;
            account.give_back_beyond(callers + spare);
            // What was granted meets a part of it.
            let met = account.granted.min(callers);
            let rest = Demand {
                callers: callers - met,
                spread: spread.min(callers - met),
                spare: spare - (account.granted - met),
            };
            // It keeps its turn as long as it asks.
            if account.demand.is_none() {
                account.turn = turn;
            }
            if !account.demand.is_awaited() {
                account.asked_at = now;
            }
            account.demand = rest;
        });
    }

    /// Takes back what other members have not taken for so long: their tasks do not run. Each of them gets
    /// nothing until it asks again.
    pub(super) fn take_back_untaken(&mut self, key: MemberKey, patience: Duration, now: Time) {
        let overdue = self.overdue(patience, now);
        let stopped: Vec<_> = overdue.filter(|other| *other != key).collect();
        for other in stopped {
            self.change(other, |account| {
                account.give_back_beyond(0);
                account.demand = Demand::NONE;
            });
        }
    }

    /// The members that have not taken for so long what they were granted. Each ask looks for them, so no
    /// other member is looked at.
    pub(super) fn overdue(&self, patience: Duration, now: Time) -> impl Iterator<Item = MemberKey> {
        let longest_first = self.untaken.iter().copied();
        longest_first
            .take_while(move |(granted_at, _)| granted_at.after(patience) <= now)
            .map(|(_, key)| key)
    }

    /// Takes one permit that was granted.
    pub(super) fn take_granted(&mut self, key: MemberKey) -> bool {
        self.change(key, |account| {
            let has_one = account.granted > 0;
            account.granted -= usize::from(has_one);
            has_one
        })
    }

    /// Whether it still asks, or has not taken all that it was granted.
    pub(super) fn is_asking(&self, key: MemberKey) -> bool {
        let account = self.account(key);
        !account.demand.is_none() || account.granted > 0
    }

    /// A connect of the member has ended, or is not counted any more.
    pub(super) fn connect_ended(&mut self, key: MemberKey) {
        self.change(key, |account| account.connecting -= 1);
    }

    /// The close of a connection of the member hangs.
    pub(super) fn close_hangs(&mut self, key: MemberKey) {
        self.change(key, |account| account.stuck += 1);
    }

    /// A close that hung has ended. Its slot is freed next.
    pub(super) fn close_ended(&mut self, key: MemberKey) {
        self.change(key, |account| account.stuck -= 1);
    }

    /// The connections of a member weigh this much more than before, and the heaviest of them this much, if
    /// that is known.
    pub(super) fn weigh(&mut self, key: MemberKey, change: i128, of_one: Option<u64>) {
        self.change(key, |account| {
            account.weight += change;
            account.weight_of_one = of_one.unwrap_or(account.weight_of_one);
        });
    }

    /// By how much all connections together weigh more than they may.
    pub(super) fn excess_weight(&self) -> u64 {
        let excess = match self.max_weight {
            Some(max) => self.totals.weight - i128::from(max),
            None => 0,
        };
        u64::try_from(excess.max(0)).unwrap_or(u64::MAX)
    }

    /// What the connections of members that have left weigh: all of them are on their way out.
    pub(super) fn weight_of_left(&self) -> u64 {
        let left = self.iter().filter(|account| account.handle.is_none());
        let weight: i128 = left.map(|account| account.weight).sum();
        u64::try_from(weight.max(0)).unwrap_or(u64::MAX)
    }

    /// All connections together weigh as much as they may, so none is opened.
    pub(super) fn is_heavy(&self) -> bool {
        let max = self.max_weight.map(i128::from);
        max.is_some_and(|max| self.totals.weight >= max)
    }

    /// The members that weigh something, the heaviest first.
    pub(super) fn heaviest(&self) -> Vec<H> {
        let mut holders: Vec<_> = self.holders.iter().copied().collect();
        holders.retain(|key| self.account(*key).weight > 0);
        holders.sort_by_key(|key| Reverse(self.account(*key).weight));
        self.handles(holders)
    }

    /// A slot of the member is free.
    ///
    /// It had that slot until now, so it comes after those that have waited with as few. Otherwise a pool
    /// that gave way would get the slot back at once.
    pub(super) fn release(&mut self, key: MemberKey, was_reclaimed: bool, weight: u64) {
        let turn = self.next_turn();
        self.change(key, |account| {
            account.slots -= 1;
            account.weight -= i128::from(weight);
            account.turn = turn;
            account.reclaimed += u64::from(was_reclaimed);
        });
    }

    /// Changes the limit, unless more is reserved: that number.
    pub(super) const fn resize(&mut self, limit: usize) -> Result<(), usize> {
        if limit < self.totals.reserved {
            return Err(self.totals.reserved);
        }
        self.limit = limit;
        Ok(())
    }

    /// Grants what is free. Returns the members that were granted something, once for each grant.
    pub(super) fn grant_free(&mut self, now: Time) -> Vec<MemberKey> {
        let mut granted = Vec::new();
        while let Some(key) = self.next_to_serve() {
            let turn = self.next_turn();
            self.change(key, |account| {
                account.slots += 1;
                if account.granted == 0 {
                    account.granted_at = now;
                }
                account.granted += 1;
                account.connecting += 1;
                match &mut account.demand {
                    Demand {
                        callers: 0, spare, ..
                    } => *spare -= 1,
                    Demand {
                        callers, spread, ..
                    } => {
                        *callers -= 1;
                        *spread = (*spread).min(*callers);
                    }
                }
                account.turn = turn;
                account.asked_at = now;
            });
            #[cfg(debug_assertions)]
            self.assert_granted(key);
            granted.push(key);
        }
        granted
    }

    /// Whether [`grant_free`](Self::grant_free) would grant anything.
    pub(super) fn can_grant(&self) -> bool {
        self.next_to_serve().is_some()
    }

    const fn next_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    /// The member that a permit can be granted to now.
    fn next_to_serve(&self) -> Option<MemberKey> {
        if self.totals.connecting >= self.max_connecting || self.is_heavy() {
            return None;
        }
        let asking = self.askers.iter().map(|key| (*key, self.account(*key)));
        let able = asking
            .filter(|(_, account)| self.has_room_for(account) && self.can_carry_another(account));
        let (key, _) = able.min_by(|(_, one), (_, other)| one.precedence(other))?;
        Some(key)
    }

    fn has_room_for(&self, account: &Account<H>) -> bool {
        let has_reserve = account.slots < account.entitlement.reserved;
        self.totals.slots < self.limit && (has_reserve || self.totals.committed < self.limit)
    }

    /// Whether another connection of the member fits, by its weight, beside all others. It need not if it is
    /// reserved, or for callers, which includes warm-ups and connections to spread leases over.
    fn can_carry_another(&self, account: &Account<H>) -> bool {
        let is_reserved = account.slots < account.entitlement.reserved;
        match self.max_weight {
            Some(max) if account.demand.callers == 0 && !is_reserved => {
                self.totals.weight + i128::from(account.weight_of_one) <= i128::from(max)
            }
            _ => true,
        }
    }

    /// How many connections are to be given up for those that ask, including those that already are on
    /// their way out.
    pub(super) fn want(&self) -> Want {
        let free = match self.is_heavy() {
            true => 0,
            false => self.limit.saturating_sub(self.totals.committed),
        };
        let room = Room {
            free,
            excess: self.totals.committed.saturating_sub(self.limit),
            weighs_too_much: self.excess_weight() > 0,
        };
        let askers = self.askers.iter().map(|key| self.account(*key));
        want(room, self.totals.callers_beyond_reserve, askers)
    }

    /// The ways to reach these members.
    pub(super) fn handles(&self, keys: impl IntoIterator<Item = MemberKey>) -> Vec<H> {
        let handles = keys.into_iter().map(|key| self.account(key).handle.clone());
        handles.flatten().collect()
    }

    /// The members that hold something.
    pub(super) fn holders(&self) -> Vec<(MemberKey, H)> {
        let reached = |key: &MemberKey| Some((*key, self.account(*key).handle.clone()?));
        self.holders.iter().filter_map(reached).collect()
    }

    /// The way to reach a member, unless it has left.
    pub(super) fn handle_of(&self, key: MemberKey) -> Option<H> {
        let account = self.table[key.0 as usize].as_ref();
        account.and_then(|account| account.handle.clone())
    }

    /// All accounts.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Account<H>> {
        self.table.iter().flatten()
    }

    /// Changes an account. All that is counted over several members changes here and nowhere else.
    fn change<R>(&mut self, key: MemberKey, change: impl FnOnce(&mut Account<H>) -> R) -> R {
        let account = self.table[key.0 as usize].as_mut().expect(STALE);
        self.totals.subtract(account);
        let untaken_before = account.untaken_since();
        let was = (account.slots > 0, !account.demand.is_none());
        let result = change(account);
        self.totals.add(account);
        let untaken_now = account.untaken_since();
        let is = (account.slots > 0, !account.demand.is_none());
        if untaken_before != untaken_now {
            if let Some(before) = untaken_before {
                self.untaken.remove(&(before, key));
            }
            self.untaken.extend(untaken_now.map(|since| (since, key)));
        }
        if is != was {
            enlist(&mut self.holders, key, is.0);
            enlist(&mut self.askers, key, is.1);
        }
        result
    }

    pub(super) fn account(&self, key: MemberKey) -> &Account<H> {
        self.table[key.0 as usize].as_ref().expect(STALE)
    }
}

fn enlist(list: &mut BTreeSet<MemberKey>, key: MemberKey, belongs: bool) {
    if belongs {
        list.insert(key);
    } else {
        list.remove(&key);
    }
}

const STALE: &str = "a member key does not outlive its account";
