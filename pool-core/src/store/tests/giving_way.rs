//! Which connections a pool gives up for others of its budget, and when.

use std::panic::Location;

use super::asking::{Pool, Shared, demand, join, join_reserving, pool, wait};
use super::cases::{SECOND, at, closed, limits};
use crate::budget::{Budget, BudgetPermit, Membership};
use crate::id::CloseReason;
use crate::store::{
    Condition, Lending, Limits, Multiplexed, Sharing, SlotKey, State, TargetLeases,
};
use crate::sync::Arc;
use crate::time::Time;

#[test]
fn an_idle_connection_is_offered_unless_callers_wait_here_as_well() {
    let budget = Budget::builder("test").max_connections(1);
    let budget = budget.build().expect("valid settings");
    let [ours, other] = [0; 2].map(|_| join(&budget));
    let mut store = pool(1);
    store.join_budget(ours.allotment());
    let mut permit = Membership::take(&ours, demand(1, 0), at(1)).expect("one is free");
    let opening = store.open(at(1)).expect("min_idle wants it");
    store.opened(opening.key, "one", at(1));
    permit.connect_ended();
    assert!(store.oldest_idle(at(2)).is_none(), "nobody wants it");
    assert!(Membership::take(&other, demand(1, 0), at(2)).is_none());
    assert!(store.is_pressed());
    assert!(store.oldest_idle(at(2)).is_some());
    let caller = wait(&mut store);
    assert!(store.oldest_idle(at(2)).is_none());
    assert!(!store.reclaim_idle());
    assert!(store.cancel(caller).is_none());
    assert!(store.reclaim_idle());
    assert_eq!(closed(&mut store), [("one", CloseReason::Reclaimed)]);
    assert!(!store.reclaim_idle(), "no more are wanted");
}

