//! The accounts against a naive model: random operations, compared after every step.
//!
//! The model keeps a list of members and computes everything anew from it.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::budget::accounts::{Accounts, Demand, Entitlement, MemberKey};
use crate::budget::pressure::{Allotment, Figures, Pressure};
use crate::naive_models::assert_agree;
use crate::time::{Clock, Time};

const MAX_CONNECTING: usize = 3;
const LIMIT: usize = 5;
const MAX_WEIGHT: u64 = 10;
/// Divisible by every share, so that slots for each unit of share are whole numbers.
const SHARES: [u32; 3] = [1, 2, 3];
const SHARES_MULTIPLE: usize = 6;
/// The time between two operations.
const STEP: Duration = Duration::from_secs(1);
/// For so many operations a member may leave a permit untaken.
const STEPS_OF_PATIENCE: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(STEPS_OF_PATIENCE);

#[derive(Debug, Clone)]
enum Op {
    Join {
        share: u32,
        reserved: usize,
    },
    Leave(usize),
    Ask(usize, Demand),
    Take(usize),
    ConnectEnded(usize),
    Release(usize),
    /// One of its open connections weighs this much now.
    Weigh(usize, usize, u64),
    Resize(usize),
    /// This member takes back what the others have not taken.
    TakeBack(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0..6_usize;
    prop_oneof![
        2 => (prop::sample::select(&SHARES[..]), 0..3_usize)
            .prop_map(|(share, reserved)| Op::Join { share, reserved }),
        1 => who.clone().prop_map(Op::Leave),
        6 => (who.clone(), demand()).prop_map(|(who, demand)| Op::Ask(who, demand)),
        6 => who.clone().prop_map(Op::Take),
        4 => who.clone().prop_map(Op::ConnectEnded),
        4 => who.clone().prop_map(Op::Release),
        1 => who.clone().prop_map(Op::TakeBack),
        2 => (who, 0..4_usize, 0..8_u64).prop_map(|(who, place, weight)| Op::Weigh(who, place, weight)),
        1 => (0..8_usize).prop_map(Op::Resize),
    ]
}

fn demand() -> impl Strategy<Value = Demand> {
    (0..4_usize, 0..4_usize, 0..3_usize).prop_map(|(callers, spread, spare)| Demand {
        callers,
        spread: spread.min(callers),
        spare,
    })
}

#[derive(Debug, Clone, Default)]
struct Naive {
    limit: usize,
    members: Vec<NaiveMember>,
    now: u64,
}

#[derive(Debug, Clone, Default)]
struct NaiveMember {
    key: Option<MemberKey>,
    has_left: bool,
    share: u32,
    reserved: usize,
    /// Taken permits whose connect is in flight, and others.
    connecting: usize,
    open: usize,
    /// What its open connections weigh.
    weights: Vec<u64>,
    /// What one of them weighed when it was weighed last.
    weighed_last: u64,
    granted: usize,
    /// When the first of these was granted.
    granted_at: u64,
    callers: usize,
    /// How many of these no caller waits for.
    spread: usize,
    spare: usize,
    /// Since when it waits with as many slots as it has.
    since: u64,
}

impl NaiveMember {
    fn slots(&self) -> usize {
        self.connecting + self.open + self.granted
    }

    fn asks(&self) -> bool {
        self.callers + self.spare > 0
    }

    fn beyond_reserve(&self) -> usize {
        self.callers
            .saturating_sub(self.reserved.saturating_sub(self.slots()))
    }

    fn waits(&self) -> bool {
        self.beyond_reserve() > self.spread
    }

    /// What so many slots are for its share.
    const fn level(&self, slots: usize) -> usize {
        slots * SHARES_MULTIPLE / self.share as usize
    }
}

impl Naive {
    fn slots(&self) -> usize {
        self.members.iter().map(NaiveMember::slots).sum()
    }

    fn connecting(&self) -> usize {
        let members = self.members.iter();
        members
            .map(|member| member.connecting + member.granted)
            .sum()
    }

    fn committed(&self) -> usize {
        let members = self.members.iter();
        members
            .map(|member| member.slots().max(member.reserved))
            .sum()
    }

    fn weight(&self) -> u64 {
        let members = self.members.iter();
        members.flat_map(|member| &member.weights).sum()
    }

