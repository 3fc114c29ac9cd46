//! One limit that several pools share.

mod accounts;
#[cfg(all(test, not(loom)))]
mod accounts_model;
#[expect(
    clippy::module_inception,
    reason = "the type that users hold, in a file of its name"
)]
mod budget;
mod budget_builder;
mod budget_meters;
mod budget_status;
#[cfg(all(test, loom))]
mod claim_models;
#[cfg(all(test, not(loom)))]
mod filling_up_model;
mod member;
mod membership;
mod pressure;
mod seen_idle;
mod shared_budget;

pub(crate) use accounts::Demand;
pub use budget::Budget;
pub use budget_builder::BudgetBuilder;
pub use budget_status::{BudgetMember, BudgetStatus, BudgetUsage};
pub(crate) use member::Member;
pub(crate) use membership::{BudgetPermit, FreedSlot, MemberTerms, Membership};
pub(crate) use pressure::{Allotment, CLOSE_PATIENCE, Claim, IdleOffer};
