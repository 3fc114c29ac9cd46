//! What a pool asks its budget for.

use std::task::Waker;

use super::cases::{SECOND, at, effects, limits, request};
use crate::budget::{Budget, Demand, Member, MemberTerms, Membership};
use crate::error::ConnectError;
use crate::id::CloseReason;
use crate::store::{
    Condition, Exclusive, Found, GoalEnd, GoalKey, Limits, Multiplexed, Sharing, Store,
    TargetLeases, Turn, WaitEnd, WaiterKey,
};
use crate::sync::Arc;
use crate::time::Time;

pub(super) type Pool = Store<&'static str, Exclusive>;
pub(super) type Shared = Store<&'static str, Multiplexed>;

/// A pool at rest.
pub(super) fn pool(min_idle: usize) -> Pool {
    let mut store = Store::new(Limits {
        min_idle,
        max_size: 4,
        max_connecting: 3,
        ..limits()
    });
    store.sweep(at(0));
    store.sweep(at(1));
    drop(effects(&mut store));
    assert_eq!(store.alarm(), Time::NEVER);
    store
}

pub(super) fn wait(store: &mut Pool) -> WaiterKey {
    store.enqueue(Waker::noop().clone(), request(), Turn::New)
}

pub(super) const fn demand(callers: usize, spare: usize) -> Demand {
    Demand {
        callers,
        spread: 0,
        spare,
    }
}

#[test]
fn callers_and_spare_ones_are_asked_for_as_far_as_there_is_room() {
    let mut store = pool(2);
    assert_eq!(store.ask(at(1)), demand(0, 2));
    wait(&mut store);
    assert_eq!(store.ask(at(1)), demand(1, 2));
    wait(&mut store);
    assert_eq!(store.ask(at(1)), demand(2, 1), "three connects at a time");
    for _ in 0..2 {
        assert!(store.open(at(1)).is_some());
    }
    assert_eq!(store.ask(at(1)), demand(0, 1));
    let last = store.open(at(1)).expect("it is wanted");
    assert_eq!(store.ask(at(1)), Demand::NONE);
    // While connects fail, one at a time, and not before the delay is over.
    store.connect_failed(last.key, ConnectError::transient("no"), at(1));
    store.release(last.key);
    let not_before = store.pacer.not_before();
    assert!(not_before > at(1), "the seed draws a delay");
    assert_eq!(store.ask(at(1)), Demand::NONE);
}

#[test]
fn no_more_are_asked_for_than_the_pool_may_have() {
    let mut store = pool(0);
    store.limits.max_connecting = 9;
    for _ in 0..6 {
        wait(&mut store);
    }
    for _ in 0..3 {
        let opening = store.open(at(1)).expect("it is wanted");
        store.opened(opening.key, "one", at(1));
    }
    assert_eq!(store.ask(at(1)), demand(1, 0));
}

#[test]
fn after_a_failure_one_is_asked_for_when_the_delay_is_over() {
    let mut store = pool(0);
    for _ in 0..3 {
        wait(&mut store);
    }
    let first = store.open(at(1)).expect("it is wanted");
    store.connect_failed(first.key, ConnectError::transient("no"), at(1));
    store.release(first.key);
    let not_before = store.pacer.not_before();
    assert!(not_before > at(1), "the seed draws a delay");
    assert_eq!(store.ask(at(1)), Demand::NONE);
    assert!(store.alarm() <= not_before, "it asks again then");
    assert_eq!(store.ask(not_before), demand(1, 0));
}

#[test]
fn a_pool_tells_its_budget_once_that_it_wants_nothing_any_more() {
    let mut store = pool(0);
    assert!(!store.minds_refusal(), "it never asked");
    let caller = wait(&mut store);
    let asked = store.ask(at(1));
    assert_eq!(asked, demand(1, 0));
    assert!(store.minds_refusal());
    store.note_told(asked, at(1), at(20));
    assert_eq!(store.alarm(), at(20), "it asks again");
    assert!(store.cancel(caller).is_none());
    let asked = store.ask(at(2));
    assert_eq!(asked, Demand::NONE);
    assert!(store.minds_refusal(), "the budget knows of a caller");
    store.note_told(asked, at(1), at(10));
    assert_eq!(store.alarm(), at(20), "there is nothing to ask for");
    assert!(!store.minds_refusal());
}

#[test]
fn a_shared_pool_is_woken_when_it_has_been_refused_for_a_second() {
    let mut store = Shared::new(Limits {
        min_idle: 0,
        sharing: Sharing {
            target_leases: TargetLeases::Fixed(4),
            max_leases: 8,
            max_surge: 1,
        },
        ..limits()
    });
    store.enqueue(Waker::noop().clone(), request(), Turn::New);
    store.sweep(at(5));
    assert!(store.alarm() > at(20), "only the caller's time ends");
    let asked = store.ask(at(5));
    assert_eq!(asked, demand(1, 0));
    // Then its callers make do with what there is.
    store.note_told(asked, at(5), at(20));
    assert_eq!(store.alarm(), at(6));
    store.sweep(at(6));
    assert!(store.alarm() > at(20));
    store.note_told(asked, at(6), at(20));
    assert_eq!(store.alarm(), at(20), "the second is over");
}

