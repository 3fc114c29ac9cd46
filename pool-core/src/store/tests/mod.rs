//! Tests of the store alone: no runtime, no clock, no sleep.

mod against_model;
mod asking;
mod cases;
mod describing;
mod failures;
mod giving_way;
mod learning;
mod lent_shares;
mod model;
mod outgoing_shares;
mod owed;
mod records;
mod renewals;
mod shares;
mod spread_shares;
mod supplying;
mod waiters;
mod weighing;
mod weights_model;