    /// Grants one permit after the other, each to the neediest member that may have it.
    fn grant_free(&mut self, step: u64) {
        while self.connecting() < MAX_CONNECTING
            && self.slots() < self.limit
            && self.weight() < MAX_WEIGHT
        {
            let (is_free_for_all, weight) = (self.committed() < self.limit, self.weight());
            let able = self.members.iter_mut().filter(|member| {
                let is_reserved = member.slots() < member.reserved;
                let fits = weight + member.weighed_last <= MAX_WEIGHT;
                let may_have = is_free_for_all && (member.callers > 0 || fits);
                member.asks() && (is_reserved || may_have)
            });
            let need = |member: &NaiveMember| {
                (
                    member.callers == 0,
                    member.level(member.slots()),
                    member.since,
                )
            };
            let Some(next) = able.min_by_key(|member| need(member)) else {
                return;
            };
            if next.callers > 0 {
                next.callers -= 1;
                next.spread = next.spread.min(next.callers);
            } else {
                next.spare -= 1;
            }
            if next.granted == 0 {
                next.granted_at = step;
            }
            next.granted += 1;
            self.now += 1;
            next.since = self.now;
        }
    }

    fn free(&self) -> usize {
        match self.weight() < MAX_WEIGHT {
            true => self.limit.saturating_sub(self.committed()),
            false => 0,
        }
    }

    fn excess(&self) -> usize {
        self.committed().saturating_sub(self.limit)
    }

    fn idle_wanted(&self) -> usize {
        let asked = self.members.iter().map(NaiveMember::beyond_reserve);
        asked.sum::<usize>().saturating_sub(self.free()) + self.excess()
    }

    /// Whether a member has to give up a connection that it uses: there are too many, and it has more than its
    /// part; or another one waits that has none, or the poorer of the two would have more than now.
    fn gives_way(&self, giver: &NaiveMember) -> bool {
        if giver.slots() <= giver.reserved {
            return false;
        }
        if self.excess() > 0 {
            return giver.slots() - giver.reserved > self.part(giver);
        }
        let mut waiting = self.members.iter().filter(|member| member.waits());
        waiting.any(|needy| {
            let least = |one: usize, other: usize| giver.level(one).min(needy.level(other));
            needy.slots() == 0 && self.weight() <= MAX_WEIGHT
                || least(giver.slots() - 1, needy.slots() + 1) > least(giver.slots(), needy.slots())
        })
    }

    /// What a member has of the connections that are not reserved if those are divided among the members that
    /// have more than their reserve.
    fn part(&self, member: &NaiveMember) -> usize {
        let is_beyond =
            |member: &&NaiveMember| !member.has_left && member.slots() > member.reserved;
        let members = self.members.iter().filter(is_beyond);
        let shares: u32 = members.map(|member| member.share).sum();
        let reserved: usize = self.members.iter().map(|member| member.reserved).sum();
        (self.limit - reserved) * member.share as usize / shares as usize
    }
}

/// Both, side by side.
struct Rig {
    accounts: Accounts<()>,
    naive: Naive,
    /// How many operations there have been: the time.
    step: u32,
}

impl Rig {
    fn new() -> Self {
        Self {
            accounts: Accounts::new(LIMIT, MAX_CONNECTING, Some(MAX_WEIGHT)),
            naive: Naive {
                limit: LIMIT,
                ..Naive::default()
            },
            step: 0,
        }
    }

