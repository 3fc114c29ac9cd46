//! An observer that checks every event of a pool against the rules of pools.
//!
//! Give a clone of a [`Ledger`] to the pool as its observer, run the test, and end it with
//! [`Ledger::assert_ok`] while the pool lives, or with [`Ledger::assert_settled`] after it closed.
//! Several threads may deliver events out of order: the ledger first puts them back into the order
//! of their numbers.
//!
//! A [`BudgetLedger`] counts the connections of several pools together, against the limit of their budget.
//!
//! A pool ignores panics of its observers, so the ledger does not panic when it sees a breach. It keeps
//! the first breach, with the events that led to it, and checks nothing after it.

mod book;
mod breach;
mod budget_ledger;
#[cfg(test)]
mod mutations;
mod observer;
mod tally;
#[cfg(test)]
mod tests;

pub use breach::{Breach, LedgerRule};
pub use budget_ledger::BudgetLedger;
pub use observer::Ledger;
pub use tally::LedgerCounts;
