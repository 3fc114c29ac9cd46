//! What a slot's record says of its connection, and how slots are counted.

use super::cases::limits;
use crate::id::{CloseReason, ConnectionId};
use crate::store::slots::{SlotRecord, Slots, State};
use crate::store::{Limits, Sharing, TargetLeases};
use crate::time::Time;

const BORN: Time = Time::from_millis(10);
const LATER: Time = Time::from_millis(11);

/// A slot in this state, which has these properties.
fn record(state: State, set: impl FnOnce(&mut SlotRecord)) -> SlotRecord {
    let mut slots = Slots::default();
    let key = slots.insert(SlotRecord::opening(ConnectionId::from_u64(1), BORN, 0));
    set(slots.set_state(key, state));
    slots.remove(key)
}

fn sharing() -> Limits {
    Limits {
        sharing: Sharing {
            target_leases: TargetLeases::Fixed(2),
            max_leases: 4,
            max_surge: 1,
        },
        ..limits()
    }
}

#[test]
fn a_connection_is_stale_when_it_was_neither_used_nor_checked_since() {
    assert!(!record(State::Idle, |_| {}).is_stale(BORN));
    assert!(record(State::Idle, |_| {}).is_stale(LATER));
    assert!(!record(State::Idle, |record| record.used = LATER).is_stale(LATER));
    assert!(!record(State::Idle, |record| record.proven = LATER).is_stale(LATER));
    assert!(!record(State::Leased, |record| record.load = 1).is_stale(LATER));
}

#[test]
fn a_shared_connection_is_lent_as_far_as_its_leases_and_its_uses_permit() {
    let limits = sharing();
    let used = |load, uses, promised| {
        record(State::Leased, |record| {
            (record.load, record.uses, record.promised) = (load, uses, promised);
            record.uses_max = 6;
        })
    };
    for (record, room) in [
        (used(1, 0, 0), 3),
        (used(4, 0, 0), 0),
        (used(1, 3, 1), 2),
        (used(1, 4, 1), 1),
        (used(1, 4, 2), 0),
        (used(1, 6, 0), 0),
    ] {
        assert_eq!(record.room(&limits), room, "{record:?}");
        assert_eq!(record.may_be_lent(&limits, BORN), room > 0, "{record:?}");
    }
    let suspected = record(State::Leased, |record| record.is_suspected = true);
    let marked = record(State::Leased, |record| {
        record.close_reason = Some(CloseReason::Died);
    });
    for unlent in [suspected, marked] {
        assert_eq!(unlent.room(&limits), 0);
        assert!(!unlent.may_be_lent(&limits, BORN));
    }
    let stale = record(State::Idle, |_| {});
    assert!(stale.may_be_lent(&limits, BORN));
    assert!(!stale.may_be_lent(&limits, LATER));
}

#[test]
fn what_goes_leaves_soon_unless_it_hangs_with_leases() {
    let marked = Some(CloseReason::Overweight);
    for (state, close_reason, is_suspected, load, expected) in [
        (State::Leased, None, false, 1, false),
        (State::Leased, None, true, 1, false),
        (State::Leased, marked, false, 1, true),
        (State::Leased, marked, true, 1, false),
        (State::Idle, marked, true, 0, true),
        (State::Closing, marked, true, 1, true),
        (State::Opening, None, false, 0, true),
    ] {
        let record = record(state, |record| {
            record.close_reason = close_reason;
            record.is_suspected = is_suspected;
            record.load = load;
        });
        assert_eq!(record.leaves_soon(), expected, "{record:?}");
    }
}

