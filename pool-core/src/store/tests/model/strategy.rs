//! Generators of settings and operations. They shrink towards smaller pools, fewer operations, and
//! operations that come first in the lists here.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;

use super::op::{Failure, Home, Limits, Op, Probe};

/// Settings of small pools, in which everything happens soon. The pool's clock is exact; set
/// `tick_ms` and `lifetime_jitter_ms` for one that is not.
pub(crate) fn limits() -> impl Strategy<Value = Limits> {
    let min_idle = prop_oneof![2 => Just(0_usize), 1 => 1..=3_usize];
    let max_waiters = prop_oneof![6 => 1..=4_usize, 1 => Just(0)];
    let sizes = (1..=4_usize, min_idle, max_waiters, 1..=3_usize);
    let times = (
        option::of(200..2000_u64),
        option::of(500..5000_u64),
        option::of(100..1000_u64),
        option::of(100..1000_u64),
    );
    let uses = (option::of(1..=3_u64), any::<bool>());
    (sizes, times, uses).prop_map(|(sizes, times, (max_uses, takes_oldest))| {
        let (max_size, min_idle, max_waiters, max_connecting) = sizes;
        let (idle_timeout_ms, max_lifetime_ms, check_interval_ms, check_after_idle_ms) = times;
        Limits {
            max_size,
            min_idle: min_idle.min(max_size),
            max_waiters,
            max_connecting,
            takes_oldest,
            idle_timeout_ms,
            max_lifetime_ms,
            lifetime_jitter_ms: 0,
            max_uses,
            check_interval_ms,
            check_after_idle_ms,
            tick_ms: 0,
        }
    })
}

/// One operation of any kind but [`Op::Corpse`].
pub(crate) fn op() -> impl Strategy<Value = Op> + Clone {
    prop_oneof![
        12 => timeout().prop_map(|timeout_ms| Op::Acquire { timeout_ms }),
        10 => (nth(), home()).prop_map(|(n, home)| Op::Return(n, home)),
        10 => nth().prop_map(Op::ConnectOk),
        16 => Just(Op::StartConnects),
        8 => nth().prop_map(Op::CloseDone),
        4 => elapsed().prop_map(|ms| Op::Advance { ms }),
        3 => Just(Op::TryAcquire),
        3 => nth().prop_map(Op::CancelWaiter),
        3 => (nth(), probe()).prop_map(|(n, probe)| Op::ResetDone(n, probe)),
        3 => (nth(), probe()).prop_map(|(n, probe)| Op::CheckDone(n, probe)),
        2 => nth().prop_map(Op::Died),
        2 => (nth(), failure()).prop_map(|(n, failure)| Op::ConnectFail(n, failure)),
        2 => (0..=5_usize).prop_map(Op::Resize),
        1 => nth().prop_map(Op::CloseLate),
        1 => nth().prop_map(Op::EvictOne),
        1 => Just(Op::EvictAll),
    ]
}

/// One operation of any kind, for a harness that reaches between a hand-out and its acceptance.
pub(crate) fn op_with_corpses() -> impl Strategy<Value = Op> + Clone {
    prop_oneof![
        24 => op(),
        1 => nth().prop_map(Op::Corpse),
    ]
}

/// One operation of a time in which callers are few: connections come to rest, are checked, and
/// expire.
pub(crate) fn quiet_op() -> impl Strategy<Value = Op> + Clone {
    prop_oneof![
        10 => elapsed().prop_map(|ms| Op::Advance { ms }),
        6 => nth().prop_map(|n| Op::Return(n, Home::Clean)),
        6 => nth().prop_map(Op::ConnectOk),
        5 => nth().prop_map(|n| Op::CheckDone(n, Probe::Passed)),
        4 => nth().prop_map(|n| Op::ResetDone(n, Probe::Passed)),
        4 => nth().prop_map(Op::CloseDone),
        8 => Just(Op::StartConnects),
        2 => Just(Op::TryAcquire),
        1 => (nth(), home()).prop_map(|(n, home)| Op::Return(n, home)),
        1 => nth().prop_map(Op::Died),
    ]
}

/// Up to `len_max` operations: busy times with a quiet one between them. One run in four closes the
/// pool somewhere on its way.
pub(crate) fn ops(len_max: usize) -> impl Strategy<Value = Vec<Op>> {
    let third = 0..=len_max / 3;
    let phases = (
        vec(op(), third.clone()),
        vec(quiet_op(), third.clone()),
        vec(op(), third),
    );
    let close_at = option::weighted(0.25, 0..=len_max);
    (phases, close_at).prop_map(|((mut ops, quiet, busy), close_at)| {
        ops.extend(quiet);
        ops.extend(busy);
        if let Some(at) = close_at {
            ops.insert(at.min(ops.len()), Op::ClosePool);
        }
        ops
    })
}

fn nth() -> impl Strategy<Value = usize> + Clone {
    0..8_usize
}

fn timeout() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![4 => 1..3000_u64, 1 => Just(0)]
}

fn elapsed() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![3 => 1..300_u64, 2 => 300..1500_u64, 1 => 1500..6000_u64]
}

fn home() -> impl Strategy<Value = Home> + Clone {
    prop_oneof![
        8 => Just(Home::Clean),
        3 => Just(Home::NeedsReset),
        1 => Just(Home::Dirty),
        1 => Just(Home::Dead),
        1 => Just(Home::Ended),
        1 => Just(Home::Discard),
        1 => Just(Home::Detach),
    ]
}

fn probe() -> impl Strategy<Value = Probe> + Clone {
    prop_oneof![3 => Just(Probe::Passed), 1 => Just(Probe::Failed)]
}

fn failure() -> impl Strategy<Value = Failure> + Clone {
    prop_oneof![2 => Just(Failure::Transient), 1 => Just(Failure::Permanent)]
}
