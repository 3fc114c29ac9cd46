//! What the members of a budget share: the grants of what is free, and which connections are closed to free more.
//!
//! # Locking
//!
//! The lock of the accounts is never held together with a store's. A pool that asks or frees a slot
//! takes the budget's lock after it has unlocked its store; a pool that reclaims locks the store of
//! another pool after it has unlocked the budget.

use std::sync::Arc as StdArc;

use crate::budget::accounts::{Accounts, MemberKey};
use crate::budget::budget_builder::BudgetBuilder;
use crate::budget::budget_meters::BudgetMeters;
use crate::budget::member::Member;
use crate::budget::pressure::{Claim, Figures, Pressure};
use crate::budget::seen_idle::SeenIdle;
use crate::foreign::drop_quietly;
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::time::{Clock, Time};

/// What the members of a budget share.
pub(super) struct SharedBudget {
    pub(super) settings: BudgetBuilder,
    pub(super) accounts: Mutex<Accounts<StdArc<dyn Member>>>,
    /// Its lock is a leaf: nothing is called while it is held.
    seen_idle: Mutex<SeenIdle<MemberKey>>,
    pub(super) pressure: Arc<Pressure>,
    /// All members measure time by it, so that their idle connections can be compared.
    pub(super) clock: Clock,
    meters: BudgetMeters,
}

type AccountsGuard<'a> = MutexGuard<'a, Accounts<StdArc<dyn Member>>>;

impl SharedBudget {
    pub(super) fn new(settings: BudgetBuilder) -> Self {
        let (connections, connects) = (settings.max_connections, settings.max_connecting);
        let accounts = Accounts::new(connections, connects, settings.max_weight);
        let clock = Clock::start();
        let shared = Self {
            pressure: Arc::new(Pressure::new(StdArc::clone(&settings.name), clock.clone())),
            accounts: Mutex::new(accounts),
            seen_idle: Mutex::new(SeenIdle::new()),
            meters: BudgetMeters::new(&settings.name, settings.max_weight.is_some()),
            settings,
            clock,
        };
        shared.write(&shared.accounts.lock(), None);
        shared
    }

    /// Grants what is free, unlocks, and tells the pools that were granted something. `ended` is a claim
    /// whose permit was given back.
    ///
    /// Order: the claim ends in the critical section that frees the permit. Otherwise a store would
    /// see that a connection is still wanted, and give up another one.
    pub(super) fn finish(&self, mut accounts: AccountsGuard<'_>, ended: Option<Claim>) {
        // Most changes free nothing that anybody asks for: then no clock is read.
        let mut granted = match accounts.can_grant() {
            true => accounts.grant_free(self.clock.now()),
            false => Vec::new(),
        };
        granted.dedup();
        let granted = accounts.handles(granted);
        #[cfg(debug_assertions)]
        accounts.assert_invariants();
        self.write(&accounts, ended);
        drop(accounts);
        for member in granted {
            member.kick();
            // It may be the last reference to the pool.
            drop_quietly(member);
        }
    }

    /// Order: under the lock, so that stores read the latest state.
    fn write(&self, accounts: &Accounts<StdArc<dyn Member>>, ended: Option<Claim>) {
        let totals = accounts.totals();
        let figures = Figures {
            limit: accounts.limit(),
            slots: totals.slots,
            stuck: totals.stuck,
            stuck_beyond_reserve: totals.stuck_beyond_reserve,
            is_full: totals.committed >= accounts.limit() || accounts.is_heavy(),
            unused_reserve: totals.committed - totals.slots,
            reserved: totals.reserved,
            shares_beyond_reserve: totals.shares_beyond_reserve,
            connecting: totals.connecting,
            max_connecting: accounts.max_connecting(),
            holders: accounts.holder_count(),
            asking: totals.asking,
            waiting: totals.waiting,
            weight: positive(totals.weight),
            max_weight: self.settings.max_weight,
        };
        self.pressure.write(accounts.want(), figures, ended);
    }

    /// Publishes the metrics. Members do so when they publish theirs.
    pub(super) fn publish(&self) {
        self.meters.publish(self.pressure.figures());
    }

    /// Has idle connections of others closed as long as some are wanted, the least recently used first.
    ///
    /// When it returns, the store of every pool that held a slot was locked after the pressure rose, so a
    /// connection that comes home later is given up there.
    ///
    /// Claims that have aged are given to other connections first.
    pub(super) fn reclaim(&self, asker: Option<MemberKey>) {
        let now = self.clock.now();
        self.pressure.end_aged(now);
        let mut tries_left = RECLAIM_TRIES;
        while self.pressure.is_on() && tries_left > 0 {
            if self.reclaim_seen(asker, now) {
                continue;
            }
            let holders = self.accounts.lock().holders();
            let idle = |(key, member): &(MemberKey, StdArc<dyn Member>)| {
                Some((member.oldest_idle(now)?, *key))
            };
            let seen: Vec<_> = holders.iter().filter_map(idle).collect();
            let others = seen.iter().filter(|(_, key)| Some(*key) != asker);
            let oldest = others.min().copied();
            self.seen_idle.lock().note_all(seen, now);
            let Some((_, oldest)) = oldest else {
                drop_quietly(holders);
                return;
            };
            let mut oldest = holders.iter().filter(|(key, _)| *key == oldest);
            // If it was lent meanwhile, there may be another one.
            let is_reclaimed = oldest.any(|(_, member)| member.reclaim_idle());
            tries_left -= usize::from(!is_reclaimed);
            drop_quietly(holders);
        }
    }