#[test]
fn a_granted_permit_is_not_asked_for_again() {
    let mut store = pool(0);
    let callers = [0; 2].map(|_| wait(&mut store));
    let asked = store.ask(at(1));
    assert_eq!(asked, demand(2, 0));
    store.note_told(asked, at(1), at(20));
    assert!(store.open(at(1)).is_some());
    store.note_granted(at(1));
    assert!(store.minds_refusal(), "one is left");
    // The budget must learn when it is not wanted any more, and not again.
    drop(effects(&mut store));
    assert!(store.take_served().is_none());
    assert!(!effects(&mut store).kick, "nothing has changed");
    for caller in callers {
        assert!(store.cancel(caller).is_none());
    }
    drop(effects(&mut store));
    assert!(store.take_served().is_none());
    assert!(effects(&mut store).kick);
    assert!(store.take_served().is_none());
    assert!(!effects(&mut store).kick);
}

/// A member that holds nothing it could give up.
struct Empty;

impl Member for Empty {
    fn kick(&self) {}

    fn oldest_idle(&self, _: Time) -> Option<Time> {
        None
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
        false
    }
}

/// A member of this budget.
pub(super) fn join(budget: &Budget) -> Arc<Membership> {
    join_reserving(budget, 0)
}

/// A member for which so many are reserved.
pub(super) fn join_reserving(budget: &Budget, reserved: usize) -> Arc<Membership> {
    let terms = MemberTerms {
        budget: budget.clone(),
        share: 1,
        reserves_min_idle: true,
    };
    let member = Membership::join(&terms, &"test".into(), reserved).expect("there is room");
    member.attach(Arc::new(Empty));
    member
}

#[test]
fn a_pool_knows_whether_it_waits_for_its_budget_and_whether_others_do() {
    let budget = Budget::builder("test").max_connections(1).max_connecting(1);
    let budget = budget.build().expect("valid settings");
    let [holder, ours, other] = [0; 3].map(|_| join(&budget));
    let mut store = pool(0);
    store.join_budget(ours.allotment());
    assert!(!store.budget_is_connecting());
    let permit = Membership::take(&holder, demand(1, 0), at(1));
    assert!(permit.is_some());
    assert!(store.budget_is_connecting());

    wait(&mut store);
    assert!(store.unserved_residence().is_none(), "it has not asked");
    assert!(store.awaited_budget().is_none());
    let asked = store.ask(at(1));
    assert_eq!(
        store.unserved_residence(),
        Some(ours.allotment().residence())
    );
    assert!(store.awaited_budget().is_none(), "it may yet grant one");
    assert!(Membership::take(&ours, asked, at(1)).is_none());
    store.note_told(asked, at(1), at(20));
    assert!(store.awaited_budget().is_some(), "it granted none");
    assert!(!store.others_wait_for_budget(), "only this one");
    assert!(Membership::take(&other, demand(1, 0), at(1)).is_none());
    assert!(store.others_wait_for_budget());
}

#[test]
fn callers_that_queue_while_the_budget_is_full_are_counted() {
    let budget = Budget::builder("test").max_connections(2);
    let budget = budget.build().expect("valid settings");
    let [holder, ours] = [0, 1].map(|reserved| join_reserving(&budget, reserved));
    let mut stores = [&holder, &ours].map(|member| {
        let mut store = pool(0);
        store.join_budget(member.allotment());
        store
    });
    let mut queue = || {
        stores.each_mut().map(|store| {
            let before = store.totals.limit_reached;
            wait(store);
            store.totals.limit_reached - before
        })
    };
    assert_eq!(queue(), [0, 0]);
    let _permit = Membership::take(&holder, demand(1, 0), at(1)).expect("one is free");
    assert_eq!(queue(), [1, 0], "the other one is reserved");
}

#[test]
fn a_pool_that_has_not_asked_sees_others_wait() {
    let budget = Budget::builder("test").max_connections(1);
    let budget = budget.build().expect("valid settings");
    let [holder, ours, other] = [0; 3].map(|_| join(&budget));
    let _permit = Membership::take(&holder, demand(1, 0), at(1)).expect("one is free");
    let mut store = pool(0);
    store.join_budget(ours.allotment());
    assert!(!store.others_wait_for_budget());
    assert!(Membership::take(&other, demand(1, 0), at(1)).is_none());
    assert!(store.others_wait_for_budget());
}

