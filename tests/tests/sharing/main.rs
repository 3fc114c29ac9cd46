//! Pools whose connections serve many callers at once.

mod bed;
mod checking;
mod crowd;
mod ending;
mod events;
mod lending;
mod replacing;
mod rolling;
mod shrinking;
mod spreading;
