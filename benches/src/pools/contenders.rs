//! The lists of subjects: the pool beside others, and what it costs beside itself.

use super::contender::Contender;
use super::subjects::{
    BareSemaphore, Bb8, BudgetedPool, ByHandle, ByKey, DashMapOfPools, Deadpool, Fastpool,
    ManyKeys, Mobc, OneUseEach, PoolCore, R2d2,
};

/// The pool beside others, in the order of the tables.
#[must_use]
pub fn all_contenders() -> Vec<Contender> {
    vec![
        Contender::asynchronous::<PoolCore>(),
        Contender::asynchronous::<Bb8>(),
        Contender::asynchronous::<Deadpool>(),
        Contender::asynchronous::<Fastpool>(),
        Contender::asynchronous::<Mobc>(),
        Contender::blocking::<R2d2>(),
        Contender::asynchronous::<BareSemaphore>(),
    ]
}

/// The pool in a budget, beside the same pool without.
pub(super) fn with_and_without_budget() -> Vec<Contender> {
    vec![
        Contender::asynchronous::<BudgetedPool>(),
        Contender::asynchronous::<PoolCore>().as_peer(),
    ]
}

/// Many keys over few connections, beside one pool that replaces as many connections.
pub(super) fn many_keys_and_one_pool() -> Vec<Contender> {
    vec![
        Contender::asynchronous::<ManyKeys>(),
        Contender::asynchronous::<OneUseEach>(),
    ]
}

/// A pool that is found by a key, in several ways.
pub(super) fn by_key() -> Vec<Contender> {
    vec![
        Contender::asynchronous::<ByKey>(),
        Contender::asynchronous::<ByHandle>(),
        Contender::asynchronous::<DashMapOfPools>(),
        Contender::asynchronous::<PoolCore>().as_peer(),
    ]
}