    /// Applies an operation to both, unless its precondition does not hold.
    fn apply(&mut self, op: &Op) {
        self.naive.now += 1;
        self.step += 1;
        let now = self.naive.now;
        match *op {
            Op::Join { share, reserved } => self.join(share, reserved),
            Op::Resize(limit) => self.resize(limit),
            Op::Leave(who) => self.leave(who),
            Op::Ask(who, demand) => {
                if let Some((accounts, member, key)) = self.member(who) {
                    accounts.ask(key, demand, Time::default());
                    ask(member, demand, now);
                }
            }
            Op::Take(who) => {
                if let Some((accounts, member, key)) = self.member(who) {
                    let is_taken = accounts.take_granted(key);
                    assert_eq!(is_taken, member.granted > 0);
                    member.granted -= usize::from(is_taken);
                    member.connecting += usize::from(is_taken);
                }
            }
            Op::ConnectEnded(who) => {
                if let Some((accounts, member, key)) = self.member(who)
                    && member.connecting > 0
                {
                    accounts.connect_ended(key);
                    member.connecting -= 1;
                    member.open += 1;
                    member.weights.push(0);
                }
            }
            Op::Release(who) => {
                if let Some((accounts, member, key)) = self.member(who)
                    && member.open > 0
                {
                    let weight = member.weights.pop().expect("one for each");
                    accounts.release(key, false, weight);
                    member.open -= 1;
                    member.since = now;
                }
            }
            Op::TakeBack(who) => self.take_back(who),
            Op::Weigh(who, place, weight) => {
                if let Some((accounts, member, key)) = self.member(who)
                    && let Some(present) = member.weights.get_mut(place)
                {
                    let before = std::mem::replace(present, weight);
                    member.weighed_last = weight;
                    accounts.weigh(key, i128::from(weight) - i128::from(before), Some(weight));
                }
            }
        }
    }

    fn take_back(&mut self, who: usize) {
        let step = self.step;
        let Some((accounts, _, key)) = self.member(who) else {
            return;
        };
        accounts.take_back_untaken(key, PATIENCE, Time::default().after(STEP * step));
        let members = self.naive.members.iter_mut();
        let others = members.filter(|member| member.key != Some(key));
        let is_overdue = |member: &&mut NaiveMember| {
            member.granted > 0 && member.granted_at + STEPS_OF_PATIENCE <= u64::from(step)
        };
        for other in others.filter(is_overdue) {
            (other.granted, other.callers, other.spread, other.spare) = (0, 0, 0, 0);
        }
    }

    fn member(&mut self, who: usize) -> Option<(&mut Accounts<()>, &mut NaiveMember, MemberKey)> {
        let member = self.naive.members.get_mut(who)?;
        let key = member.key.expect("a member has a key");
        Some((&mut self.accounts, member, key))
    }

    fn reserved(&self) -> usize {
        let members = self.naive.members.iter();
        members.map(|member| member.reserved).sum()
    }

    fn resize(&mut self, limit: usize) {
        let reserved = self.reserved();
        let is_allowed = limit >= reserved;
        let expected = if is_allowed { Ok(()) } else { Err(reserved) };
        assert_eq!(self.accounts.resize(limit), expected);
        if is_allowed {
            self.naive.limit = limit;
        }
    }

    fn leave(&mut self, who: usize) {
        let Some((accounts, member, key)) = self.member(who) else {
            return;
        };
        let handle = accounts.leave(key);
        assert_eq!(handle.is_some(), !member.has_left);
        member.has_left = true;
        (member.reserved, member.granted) = (0, 0);
        (member.callers, member.spread, member.spare) = (0, 0, 0);
        if member.slots() == 0 {
            accounts.remove(key);
            self.naive.members.remove(who);
        }
    }

    fn join(&mut self, share: u32, reserved: usize) {
        let reserves = self.reserved();
        let joined = self.accounts.join(Entitlement {
            name: Arc::from("pool"),
            share,
            reserved,
        });
        if reserves + reserved > self.naive.limit {
            assert_eq!(joined, Err(self.naive.limit.saturating_sub(reserves)));
            return;
        }
        let key = joined.expect("there is room");
        self.accounts.attach(key, ());
        self.naive.members.push(NaiveMember {
            key: Some(key),
            share,
            reserved,
            ..NaiveMember::default()
        });
    }

