//! When a shared connection is replaced, serves no more, or is closed.

use std::panic::Location;

use super::cases::{SECOND, at};
use super::lent_shares::{Pool, closed, effects, open, pool, sharing, take, wait};
use crate::error::ConnectError;
use crate::event::EventKind;
use crate::id::CloseReason;
use crate::store::{
    Condition, Lending, Limits, Multiplexed, ShareKey, SlotKey, Weight, WeightReading,
};
use crate::time::Time;

#[test]
fn a_connection_that_was_used_lately_serves_until_it_is_replaced() {
    let (mut store, [key]) = pool(sharing(), ["one"]);
    let serves = |store: &Pool| Multiplexed::serves_until_replaced(store, store.slots.get(key));
    assert!(!serves(&store), "it was never used");
    let share = take(&mut store);
    assert!(serves(&store));
    store.give_back_share(share, Condition::Clean);
    assert!(serves(&store));
    store.start_ticks(at(9));
    assert!(serves(&store), "used in the last ten seconds");
    store.start_ticks(at(10));
    assert!(!serves(&store));
    let share = take(&mut store);
    store.start_ticks(at(60));
    assert!(serves(&store), "however long a lease lasts");
    store.give_back_share(share, Condition::Clean);
    store.start_ticks(at(90));
    wait(&mut store);
    store.limits.min_idle = 2;
    let opening = store.open(at(90)).expect("min_idle wants it");
    let record = store.slots.get_mut(opening.key);
    (record.uses, record.load) = (1, 1);
    let record = store.slots.get(opening.key);
    assert!(
        !Multiplexed::serves_until_replaced(&store, record),
        "it is not open"
    );
}

#[test]
fn a_connection_can_be_replaced_if_there_is_room_or_another_is_being_opened() {
    for (max_size, max_surge, is_opening, expected) in [
        (1, 0, false, false),
        (1, 1, false, true),
        (2, 0, false, true),
        (2, 0, true, true),
    ] {
        let mut limits = sharing();
        limits.max_size = max_size;
        limits.sharing.max_surge = max_surge;
        let (mut store, [key]) = pool(limits, ["one"]);
        take(&mut store);
        if is_opening {
            store.limits.min_idle = 2;
            assert!(store.open(at(0)).is_some());
        }
        let record = store.slots.get(key);
        let serves = Multiplexed::serves_until_replaced(&store, record);
        assert_eq!(serves, expected, "{max_size}, {max_surge}, {is_opening}");
    }
}

#[test]
fn a_superseded_connection_is_closed_when_it_was_unused_for_ten_seconds() {
    let (mut store, [_]) = pool(sharing(), ["one"]);
    let share = take(&mut store);
    store.give_back_share(share, Condition::Clean);
    store.sweep(at(1));
    store.sweep(at(2));
    assert_eq!(
        store.alarm(),
        Time::NEVER,
        "there is no reason to look at it"
    );
    assert_eq!(store.evict(|_| true), 1);
    store.set_alarm(at(3));
    store.sweep(at(3));
    assert_eq!(store.alarm(), at(10));
    assert_eq!(closed(effects(&mut store)), [], "it is replaced first");
    store.sweep(at(10));
    assert_eq!(closed(effects(&mut store)), [("one", CloseReason::Evicted)]);
    assert_eq!(store.alarm(), Time::NEVER);
}

#[test]
fn a_connection_that_is_being_checked_is_neither_idle_for_too_long_nor_shed() {
    let limits = Limits {
        idle_timeout: Some(SECOND),
        ..sharing()
    };
    let (mut store, [key]) = pool(limits, ["one"]);
    store.slots.get_mut(key).weight = 50;
    store.total_weight = 50;
    store.slots.get_mut(key).holds = 1;
    store.sweep(at(5));
    assert_eq!(store.shed_idle(10), 0);
    assert_eq!(closed(effects(&mut store)), []);
    store.slots.get_mut(key).holds = 0;
    assert_eq!(store.shed_idle(10), 50);
    assert_eq!(
        closed(effects(&mut store)),
        [("one", CloseReason::Overweight)]
    );
}

#[test]
fn a_connection_is_closed_at_the_end_of_its_lifetime() {
    let (mut store, [key]) = pool(sharing(), ["one"]);
    store.slots.get_mut(key).expires = at(60);
    store.sweep(at(1));
    store.sweep(at(2));
    assert_eq!(store.alarm(), at(60));
    store.sweep(at(60));
    assert_eq!(
        closed(effects(&mut store)),
        [("one", CloseReason::Lifetime)]
    );
}

