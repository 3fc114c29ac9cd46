//! How many shared connections are wanted, and which of them are closed.

use super::cases::{SECOND, at};
use super::lent_shares::{Pool, closed, effects, pool, sharing, take, wait};
use crate::error::ConnectError;
use crate::id::CloseReason;
use crate::store::sweep::TICK;
use crate::store::{Condition, Limits};

fn waiting(limits: Limits, callers: usize) -> Pool {
    let (mut store, []) = pool(limits, []);
    for _ in 0..callers {
        wait(&mut store);
    }
    store
}

#[test]
fn waiters_want_as_many_connections_as_have_room_for_all_of_them() {
    for (callers, max_uses, expected) in [
        (1, None, 1),
        (4, None, 1),
        (5, None, 2),
        (8, Some(2), 4),
        (8, Some(100), 2),
    ] {
        let limits = Limits {
            max_uses,
            ..sharing()
        };
        let store = waiting(limits, callers);
        assert_eq!(store.shares_wanted(0), expected, "{callers}, {max_uses:?}");
    }
}

#[test]
fn no_connection_comes_in_a_closed_pool_one_that_its_budget_refuses_or_one_that_waits_after_a_failure()
 {
    assert_eq!(waiting(sharing(), 8).connects_coming(), 2);
    let mut store = waiting(sharing(), 8);
    store.is_closed = true;
    assert_eq!(store.connects_coming(), 0);
    let mut store = waiting(sharing(), 8);
    let asked = store.ask(at(0));
    store.note_told(asked, at(0), at(20));
    store.start_ticks(at(1));
    assert_eq!(store.connects_coming(), 0);
    let mut store = waiting(sharing(), 8);
    let opening = store.open(at(0)).expect("it is wanted");
    store.connect_failed(opening.key, ConnectError::transient("no"), at(0));
    store.release(opening.key);
    assert!(store.pacer.not_before() > at(0), "the seed draws a delay");
    assert_eq!(store.connects_coming(), 0);
    store.start_ticks(store.pacer.not_before());
    assert!(store.connects_coming() > 0);
}

#[test]
fn a_suspect_with_leases_is_replaced_unless_a_later_connection_is_there() {
    let (mut store, [suspect, other]) = pool(sharing(), ["suspect", "other"]);
    let leases = [0; 2].map(|_| take(&mut store));
    assert!([suspect, other].map(|key| store.slots.get(key).load) == [1, 1]);
    let record = store.slots.get_mut(suspect);
    (record.is_suspected, record.suspected_at) = (true, at(5));
    store.need.may_have_outgoing = true;
    assert_eq!(store.shares_wanted(0), 1, "the other one was there before");
    store.slots.get_mut(other).born = at(5);
    assert_eq!(store.shares_wanted(0), 0);
    store.slots.get_mut(other).born = at(4);
    for lease in leases {
        store.give_back_share(lease, Condition::Clean);
    }
    assert_eq!(store.shares_wanted(0), 0, "neither is used");
}

#[test]
fn only_what_has_leases_or_can_be_replaced_is_in_service() {
    let (mut store, [key]) = pool(sharing(), ["one"]);
    assert!(!store.is_in_service(store.slots.get(key)));
    let lease = take(&mut store);
    assert!(store.is_in_service(store.slots.get(key)));
    store.slots.get_mut(key).close_reason = Some(CloseReason::Shrunk);
    assert!(
        store.is_in_service(store.slots.get(key)),
        "its caller has it"
    );
    store.slots.get_mut(key).close_reason = None;
    store.give_back_share(lease, Condition::Clean);
    assert!(!store.is_in_service(store.slots.get(key)));
}

#[test]
fn a_suspect_or_a_superseded_connection_is_looked_at_again() {
    for (is_suspected, superseded, expected) in [
        (false, None, false),
        (true, None, true),
        (false, Some(CloseReason::Evicted), true),
    ] {
        let (mut store, [key]) = pool(sharing(), ["one"]);
        take(&mut store);
        let record = store.slots.get_mut(key);
        (record.is_suspected, record.superseded) = (is_suspected, superseded);
        store.need.may_have_outgoing = true;
        store.close_irreplaceable();
        assert_eq!(store.need.may_have_outgoing, expected, "{is_suspected}");
    }
}

#[test]
fn a_suspect_goes_when_there_are_too_many_and_nothing_else() {
    let (mut store, [first, suspect]) = pool(sharing(), ["first", "suspect"]);
    let leases = [0; 2].map(|_| take(&mut store));
    store.slots.get_mut(suspect).is_suspected = true;
    store.limits.min_idle = 3;
    let opening = store.open(at(1)).expect("it is wanted");
    store.limits.max_size = 2;
    store.opened(opening.key, "third", at(1));
    assert_eq!(closed(effects(&mut store)), [], "it has a lease");
    for lease in leases {
        store.give_back_share(lease, Condition::Clean);
    }
    let expected = ("suspect", CloseReason::CheckFailed);
    assert_eq!(closed(effects(&mut store)), [expected]);
    let reasons = [first, opening.key].map(|key| store.slots.get(key).close_reason);
    assert_eq!(reasons, [None, None]);
}