#[test]
fn a_superseded_or_suspected_connection_is_replaced_until_it_is_marked() {
    let evicted = Some(CloseReason::Evicted);
    for (superseded, is_suspected, close_reason, needs_replacement, is_fresh) in [
        (None, false, None, false, true),
        (evicted, false, None, true, false),
        (None, true, None, true, false),
        (evicted, true, None, true, false),
        (evicted, true, evicted, false, false),
        (None, false, evicted, false, false),
    ] {
        let record = record(State::Leased, |record| {
            record.superseded = superseded;
            record.is_suspected = is_suspected;
            record.close_reason = close_reason;
        });
        assert_eq!(record.needs_replacement(), needs_replacement, "{record:?}");
        assert_eq!(record.is_fresh(), is_fresh, "{record:?}");
        assert_eq!(record.is_in_spread(), is_fresh, "{record:?}");
        let is_superseded = superseded.is_some() && close_reason.is_none();
        assert_eq!(record.is_superseded(), is_superseded, "{record:?}");
    }
    let spare = record(State::Idle, |record| record.spare = true);
    assert!(spare.is_fresh() && !spare.is_in_spread());
}

#[test]
fn leases_of_two_generations_are_active_and_a_check_is_a_use() {
    let record = |recent, load, holds| {
        record(State::Idle, |record| {
            (record.recent, record.load, record.holds) = (recent, load, holds);
        })
    };
    assert_eq!(record([2, 3], 9, 0).active(), 5);
    assert!(record([0, 0], 0, 0).is_unused());
    assert!(!record([0, 0], 1, 0).is_unused());
    assert!(!record([0, 0], 0, 1).is_unused());
}

#[test]
fn slots_are_counted_by_their_state_and_late_ones_apart() {
    let mut slots = Slots::default();
    let opening = |slots: &mut Slots, id| {
        slots.insert(SlotRecord::opening(ConnectionId::from_u64(id), BORN, 0))
    };
    let [first, second, third] = [1, 2, 3].map(|id| opening(&mut slots, id));
    slots.set_late(first);
    slots.set_late(first);
    slots.set_late(second);
    assert_eq!(
        (slots.late(State::Opening), slots.on_time(State::Opening)),
        (2, 1)
    );
    assert_eq!(slots.busy_on_time(), [third]);
    slots.set_state(first, State::Idle);
    assert_eq!(slots.late(State::Opening), 1, "it has ended");
    slots.set_state(third, State::Leased);
    assert_eq!(slots.busy_on_time(), [], "neither is busy");
    assert_eq!((slots.open(), slots.serving(), slots.len()), (2, 3, 3));
    assert_eq!(slots.kept(), 2, "the connect of the second hangs");
    slots.get_mut(third).close_reason = Some(CloseReason::Reclaimed);
    assert_eq!(slots.kept(), 1, "the third was given up");
    assert!(slots.has_no_room_for(first, 1));
    assert!(!slots.has_no_room_for(first, 2), "a connect may fail");
    assert!(slots.has_no_room_for(second, 2), "its connect succeeds");
    assert!(!slots.has_no_room_for(second, 3));
    slots.set_state(first, State::Closing);
    assert_eq!((slots.open(), slots.serving(), slots.len()), (1, 2, 3));
    assert!(!slots.has_no_room_for(third, 1), "the first serves nobody");
    slots.remove(second);
    assert_eq!(slots.late(State::Opening), 0);
    assert_eq!((slots.serving(), slots.len()), (1, 2));
    assert!(slots.has_no_room_for(third, 0));
    let fourth = opening(&mut slots, 4);
    assert_eq!(slots.get(fourth).id, ConnectionId::from_u64(4));
    assert!(slots.find(second, ConnectionId::from_u64(2)).is_none());
    for state in [State::Checking, State::Returning] {
        slots.set_state(fourth, state);
        assert_eq!(slots.busy_on_time(), [fourth]);
        assert_eq!((slots.open(), slots.serving()), (2, 2));
    }
}

#[test]
fn connects_resets_and_checks_are_busy_side_by_side() {
    let mut slots = Slots::default();
    let states = [State::Opening, State::Returning, State::Checking];
    let keys = states.map(|state| {
        let key = slots.insert(SlotRecord::opening(ConnectionId::from_u64(1), BORN, 0));
        slots.set_state(key, state);
        key
    });
    assert_eq!(slots.busy_on_time(), keys);
}