#[test]
fn an_unused_connection_that_is_too_heavy_is_killed() {
    let limits = Limits {
        kill_weight: Some(100),
        ..sharing()
    };
    let (mut store, [key]) = pool(limits, ["one"]);
    let id = store.slots.get(key).id;
    let reading = |weight| WeightReading { key, id, weight };
    assert_eq!(
        store
            .weighed(&[reading(Weight::Measured(100))], at(1))
            .change,
        100
    );
    assert_eq!(closed(effects(&mut store)), []);
    assert_eq!(
        store
            .weighed(&[reading(Weight::Measured(101))], at(2))
            .change,
        1
    );
    assert_eq!(closed(effects(&mut store)), [("one", CloseReason::Killed)]);
}

#[test]
fn a_dead_connection_is_closed_when_its_last_lease_ends() {
    let (mut store, [unused, leased]) = pool(sharing(), ["unused", "leased"]);
    let share = take(&mut store);
    let (lent, other) = if share.slot == leased {
        (("leased", leased), ("unused", unused))
    } else {
        (("unused", unused), ("leased", leased))
    };
    for (_, key) in [lent, other] {
        store.died(key, store.slots.get(key).id, None);
    }
    let owed = effects(&mut store);
    let deaths = owed.events.iter();
    let deaths = deaths.filter(|(_, kind)| matches!(kind, EventKind::Died { .. }));
    assert_eq!(deaths.count(), 2);
    assert_eq!(closed(owed), [(other.0, CloseReason::Died)]);
    assert!(store.take_share(Location::caller()).is_none());
    store.give_back_share(share, Condition::Clean);
    assert_eq!(closed(effects(&mut store)), [(lent.0, CloseReason::Died)]);
}

#[test]
fn the_first_reason_stands_unless_the_connection_breaks_after_an_order() {
    use CloseReason::{Died, Dirty, Evicted, Lifetime};
    for (first, second, stands) in [
        (Evicted, Lifetime, Evicted),
        (Evicted, Died, Died),
        (Died, Evicted, Died),
        (Died, Dirty, Died),
        (Dirty, Died, Dirty),
    ] {
        let (mut store, [key]) = pool(sharing(), ["one"]);
        take(&mut store);
        store.mark_for_close(key, first);
        let is_unfit = store.slots.get(key).unfit_at.is_some();
        assert_eq!(is_unfit, !first.is_orderly(), "{first}");
        store.mark_for_close(key, second);
        assert_eq!(store.slots.get(key).close_reason, Some(stands));
        let events = effects(&mut store).events.into_iter();
        let deaths = events.filter(|(_, kind)| matches!(kind, EventKind::Died { .. }));
        assert_eq!(deaths.count(), usize::from(stands == Died), "{first}");
    }
}

#[test]
fn a_suspected_connection_is_not_lent_and_another_is_opened_beside_it() {
    let (mut store, [key]) = pool(sharing(), ["one"]);
    let share = take(&mut store);
    drop(effects(&mut store));
    let id = store.slots.get(key).id;
    store.suspect(key, id, true);
    assert!(effects(&mut store).kick);
    assert!(store.take_share(Location::caller()).is_none());
    assert!(store.open(at(0)).is_some());
    assert!(store.open(at(0)).is_none(), "one is enough");
    store.suspect(key, id, false);
    assert!(effects(&mut store).kick);
    assert_eq!(take(&mut store).slot, key);
    store.give_back_share(share, Condition::Clean);
}

/// Another connection that was opened since then replaces it, so a suspicion that is told again must not begin anew.
#[test]
fn a_suspicion_that_is_told_again_counts_from_its_beginning() {
    let (mut store, [key]) = pool(sharing(), ["one"]);
    let id = store.slots.get(key).id;
    for (now, is_suspected, since) in [(1, true, 1), (2, true, 1), (3, false, 1), (4, true, 4)] {
        store.tick = at(now);
        store.suspect(key, id, is_suspected);
        assert_eq!(store.slots.get(key).suspected_at, at(since), "{now}");
    }
}

#[test]
fn a_suspected_connection_without_leases_needs_no_other() {
    let (mut store, [key]) = pool(sharing(), ["one"]);
    store.suspect(key, store.slots.get(key).id, true);
    assert!(store.open(at(0)).is_none());
}

#[test]
fn a_suspect_is_given_up_if_there_are_too_many_with_its_replacement() {
    for (max_size, expected) in [
        (1, vec![("one", CloseReason::CheckFailed)]),
        (2, Vec::new()),
    ] {
        let limits = Limits {
            max_size,
            ..sharing()
        };
        let (mut store, [key]) = pool(limits, ["one"]);
        let share = take(&mut store);
        store.suspect(key, store.slots.get(key).id, true);
        open(&mut store, "two", at(0));
        store.give_back_share(share, Condition::Clean);
        assert_eq!(closed(effects(&mut store)), expected);
    }
}