/// Of three connections, where there is room for two.
#[test]
fn when_a_suspicion_is_cleared_one_that_is_to_be_replaced_goes_or_else_the_newest() {
    const SHRUNK: Option<CloseReason> = Some(CloseReason::Shrunk);
    for (cleared, superseded, proof, expected) in [
        (0, None, None, [None, None, SHRUNK]),
        (2, None, None, [None, SHRUNK, None]),
        (0, Some(0), None, [SHRUNK, None, None]),
        (0, Some(1), None, [None, SHRUNK, None]),
        (0, None, Some(2), [None; 3]),
    ] {
        let names = ["first", "second", "third"];
        let (mut store, keys) = pool(sharing(), names);
        for _ in names {
            take(&mut store);
        }
        store.slots.get_mut(keys[cleared]).is_suspected = true;
        if let Some(place) = proof {
            store.slots.get_mut(keys[place]).is_proof = true;
        }
        if let Some(place) = superseded {
            store.slots.get_mut(keys[place]).superseded = Some(CloseReason::Lifetime);
        }
        store.limits.max_size = 2;
        let id = store.slots.get(keys[cleared]).id;
        store.suspect(keys[cleared], id, false);
        let reasons = keys.map(|key| store.slots.get(key).close_reason);
        assert_eq!(reasons, expected, "{cleared}, {superseded:?}, {proof:?}");
    }
}

#[test]
fn a_heavy_connection_is_replaced_also_if_it_hangs_and_keeps_an_earlier_reason() {
    let (mut store, [heavy, outgoing]) = pool(sharing(), ["heavy", "outgoing"]);
    for _ in 0..2 {
        take(&mut store);
    }
    store.slots.get_mut(heavy).is_suspected = true;
    store.slots.get_mut(outgoing).superseded = Some(CloseReason::Lifetime);
    for key in [heavy, outgoing] {
        store.supersede_heavy(key);
    }
    let superseded = [heavy, outgoing].map(|key| store.slots.get(key).superseded);
    let expected = [CloseReason::Overweight, CloseReason::Lifetime].map(Some);
    assert_eq!(superseded, expected);
}

#[test]
fn an_unused_connection_is_closed_when_its_idle_timeout_is_over() {
    let limits = Limits {
        idle_timeout: Some(10 * SECOND),
        ..sharing()
    };
    let (mut store, [_, used]) = pool(limits, ["unused", "used"]);
    take(&mut store);
    let lent = store.slots.get(used).load == 1;
    let due = at(10).after(TICK);
    assert_eq!(store.expire_shares(at(9)), due);
    assert_eq!(closed(effects(&mut store)), []);
    store.expire_shares(due);
    let name = if lent { "unused" } else { "used" };
    assert_eq!(closed(effects(&mut store)), [(name, CloseReason::Idle)]);
    store.expire_shares(at(60));
    assert_eq!(closed(effects(&mut store)), [], "it has a lease");
}

#[test]
fn a_smaller_pool_keeps_one_that_is_to_be_replaced_if_the_other_hangs() {
    let (mut store, [old, suspect]) = pool(sharing(), ["old", "suspect"]);
    for _ in 0..3 {
        take(&mut store);
    }
    store.slots.get_mut(old).load = 1;
    store.slots.get_mut(suspect).load = 2;
    store.slots.get_mut(old).superseded = Some(CloseReason::Lifetime);
    store.slots.get_mut(suspect).is_suspected = true;
    store.limits.max_size = 1;
    store.shrink_shares();
    assert_eq!(take(&mut store).slot, old);
}

/// Of two that are too many when the third one breaks.
#[test]
fn the_newest_surplus_connection_is_lent_again_unless_it_is_to_be_replaced() {
    for (superseded, expected) in [(None, 1), (Some(1), 0)] {
        let names = ["first", "second", "third"];
        let (mut store, keys) = pool(sharing(), names);
        for _ in names {
            take(&mut store);
        }
        if let Some(place) = superseded {
            store.slots.get_mut(keys[place]).superseded = Some(CloseReason::Lifetime);
        }
        store.limits.max_size = 1;
        for key in &keys[..2] {
            store.mark_for_close(*key, CloseReason::Shrunk);
        }
        store.died(keys[2], store.slots.get(keys[2]).id, None);
        assert_eq!(take(&mut store).slot, keys[expected], "{superseded:?}");
    }
}

#[test]
fn a_smaller_pool_gives_up_first_what_is_to_be_replaced() {
    let (mut store, [old, fresh]) = pool(sharing(), ["old", "fresh"]);
    for _ in 0..3 {
        take(&mut store);
    }
    store.slots.get_mut(old).load = 2;
    store.slots.get_mut(fresh).load = 1;
    store.slots.get_mut(old).superseded = Some(CloseReason::Lifetime);
    store.limits.max_size = 1;
    store.shrink_shares();
    let reasons = [old, fresh].map(|key| store.slots.get(key).close_reason);
    assert_eq!(reasons, [Some(CloseReason::Shrunk), None]);
}