/// Opens connections, with permits that are kept.
fn open_with<const N: usize>(
    store: &mut Pool,
    member: &Arc<Membership>,
    names: [&'static str; N],
) -> [(SlotKey, BudgetPermit); N] {
    names.map(|name| {
        let permit = Membership::take(member, demand(1, 0), at(1));
        let mut permit = permit.expect("the budget has room");
        let opening = store.open(at(1)).expect("min_idle wants it");
        store.opened(opening.key, name, at(1));
        permit.connect_ended();
        (opening.key, permit)
    })
}

/// The tasks of the pool do not run, so what it gave up is not closed.
#[tokio::test(start_paused = true)]
async fn a_pool_that_closes_nothing_gives_up_nothing_more() {
    let budget = Budget::builder("test").max_connections(3);
    let budget = budget.build().expect("valid settings");
    let [ours, other] = [0; 2].map(|_| join(&budget));
    let mut store = pool(3);
    store.join_budget(ours.allotment());
    let permits = open_with(&mut store, &ours, ["a", "b", "c"]);
    assert!(Membership::take(&other, demand(2, 0), at(2)).is_none());
    store.start_ticks(at(2));
    assert!(store.reclaim_idle());
    assert!(store.reclaim_idle(), "two are wanted");
    assert!(!store.reclaim_idle());
    tokio::time::advance(29 * SECOND).await;
    other.reclaim();
    assert!(!store.is_pressed(), "two are on their way");
    tokio::time::advance(2 * SECOND).await;
    other.reclaim();
    assert!(store.is_pressed(), "they take too long");
    assert!(!store.reclaim_idle(), "but here nothing is closed");
    for (key, _) in &permits[..2] {
        drop(store.take_freed(*key));
        store.release(*key);
    }
    assert!(store.reclaim_idle(), "they were closed after all");
}

#[test]
fn what_is_reserved_stays_idle_and_of_two_the_one_that_was_used_last() {
    let budget = Budget::builder("test").max_connections(2);
    let budget = budget
        .min_residence(SECOND)
        .build()
        .expect("valid settings");
    let [ours, other] = [1, 0].map(|reserved| join_reserving(&budget, reserved));
    let mut store = pool(2);
    store.join_budget(ours.allotment());
    let opened = open_with(&mut store, &ours, ["old", "used"]);
    assert_eq!(store.take_idle(Location::caller()), Some("used"));
    let asked = Membership::take(&other, demand(1, 0), at(2));
    assert!(asked.is_none(), "the budget is full");
    store.start_ticks(at(20));
    assert!(store.is_pressed());
    assert!(!store.reclaim_idle(), "it is reserved");
    store.give_back(opened[1].0, "used", Condition::Clean);
    assert!(store.take_served().is_none());
    assert_eq!(closed(&mut store), [("old", CloseReason::Reclaimed)]);
}

#[test]
fn an_idle_connection_within_the_share_is_kept_until_it_was_unused_for_the_minimum_residence() {
    let budget = Budget::builder("test").max_connections(2);
    let budget = budget.min_residence(60 * SECOND).build();
    let budget = budget.expect("valid settings");
    let [ours, other] = [0; 2].map(|_| join(&budget));
    let mut store = pool(1);
    store.join_budget(ours.allotment());
    let _opened = open_with(&mut store, &ours, ["one"]);
    let _theirs = Membership::take(&other, demand(1, 0), at(1)).expect("one is free");
    assert!(Membership::take(&other, demand(1, 0), at(1)).is_none());
    store.sweep(at(2));
    store.sweep(at(3));
    assert_eq!(store.alarm(), Time::NEVER);
    // It was opened at the beginning of the store's time.
    assert!(store.oldest_idle(at(59)).is_none());
    assert_eq!(store.alarm(), at(60), "it is offered then");
    assert!(!store.reclaim_idle());
    assert!(store.oldest_idle(at(60)).is_some());
    assert!(store.reclaim_idle());
}

#[test]
fn what_is_reserved_is_not_shed_for_its_weight() {
    let budget = Budget::builder("test").max_connections(2);
    let budget = budget.build().expect("valid settings");
    let ours = join_reserving(&budget, 1);
    let mut store = pool(2);
    store.join_budget(ours.allotment());
    let opened = open_with(&mut store, &ours, ["light", "heavy"]);
    for ((key, _), weight) in opened.iter().zip([10, 20]) {
        store.slots.get_mut(*key).weight = weight;
        store.total_weight += u128::from(weight);
    }
    assert_eq!(store.shed_idle(100), 20);
    assert_eq!(store.shed_idle(100), 0);
    assert!(!store.shed_leased(), "it is idle");
    assert_eq!(store.take_idle(Location::caller()), Some("light"));
    assert!(store.shed_leased(), "a caller has it");
}

/// A shared connection with two leases, and its permit. Another pool waits for it.
fn shared(ours: &Arc<Membership>, other: &Arc<Membership>) -> (Shared, SlotKey, BudgetPermit) {
    let mut store = Shared::new(Limits {
        max_size: 1,
        sharing: Sharing {
            target_leases: TargetLeases::Fixed(4),
            max_leases: 8,
            max_surge: 1,
        },
        ..limits()
    });
    store.join_budget(ours.allotment());
    let permit = Membership::take(ours, demand(1, 0), at(1));
    let mut permit = permit.expect("the budget has room");
    let opening = store.open(at(1)).expect("min_idle wants it");
    store.opened(opening.key, "one", at(1));
    permit.connect_ended();
    store.start_ticks(at(1));
    for _ in 0..2 {
        assert!(store.take_share(Location::caller()).is_some());
    }
    let asked = Membership::take(other, demand(1, 0), at(2));
    assert!(asked.is_none(), "the budget is full");
    assert!(store.is_pressed());
    (store, opening.key, permit)
}

#[test]
fn a_shared_connection_gives_way_after_the_minimum_residence_and_not_before() {
    let budget = Budget::builder("test").max_connections(1);
    let budget = budget.min_residence(60 * SECOND).build();
    let budget = budget.expect("valid settings");
    let [ours, other] = [0; 2].map(|_| join(&budget));
    let (mut store, key, _permit) = shared(&ours, &other);
    for (seconds, reason) in [(60, None), (61, Some(CloseReason::Reclaimed))] {
        store.start_ticks(at(seconds));
        let share = store.take_share(Location::caller()).expect("it serves");
        store.give_back_share(share, Condition::Clean);
        assert_eq!(store.slots.get(key).close_reason, reason, "{seconds}");
    }
}

/// Its leases may last for long.
#[tokio::test(start_paused = true)]
async fn a_shared_connection_that_gave_way_and_still_has_leases_is_waited_for_as_long_as_the_residence()
 {
    let budget = Budget::builder("test").max_connections(1);
    let budget = budget.min_residence(5 * SECOND).build();
    let budget = budget.expect("valid settings");
    let [ours, other] = [0; 2].map(|_| join(&budget));
    let (mut store, key, _permit) = shared(&ours, &other);
    store.start_ticks(at(6));
    let share = store.take_share(Location::caller()).expect("it serves");
    store.alarm = Time::NEVER;
    store.give_back_share(share, Condition::Clean);
    assert_eq!(store.slots.get(key).load, 2);
    // By the clock of the budget, which has not moved.
    assert_eq!(store.alarm(), at(5));
    assert!(!store.has_aged_claim(at(4)) && store.has_aged_claim(at(5)));
    assert_eq!(store.next_claim_ages_at(at(4)), at(5));
    assert_eq!(store.next_claim_ages_at(at(5)), Time::NEVER);
    for (seconds, is_wanted_again) in [(0, false), (4, false), (2, true)] {
        tokio::time::advance(seconds * SECOND).await;
        other.reclaim();
        assert_eq!(
            store.is_pressed(),
            is_wanted_again,
            "after {seconds} s more"
        );
    }
}

/// It is closed for its weight, but its slot will be free all the same.
#[test]
fn a_shared_connection_that_gave_way_and_is_killed_is_waited_for_until_its_slot_is_free() {
    let budget = Budget::builder("test").max_connections(1);
    let budget = budget.min_residence(SECOND).build();
    let budget = budget.expect("valid settings");
    let [ours, other] = [0; 2].map(|_| join(&budget));
    let (mut store, key, permit) = shared(&ours, &other);
    store.start_ticks(at(6));
    let shares = [0; 3].map(|_| store.take_share(Location::caller()));
    let shares = shares.map(|share| share.expect("it serves"));
    store.give_back_share(shares[0], Condition::Clean);
    let reclaiming = || budget.status().reclaiming;
    assert_eq!(reclaiming(), 1, "it gave way, with leases");
    Multiplexed::killed(&mut store, key);
    for share in [shares[1], shares[2], shares[1], shares[2]] {
        store.give_back_share(share, Condition::Clean);
    }
    drop(store.take_served());
    let record = store.slots.get(key);
    let (state, reason) = (record.state(), record.close_reason);
    assert_eq!((state, reason), (State::Closing, Some(CloseReason::Killed)));
    assert_eq!(reclaiming(), 1);
    let freed = store.take_freed(key);
    assert!(!freed.is_reclaimed, "its reason was another one");
    store.release(key);
    permit.give_back(freed);
    assert_eq!(reclaiming(), 0);
    assert!(!store.is_pressed());
}

#[test]
fn a_superseded_connection_that_the_budget_does_not_replace_serves_for_the_minimum_residence() {
    let budget = Budget::builder("test").max_connections(1);
    let budget = budget.min_residence(60 * SECOND).build();
    let budget = budget.expect("valid settings");
    let [ours, other] = [0; 2].map(|_| join(&budget));
    let (mut store, key, _permit) = shared(&ours, &other);
    store.start_ticks(at(10));
    assert_eq!(store.evict(|_| true), 1);
    assert_eq!(store.ask(at(10)), demand(1, 0), "a replacement");
    for (seconds, reason) in [(11, None), (69, None), (70, Some(CloseReason::Evicted))] {
        store.set_alarm(at(seconds));
        assert!(store.sweep(at(seconds)));
        assert_eq!(store.slots.get(key).close_reason, reason, "{seconds}");
    }
}