#[test]
fn a_suspect_without_leases_goes_as_soon_as_another_is_open() {
    let limits = Limits {
        max_size: 1,
        ..sharing()
    };
    let (mut store, [key]) = pool(limits, ["one"]);
    store.suspect(key, store.slots.get(key).id, true);
    assert_eq!(closed(effects(&mut store)), [], "it may be cleared");
    wait(&mut store);
    open(&mut store, "two", at(0));
    drop(store.take_served());
    let expected = [("one", CloseReason::CheckFailed)];
    assert_eq!(closed(effects(&mut store)), expected);
}

#[test]
fn a_suspect_that_is_cleared_in_time_stays_and_its_replacement_goes() {
    for (max_size, is_used) in [(1, false), (1, true), (2, false)] {
        let limits = Limits {
            max_size,
            ..sharing()
        };
        let (mut store, [key]) = pool(limits, ["one"]);
        let long = take(&mut store);
        let id = store.slots.get(key).id;
        store.suspect(key, id, true);
        open(&mut store, "two", at(0));
        let used = is_used.then(|| take(&mut store));
        store.suspect(key, id, false);
        if let Some(share) = used {
            assert_eq!(closed(effects(&mut store)), [], "it has a lease");
            let next = take(&mut store);
            assert_eq!(next.slot, key, "it is lent again");
            store.give_back_share(share, Condition::Clean);
            store.give_back_share(next, Condition::Clean);
        }
        let expected = [("two", CloseReason::Shrunk)];
        let is_surplus = usize::from(max_size == 1);
        assert_eq!(closed(effects(&mut store)), expected[..is_surplus]);
        store.give_back_share(long, Condition::Clean);
        assert_eq!(closed(effects(&mut store)), [], "{max_size}, {is_used}");
    }
}

/// A pool of one that has a connection, which was suspected and cleared, and its replacement, both with a lease.
fn cleared() -> (Pool, [SlotKey; 2], [ShareKey; 2]) {
    let limits = Limits {
        max_size: 1,
        ..sharing()
    };
    let (mut store, [old]) = pool(limits, ["old"]);
    let first = take(&mut store);
    suspect(&mut store, old, true);
    let new = open(&mut store, "new", at(0));
    let second = take(&mut store);
    assert_eq!(second.slot, new);
    suspect(&mut store, old, false);
    let reason = store.slots.get(new).close_reason;
    assert_eq!(reason, Some(CloseReason::Shrunk));
    drop(effects(&mut store));
    (store, [old, new], [first, second])
}

fn suspect(store: &mut Pool, key: SlotKey, is_suspected: bool) {
    let id = store.slots.get(key).id;
    store.suspect(key, id, is_suspected);
}

#[test]
fn what_replaced_a_suspect_is_lent_again_if_that_is_suspected_again() {
    let (mut store, [old, new], leases) = cleared();
    for _ in 0..3 {
        suspect(&mut store, old, true);
        let next = take(&mut store);
        assert_eq!(next.slot, new);
        suspect(&mut store, old, false);
        store.give_back_share(next, Condition::Clean);
        let next = take(&mut store);
        assert_eq!(next.slot, old, "the replacement is one too many again");
        store.give_back_share(next, Condition::Clean);
    }
    suspect(&mut store, old, true);
    wait(&mut store);
    drop(store.take_served());
    assert_eq!(
        store.slots.get(new).load,
        2,
        "a caller that waits is served"
    );
    for lease in leases {
        store.give_back_share(lease, Condition::Clean);
    }
    let expected = ("old", CloseReason::CheckFailed);
    assert_eq!(closed(effects(&mut store)), [expected]);
}

#[test]
fn what_replaced_a_suspect_is_lent_again_if_that_breaks() {
    let (mut store, [old, new], _) = cleared();
    store.died(old, store.slots.get(old).id, None);
    assert_eq!(take(&mut store).slot, new);
}

#[test]
fn what_replaced_a_suspect_is_lent_again_when_that_is_closed_unused() {
    let (mut store, [old, new], [first, _]) = cleared();
    store.give_back_share(first, Condition::Clean);
    store.retire_share(old, CloseReason::Idle);
    assert_eq!(take(&mut store).slot, new);
}

#[test]
fn what_replaced_a_suspect_is_not_lent_again_in_a_closed_pool() {
    let (mut store, [old, new], _) = cleared();
    store.close();
    suspect(&mut store, old, true);
    let reason = store.slots.get(new).close_reason;
    assert_eq!(reason, Some(CloseReason::Shrunk));
    assert!(store.take_share(Location::caller()).is_none());
}