#[test]
fn a_pool_sees_that_its_budget_is_too_heavy() {
    let budget = Budget::builder("test").max_connections(2).max_weight(100);
    let budget = budget.build().expect("valid settings");
    let [holder, ours] = [0; 2].map(|_| join(&budget));
    let _permit = Membership::take(&holder, demand(1, 0), at(1)).expect("one is free");
    let mut store = pool(0);
    store.join_budget(ours.allotment());
    for (change, is_too_heavy) in [(99, false), (1, true), (-1, false), (-99, false)] {
        holder.weigh(change, None);
        assert_eq!(store.budget_is_too_heavy(), is_too_heavy, "{change}");
    }
}

#[test]
fn a_pool_tells_its_budget_that_its_callers_wait_no_more_though_it_would_spread_them() {
    let is_kicked = |store: &mut Shared| store.take_effects().is_some_and(|owed| owed.kick);
    let mut store = Shared::new(Limits {
        max_size: 2,
        sharing: Sharing {
            target_leases: TargetLeases::Fixed(2),
            max_leases: 2,
            max_surge: 1,
        },
        ..limits()
    });
    let callers = [0; 3].map(|_| store.enqueue(Waker::noop().clone(), request(), Turn::New));
    let opening = store.open(at(1)).expect("callers wait");
    store.opened(opening.key, "one", at(1));
    drop(store.take_served());
    assert_eq!(store.ask(at(1)), demand(1, 0), "one is left");
    drop(store.take_effects());
    let found = store.poll_waiter(callers[0], Waker::noop());
    let Found::Done(WaitEnd::Served(share), _) = found else {
        panic!("it was served");
    };
    store.accept_share(share).expect("it serves");
    store.give_back_share(share, Condition::Clean);
    drop(store.take_served());
    assert!(is_kicked(&mut store), "nobody waits any more");
    let spread = Demand {
        spread: 1,
        ..demand(1, 0)
    };
    assert_eq!(store.ask(at(1)), spread);
    drop(store.take_served());
    assert!(!is_kicked(&mut store), "it was told once");
}

#[test]
fn a_pool_without_a_budget_minds_none() {
    let mut store = pool(0);
    wait(&mut store);
    store.ask(at(1));
    assert!(store.unserved_residence().is_none());
    assert!(store.awaited_budget().is_none());
    assert!(!store.is_pressed());
    assert!(!store.others_wait_for_budget());
    assert!(!store.budget_is_too_heavy());
    assert!(!store.budget_is_connecting());
    assert!(store.oldest_idle(at(1).after(SECOND)).is_none());
}

/// A pool with one connection that is to be replaced, as a member of this budget.
fn renewing(member: &Membership) -> (Pool, GoalKey) {
    let mut store = pool(1);
    let opening = store.open(at(1)).expect("min_idle wants it");
    store.opened(opening.key, "old", at(1));
    store.join_budget(member.allotment());
    let goal = store.start_renewal(30 * SECOND, SECOND, at(1));
    (store, goal)
}

fn is_unbudgeted(store: &Pool) -> bool {
    let renewal = store.renewal.as_ref();
    renewal.expect("it is under way").is_unbudgeted
}

#[test]
fn a_renewal_looks_each_second_whether_its_budget_has_room() {
    let budget = Budget::builder("test").max_connections(2);
    let budget = budget.build().expect("valid settings");
    let (mut store, _) = renewing(&join(&budget));
    store.sweep(at(1));
    assert_eq!(store.alarm(), at(2));
}

#[test]
fn a_renewal_is_unbudgeted_when_the_budget_is_full_and_not_when_it_is_connecting() {
    let budget = Budget::builder("test").max_connections(2).max_connecting(1);
    let budget = budget.build().expect("valid settings");
    let [ours, other] = [0; 2].map(|_| join(&budget));
    let (mut store, _) = renewing(&ours);
    let mut permit = Membership::take(&other, demand(1, 0), at(1)).expect("one is free");
    store.note_told(demand(0, 1), at(1), at(20));
    assert!(!is_unbudgeted(&store), "it can be opened in a moment");
    permit.connect_ended();
    store.note_told(demand(0, 1), at(1), at(20));
    assert!(is_unbudgeted(&store));
    assert!(store.open(at(2)).is_some());
    assert!(!is_unbudgeted(&store), "there was room after all");
    // Nothing more is wanted.
    store.note_told(demand(0, 1), at(1), at(20));
    assert!(!is_unbudgeted(&store));
}

#[test]
fn a_budget_is_no_reason_if_all_were_replaced() {
    let budget = Budget::builder("test").max_connections(2);
    let budget = budget.build().expect("valid settings");
    for (is_old_there, fails) in [(true, true), (false, false)] {
        let (mut store, goal) = renewing(&join(&budget));
        store
            .renewal
            .as_mut()
            .expect("it is under way")
            .is_unbudgeted = true;
        if !is_old_there {
            for record in store.slots.iter_mut() {
                record.close_reason = Some(CloseReason::Lifetime);
            }
        }
        store.sweep(at(40));
        let end = store.poll_goal(goal, Waker::noop().clone());
        let Some(GoalEnd::Renewed(report)) = end else {
            panic!("it is over");
        };
        assert_eq!(report.failure.is_some(), fails);
    }
}
