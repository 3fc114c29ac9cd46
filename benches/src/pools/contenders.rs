//! The list of all subjects.

use super::contender::Contender;
use super::subjects::{bb8, deadpool, fastpool, mobc, ours, r2d2, semaphore};

/// All subjects, in the order of the tables.
#[must_use]
pub fn contenders() -> Vec<Contender> {
    vec![
        Contender::asynchronous::<ours::Subject>(),
        Contender::asynchronous::<bb8::Subject>(),
        Contender::asynchronous::<deadpool::Subject>(),
        Contender::asynchronous::<fastpool::Subject>(),
        Contender::asynchronous::<mobc::Subject>(),
        Contender::blocking::<r2d2::Subject>(),
        Contender::asynchronous::<semaphore::Subject>(),
    ]
}
