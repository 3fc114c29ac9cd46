//! The list of all subjects.

use super::contender::Contender;
use super::subjects::{BareSemaphore, Bb8, Deadpool, Fastpool, Mobc, PoolCore, R2d2};

/// All subjects, in the order of the tables.
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
