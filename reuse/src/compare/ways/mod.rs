//! The ways that are compared. Another way is one more implementation of [`Way`], listed in
//! `program`.

mod child;
mod multiplexed;
mod pooled;
mod spawned;
mod way;

pub(super) use multiplexed::Multiplexed;
pub(super) use pooled::Pooled;
pub(super) use spawned::Spawned;
pub(super) use way::Way;