    /// Reclaims the oldest of the connections that were found idle a moment ago. So a look at all members
    /// serves many callers.
    fn reclaim_seen(&self, asker: Option<MemberKey>, now: Time) -> bool {
        loop {
            let Some((since, key)) = self.seen_idle.lock().take(now) else {
                return false;
            };
            let member = self.accounts.lock().handle_of(key);
            let Some(member) = member.filter(|_| Some(key) != asker) else {
                continue;
            };
            let oldest = member.oldest_idle(now);
            let is_reclaimed = oldest == Some(since) && member.reclaim_idle();
            drop_quietly(member);
            // It may have others, which it offers only while one is wanted.
            let next = if is_reclaimed { Some(since) } else { oldest };
            if let Some(next) = next.filter(|next| is_reclaimed || *next > since) {
                self.seen_idle.lock().note((next, key));
            }
            if is_reclaimed {
                return true;
            }
        }
    }

    /// Has connections closed if all together are too heavy: idle ones, those of the heaviest member first;
    /// then one that callers have, when it is returned.
    pub(super) fn shed(&self) {
        let (mut excess, heaviest) = {
            let accounts = self.accounts.lock();
            let excess = accounts.excess_weight();
            let excess = excess.saturating_sub(accounts.weight_of_left());
            (excess, accounts.heaviest())
        };
        for member in &heaviest {
            excess = excess.saturating_sub(member.outgoing_weight());
        }
        for member in &heaviest {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(member.shed_idle(excess));
        }
        if excess > 0 {
            let mut members = heaviest.iter();
            let _: bool = members.any(|member| member.shed_leased());
        }
        heaviest.into_iter().for_each(drop_quietly);
    }
}

/// A sum of changes that came in any order.
pub(super) fn positive(weight: i128) -> u64 {
    u64::try_from(weight.max(0)).unwrap_or(u64::MAX)
}

