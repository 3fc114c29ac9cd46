//! What can happen to a shared pool, and how it is drawn.

use proptest::prelude::*;

use crate::id::CloseReason;
use crate::store::{Condition, Sharing, TargetLeases};

#[derive(Debug, Clone)]
pub(super) enum Op {
    Acquire,
    Cancel(usize),
    Return(usize, Condition),
    Open,
    ConnectSucceeds(usize),
    ConnectFails(usize),
    Dies(usize),
    Suspect(usize, bool),
    Evict(usize),
    EvictAll,
    /// Replaces all within so many milliseconds.
    Renew(u64),
    Resize(usize),
    Wait(u64),
    CheckEnds(usize, bool),
    CloseEnds(usize),
    Close,
}

pub(super) fn ops() -> impl Strategy<Value = Op> {
    let which = 0..64_usize;
    let condition = prop_oneof![
        8 => Just(Condition::Clean),
        1 => Just(Condition::Unfit(CloseReason::Died)),
        1 => Just(Condition::Unfit(CloseReason::Discarded)),
    ];
    prop_oneof![
        24 => Just(Op::Acquire),
        3 => which.clone().prop_map(Op::Cancel),
        16 => (which.clone(), condition).prop_map(|(which, how)| Op::Return(which, how)),
        10 => Just(Op::Open),
        10 => which.clone().prop_map(Op::ConnectSucceeds),
        1 => which.clone().prop_map(Op::ConnectFails),
        2 => which.clone().prop_map(Op::Dies),
        4 => (which.clone(), any::<bool>()).prop_map(|(which, how)| Op::Suspect(which, how)),
        2 => which.clone().prop_map(Op::Evict),
        1 => Just(Op::EvictAll),
        1 => (1..600_u64).prop_map(Op::Renew),
        1 => (1..5_usize).prop_map(Op::Resize),
        6 => (1..400_u64).prop_map(Op::Wait),
        4 => (which.clone(), any::<bool>()).prop_map(|(which, ok)| Op::CheckEnds(which, ok)),
        8 => which.prop_map(Op::CloseEnds),
    ]
}

/// In a third of all histories, the place of the operation before which the pool is closed.
pub(super) fn close_place(operations: usize) -> impl Strategy<Value = Option<usize>> {
    prop_oneof![2 => Just(None), 1 => (0..operations).prop_map(Some)]
}

pub(super) fn sharing() -> impl Strategy<Value = Sharing> {
    let target = (1..4_u32, 0..4_u32).prop_flat_map(|(min, more)| {
        let max = min + more;
        prop_oneof![
            Just((min, TargetLeases::Fixed(min))),
            Just((min, TargetLeases::Adaptive { min, max })),
        ]
    });
    (target, 0..4_u32, 0..3_usize).prop_map(|((least, target_leases), more, max_surge)| Sharing {
        target_leases,
        max_leases: least + more,
        max_surge,
    })
}