#[test]
fn what_replaced_a_suspect_and_is_suspected_too_is_lent_again_when_that_is_cleared() {
    let (mut store, [old, new], _) = cleared();
    for key in [new, old] {
        suspect(&mut store, key, true);
    }
    let reason = store.slots.get(new).close_reason;
    assert_eq!(reason, Some(CloseReason::Shrunk));
    suspect(&mut store, new, false);
    assert_eq!(take(&mut store).slot, new);
}

#[test]
fn what_replaced_a_suspect_and_was_evicted_is_to_be_replaced_when_it_is_lent_again() {
    let (mut store, [old, new], _) = cleared();
    let evicted = store.slots.get(new).id;
    assert_eq!(
        store.evict(|id| id == evicted),
        0,
        "it is to be closed anyway"
    );
    suspect(&mut store, old, true);
    assert!(store.slots.get(new).is_superseded());
    assert_eq!(take(&mut store).slot, new);
}

#[test]
fn a_connection_that_is_suspected_at_birth_is_not_closed_for_the_next() {
    let limits = Limits {
        max_size: 1,
        ..sharing()
    };
    let (mut store, [old]) = pool(limits, ["old"]);
    let lease = take(&mut store);
    suspect(&mut store, old, true);
    let opening = store.open(at(0)).expect("a replacement is wanted");
    store.suspect(opening.key, opening.id, true);
    store.opened(opening.key, "new", at(0));
    assert_eq!(closed(effects(&mut store)), []);
    assert!(store.open(at(0)).is_none(), "there is no room");
    // What was used makes room for another one.
    store.give_back_share(lease, Condition::Clean);
    let expected = ("old", CloseReason::CheckFailed);
    assert_eq!(closed(effects(&mut store)), [expected]);
}

#[test]
fn a_surplus_suspect_that_was_never_used_goes_when_another_is_cleared() {
    let (mut store, [first, second]) = pool(sharing(), ["first", "second"]);
    for key in [first, second] {
        suspect(&mut store, key, true);
    }
    store.limits.max_size = 1;
    Multiplexed::close_unused(&mut store);
    assert_eq!(closed(effects(&mut store)), []);
    suspect(&mut store, second, false);
    let expected = ("first", CloseReason::CheckFailed);
    assert_eq!(closed(effects(&mut store)), [expected]);
}

#[test]
fn an_unused_connection_is_not_replaced_before_its_proof_though_another_is_in_use() {
    let (mut store, [unused, used]) = pool(sharing(), ["unused", "used"]);
    store.slots.get_mut(unused).is_suspected = true;
    assert_eq!(take(&mut store).slot, used);
    store.slots.get_mut(unused).is_suspected = false;
    store.start_renewal(30 * SECOND, SECOND, at(0));
    store.sweep(at(0));
    assert_eq!(store.slots.get(unused).superseded, None);
    assert_eq!(closed(effects(&mut store)), []);
}

#[test]
fn without_a_replacement_only_the_last_one_that_was_evicted_for_it_goes_on() {
    let (mut store, [before, last]) = pool(sharing(), ["before", "last"]);
    for key in [before, last] {
        assert_eq!(take(&mut store).slot, key);
    }
    assert_eq!(store.evict(|id| id.as_u64() == 0), 1);
    store.start_renewal(30 * SECOND, SECOND, at(0));
    store.sweep(at(0));
    let evicted = Some(CloseReason::Evicted);
    assert_eq!(store.slots.get(last).superseded, evicted, "it serves on");
    let opening = store.open(at(0)).expect("a replacement is wanted");
    store.connect_failed(opening.key, ConnectError::transient("no"), at(1));
    assert_eq!(store.slots.get(last).superseded, None);
    assert_eq!(store.slots.get(before).superseded, evicted);
}

#[test]
fn a_proof_that_is_evicted_during_its_check_is_closed_once_and_after_it() {
    let (mut store, [_]) = pool(sharing(), ["old"]);
    store.start_renewal(30 * SECOND, SECOND, at(0));
    let opening = store.open(at(0)).expect("a proof is wanted");
    store.opened(opening.key, "new", at(0));
    assert_eq!(store.evict(|_| true), 2);
    let evicted = CloseReason::Evicted;
    assert_eq!(closed(effects(&mut store)), [("old", evicted)]);
    store.checked_share(opening.key, Some(Ok(())), at(1));
    let effects = effects(&mut store);
    let is_end = |(_, kind): &&(u64, EventKind)| {
        matches!(kind, EventKind::Checked { .. } | EventKind::Closing { .. })
    };
    let ends: Vec<_> = effects.events.iter().filter(is_end).collect();
    assert!(
        matches!(
            ends[..],
            [
                (_, EventKind::Checked { .. }),
                (_, EventKind::Closing { .. })
            ]
        ),
        "{ends:?}"
    );
    assert_eq!(closed(effects), [("new", evicted)]);
}