/// How often a reclaim looks again because what it found was lent meanwhile.
const RECLAIM_TRIES: usize = 3;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc as StdArc;
    use std::time::Duration;

    use crate::budget::Budget;
    use crate::budget::membership::{BudgetPermit, MemberTerms, Membership};
    use crate::budget::pressure::{Allotment, Claim, IdleOffer};
    use crate::budget::seen_idle::SEEN_IDLE_VALID;
    use crate::budget::{Demand, Member};
    use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use crate::sync::{Arc, Mutex};
    use crate::time::Time;

    /// A pool with one connection, that counts how often it is looked at.
    struct OneIdle {
        allotment: Allotment,
        /// When it was used last; `None` while it is leased.
        used: Mutex<Option<Time>>,
        /// Its pool used it a moment ago.
        is_in_use: AtomicBool,
        given_up: Mutex<Option<Claim>>,
        looks: AtomicUsize,
    }

    impl Member for OneIdle {
        fn kick(&self) {}

        fn oldest_idle(&self, _: Time) -> Option<Time> {
            self.looks.fetch_add(1, Ordering::Relaxed);
            *self.used.lock()
        }

        fn outgoing_weight(&self) -> u64 {
            0
        }

        fn shed_idle(&self, _: u64) -> u64 {
            0
        }

        fn shed_leased(&self) -> bool {
            false
        }

        fn reclaim_idle(&self) -> bool {
            let claim = self.allotment.claim_idle(IdleOffer {
                kept: 1,
                asked: 0,
                is_in_use: self.is_in_use.load(Ordering::Relaxed),
                is_needed: false,
            });
            let is_reclaimed = claim.is_some();
            if is_reclaimed {
                *self.used.lock() = None;
                *self.given_up.lock() = claim;
            }
            is_reclaimed
        }
    }

    struct Rig {
        budget: Budget,
        holders: Vec<StdArc<OneIdle>>,
        members: Vec<Arc<Membership>>,
        permits: Vec<BudgetPermit>,
        asker: Arc<Membership>,
    }

    const ONE: Demand = Demand {
        callers: 1,
        spread: 0,
        spare: 0,
    };

    impl Rig {
        /// A full budget, in which the connection of each holder was used at this second.
        fn new(used: [u64; 4]) -> Self {
            let budget = Budget::builder("test").max_connections(used.len());
            let budget = budget.max_weight(1000);
            let budget = budget.build().expect("valid settings");
            let join = || {
                let terms = MemberTerms {
                    budget: budget.clone(),
                    share: 1,
                    reserves_min_idle: false,
                };
                Membership::join(&terms, &"test".into(), 0).expect("nothing is reserved")
            };
            let asker = join();
            let members: Vec<_> = used.iter().map(|_| join()).collect();
            let hold = |(member, used): (&Arc<Membership>, u64)| {
                let holder = StdArc::new(OneIdle {
                    allotment: member.allotment(),
                    used: Mutex::new(Some(at(used))),
                    is_in_use: AtomicBool::new(false),
                    given_up: Mutex::new(None),
                    looks: AtomicUsize::new(0),
                });
                let reached: StdArc<dyn Member> = StdArc::<OneIdle>::clone(&holder);
                member.attach(reached);
                holder
            };
            let holders: Vec<_> = members.iter().zip(used).map(hold).collect();
            asker.attach(StdArc::new(OneIdle {
                allotment: asker.allotment(),
                used: Mutex::new(None),
                is_in_use: AtomicBool::new(false),
                given_up: Mutex::new(None),
                looks: AtomicUsize::new(0),
            }));
            let take = |member| {
                let mut permit = Membership::take(member, ONE, at(0)).expect("there is room");
                permit.connect_ended();
                permit
            };
            let permits = members.iter().map(take).collect();
            Self {
                budget,
                holders,
                members,
                permits,
                asker,
            }
        }

        /// So many callers of the asking pool wait.
        fn ask(&self, callers: usize) {
            let demand = Demand { callers, ..ONE };
            assert!(Membership::take(&self.asker, demand, at(9)).is_none());
        }

        fn given_up(&self) -> Vec<usize> {
            let given_up =
                |(_, holder): &(usize, &StdArc<OneIdle>)| holder.given_up.lock().is_some();
            let all = self.holders.iter().enumerate();
            all.filter(given_up).map(|(place, _)| place).collect()
        }

        fn looks(&self) -> usize {
            let looks = self
                .holders
                .iter()
                .map(|one| one.looks.load(Ordering::Relaxed));
            looks.sum()
        }
    }

    fn at(second: u64) -> Time {
        Time::default().after(Duration::from_secs(second))
    }

    #[tokio::test(start_paused = true)]
    async fn one_look_at_all_members_serves_the_callers_that_follow() {
        let rig = Rig::new([4, 2, 3, 5]);
        rig.ask(1);
        assert_eq!((rig.given_up(), rig.looks()), (vec![1], 4));
        // The member that gave one up may have another one, and the next is looked at once more.
        rig.ask(2);
        assert_eq!((rig.given_up(), rig.looks()), (vec![1, 2], 4 + 2));
        rig.ask(3);
        assert_eq!((rig.given_up(), rig.looks()), (vec![0, 1, 2], 4 + 2 + 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_lent_since_the_look_is_passed_over() {
        let rig = Rig::new([2, 3, 4, 5]);
        rig.ask(1);
        *rig.holders[1].used.lock() = None;
        rig.ask(2);
        assert_eq!(rig.given_up(), [0, 2]);
        *rig.holders[3].used.lock() = Some(at(6));
        *rig.holders[1].used.lock() = Some(at(7));
        rig.ask(3);
        assert_eq!(rig.given_up(), [0, 2, 3], "all were looked at again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_of_the_same_member_comes_before_younger_ones_of_others() {
        let rig = Rig::new([2, 5, 6, 7]);
        rig.ask(1);
        assert_eq!(rig.given_up(), [0]);
        *rig.holders[0].given_up.lock() = None;
        *rig.holders[0].used.lock() = Some(at(4));
        rig.ask(1);
        assert_eq!((rig.given_up(), rig.looks()), (vec![0], 4 + 2));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_while_all_members_are_looked_at_again() {
        let rig = Rig::new([2, 3, 4, 5]);
        rig.ask(1);
        *rig.holders[3].used.lock() = Some(at(1));
        tokio::time::advance(SEEN_IDLE_VALID).await;
        rig.ask(2);
        assert_eq!((rig.given_up(), rig.looks()), (vec![0, 3], 4 + 4));
        assert_eq!(rig.budget.status().reclaiming, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_kept_because_all_are_too_heavy_is_given_up_once_they_are_lighter() {
        let rig = Rig::new([4, 2, 3, 5]);
        for holder in &rig.holders {
            holder.is_in_use.store(true, Ordering::Relaxed);
        }
        rig.members[0].weigh(1100, None);
        rig.ask(1);
        assert_eq!(rig.given_up(), []);
        rig.members[0].weigh(-1000, None);
        assert_eq!(rig.given_up(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_has_left_is_not_asked() {
        let mut rig = Rig::new([2, 3, 4, 5]);
        rig.ask(1);
        rig.members.remove(1).leave();
        drop(rig.permits.remove(1));
        let permit = Membership::take(&rig.asker, ONE, at(9));
        rig.permits.push(permit.expect("its slot is free"));
        rig.ask(2);
        assert_eq!(rig.given_up(), [0, 2]);
    }
}
