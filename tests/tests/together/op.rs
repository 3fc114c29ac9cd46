//! What can happen in a history.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use crate::terms::{CLOSE_TIMEOUT, PLACES};

/// One operation. Numbers of callers, leases and connections are taken modulo those that there are.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A caller asks for a connection of this place.
    Acquire(usize),
    /// A caller that waits leaves.
    Abandon(usize),
    Return(usize),
    Discard(usize),
    /// An exclusive connection leaves its pool, and is dropped.
    Detach(usize),
    /// A connection weighs this much from now on.
    Weigh(usize, u64),
    /// A connection dies.
    Die(usize),
    ResizeBudget(usize),
    /// Of the pools without keys: the exclusive one, or the shared one.
    ResizePool(usize, usize),
    /// All connections of a place are evicted. A key is dropped if it is not in use.
    Evict(usize),
    Hold(usize),
    /// The handle of a key is dropped.
    LetGo(usize),
    /// A pool without keys, or a keyed pool, is closed.
    Close(usize),
    /// How connects of a place go from now on.
    Connects(usize, Connects),
    /// Closes of a place do not end any more, or all of them end.
    HoldCloses(usize, bool),
    Pass(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connects {
    Quick,
    Slow,
    Fail,
}

pub(crate) fn histories() -> impl Strategy<Value = Vec<Op>> {
    let some = prop_oneof![
        60 => op().prop_map(|op| vec![op]),
        1 => (0..PLACES.len()).prop_map(dropped_in_backoff),
        1 => (0..PLACES.len()).prop_map(stuck_in_its_close),
    ];
    let parts = prop::collection::vec(some, 10..90);
    parts.prop_map(|parts| parts.into_iter().flatten().collect())
}

/// A connect fails, its key is dropped, and another caller comes while the delay lasts.
fn dropped_in_backoff(place: usize) -> Vec<Op> {
    vec![
        Op::Connects(place, Connects::Fail),
        Op::Acquire(place),
        Op::Evict(place),
        Op::Connects(place, Connects::Quick),
        Op::Acquire(place),
    ]
}

/// The closes of a place take longer than their timeout, and its callers come again.
fn stuck_in_its_close(place: usize) -> Vec<Op> {
    vec![
        Op::HoldCloses(place, true),
        Op::Evict(place),
        Op::Acquire(place),
        Op::Discard(0),
        Op::Pass(CLOSE_TIMEOUT),
        Op::Acquire(place),
        Op::Pass(Duration::from_secs(3)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let place = || 0..PLACES.len();
    let any = || 0..12_usize;
    let weights = select(vec![0, 5, 20, 29, 31, 40, 59, 61, 80]);
    let times = select(vec![20, 150, 400, 700, 1300, 2500, 6000, 12_000, 45_000]);
    let connects = select(vec![
        Connects::Quick,
        Connects::Quick,
        Connects::Slow,
        Connects::Fail,
    ]);
    prop_oneof![
        24 => place().prop_map(Op::Acquire),
        3 => any().prop_map(Op::Abandon),
        12 => any().prop_map(Op::Return),
        2 => any().prop_map(Op::Discard),
        1 => any().prop_map(Op::Detach),
        6 => (any(), weights).prop_map(|(which, weight)| Op::Weigh(which, weight)),
        2 => any().prop_map(Op::Die),
        3 => (1..7_usize).prop_map(Op::ResizeBudget),
        2 => (0..2_usize, 1..4_usize).prop_map(|(which, size)| Op::ResizePool(which, size)),
        2 => place().prop_map(Op::Evict),
        1 => place().prop_map(Op::Hold),
        1 => place().prop_map(Op::LetGo),
        // Rare, since nothing more happens in what is closed.
        1 => prop_oneof![1 => (0..4_usize).prop_map(Op::Close), 5 => place().prop_map(Op::Acquire)],
        2 => (place(), connects).prop_map(|(place, connects)| Op::Connects(place, connects)),
        2 => (place(), any()).prop_map(|(place, dice)| Op::HoldCloses(place, dice < 4)),
        14 => times.prop_map(|millis| Op::Pass(Duration::from_millis(millis))),
    ]
}
