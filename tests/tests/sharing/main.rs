//! Pools whose connections serve many callers at once.

mod bed;
mod crowd;
mod ending;
mod lending;
mod replacing;
mod reviewed;
mod spreading;
