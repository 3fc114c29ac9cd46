//! Several pools with one budget: what holds for all of them together, who gets the next connection,
//! and what a pool gives up for another.

mod fairness;
mod giving;
mod keeping;
mod limits;
mod pools;
mod replacing;
mod reserves;
mod shared_pools;
mod soup_of_pools;
mod stuck;
