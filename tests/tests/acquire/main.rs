//! Who gets a connection, in which order, and who is told that there is none.

mod corpses;
mod deadlines;
mod denying;
mod queue;
mod refusals;
mod threads;
