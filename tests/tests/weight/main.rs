//! Connections that are too heavy: replaced, killed, and what a budget does about all of them.

mod budgets;
mod exclusive;
mod late_weights;
mod shared;
mod suspects;
