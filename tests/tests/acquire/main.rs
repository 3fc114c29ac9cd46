//! Which caller gets a connection, in which order, and which is refused.

mod cloned_wakers;
mod dead_connections;
mod deadlines;
mod queue;
mod refusals;
mod threads;
