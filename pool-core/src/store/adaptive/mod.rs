//! The target of leases, learned.

mod ages;
mod experiment;
mod gain;
mod learner;
mod schedule;
mod view;
mod window;

pub(super) use ages::{LeaseAge, LeaseStamp};
pub(super) use learner::TargetLearner;
pub(super) use view::PoolView;