    /// Both grant, and agree on everything.
    fn compare(&mut self) {
        let before = self.naive.slots();
        let is_heavy = self.naive.weight() >= MAX_WEIGHT;
        self.accounts
            .grant_free(Time::default().after(STEP * self.step));
        self.accounts.assert_invariants();
        self.naive.grant_free(u64::from(self.step));
        for member in &self.naive.members {
            let account = self
                .accounts
                .account(member.key.expect("a member has a key"));
            let demand = Demand {
                callers: member.callers,
                spread: member.spread,
                spare: member.spare,
            };
            assert_eq!(account.slots, member.slots());
            assert_eq!(account.connecting, member.connecting + member.granted);
            assert_eq!(account.demand, demand);
        }
        self.compare_wants();
        let excess = self.naive.weight().saturating_sub(MAX_WEIGHT);
        assert_eq!(self.accounts.excess_weight(), excess, "invariant W3");
        // B1, B2 and W4, in words of their own.
        let slots = self.accounts.totals().slots;
        assert!(slots <= self.naive.limit.max(before), "invariant B1");
        assert!(slots <= before || !is_heavy, "invariant W4");
        assert!(
            self.accounts.totals().connecting <= MAX_CONNECTING,
            "invariant B2"
        );
    }
}

impl Rig {
    /// Invariants B5 and B6: what is wanted of the members.
    fn compare_wants(&self) {
        let Self {
            accounts, naive, ..
        } = self;
        let idle = accounts.want().idle;
        assert_eq!(idle, naive.idle_wanted(), "invariant B5");
        for member in naive.members.iter().filter(|member| !member.has_left) {
            let gives_way = gives_way(accounts, member);
            let is_right = naive.gives_way(member);
            // What is free may be enough.
            let is_exempt = naive.free() > 0 && !gives_way;
            assert!(
                gives_way == is_right || is_exempt,
                "invariant B6: {gives_way} of {member:?}"
            );
        }
    }
}

/// Whether the stores of this member would give up a connection that they use.
fn gives_way(accounts: &Accounts<()>, member: &NaiveMember) -> bool {
    gives_way_with(accounts, member.slots(), member.share, member.reserved)
}

pub(super) fn gives_way_with(
    accounts: &Accounts<()>,
    kept: usize,
    share: u32,
    reserved: usize,
) -> bool {
    let pressure = Pressure::new("model".into(), Clock::start());
    let totals = accounts.totals();
    let figures = Figures {
        limit: accounts.limit(),
        reserved: totals.reserved,
        shares_beyond_reserve: totals.shares_beyond_reserve,
        ..Figures::default()
    };
    pressure.write(accounts.want(), figures, None);
    let allotment = Allotment {
        pressure: Arc::new(pressure),
        share,
        reserved,
        residence: Duration::ZERO,
        max_weight: None,
    };
    allotment.claim_busy(kept, false).is_some()
}

fn ask(member: &mut NaiveMember, demand: Demand, now: u64) {
    let Demand {
        callers,
        spread,
        spare,
    } = demand;
    if member.has_left {
        return;
    }
    if !member.asks() {
        member.since = now;
    }
    member.granted = member.granted.min(callers + spare);
    let for_callers = member.granted.min(callers);
    member.callers = callers - for_callers;
    member.spread = spread.min(member.callers);
    member.spare = spare - (member.granted - for_callers);
}

#[test]
fn accounts_agree_with_the_naive_model_on_every_operation() {
    let histories = prop::collection::vec(op(), 0..200);
    assert_agree(1_000, histories, 50_000, Rig::new, |rig, op| {
        rig.apply(op);
        rig.compare();
    });
}

/// A thousand members that hold connections cost an ask nothing: only what is left untaken is looked at.
#[test]
fn ask_looks_at_no_member_that_takes_what_it_is_granted() {
    const MEMBERS: usize = 1_000;
    let mut accounts = Accounts::new(2 * MEMBERS, MEMBERS, None);
    let one = Demand {
        callers: 1,
        spread: 0,
        spare: 0,
    };
    let keys: Vec<_> = (0..MEMBERS)
        .map(|_| {
            let key = accounts.join(Entitlement {
                name: Arc::from("pool"),
                share: 1,
                reserved: 0,
            });
            let key = key.expect("nothing is reserved");
            accounts.attach(key, ());
            accounts.ask(key, one, Time::default());
            key
        })
        .collect();
    assert_eq!(accounts.grant_free(Time::default()).len(), MEMBERS);
    let late = Time::default().after(PATIENCE);
    let looks = |accounts: &Accounts<()>| accounts.overdue(PATIENCE, late).count();
    assert_eq!(looks(&accounts), MEMBERS, "nobody has taken anything");
    let (idlers, others) = keys.split_at(2);
    for key in others {
        assert!(accounts.take_granted(*key));
    }
    assert_eq!(looks(&accounts), 2, "all hold one, and two left it");
    accounts.take_back_untaken(others[0], PATIENCE, late);
    assert_eq!(looks(&accounts), 0, "it was taken back");
    assert!(!accounts.take_granted(idlers[0]));
}
