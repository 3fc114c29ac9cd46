//! The pools, each behind the same trait, each with its default settings apart from the size.
//!
//! All of them lend the same [`Connection`], which does nothing: what is measured is the pool.

mod bb8;
mod budgeted;
mod connection;
mod deadpool;
mod fastpool;
mod keyed;
mod mobc;
mod ours;
mod r2d2;
mod semaphore;
mod subject;

pub(in crate::pools) use bb8::Bb8;
pub(in crate::pools) use budgeted::BudgetedPool;
pub(in crate::pools) use connection::{Connection, Factory, Refused};
pub(in crate::pools) use deadpool::Deadpool;
pub(in crate::pools) use fastpool::Fastpool;
pub(in crate::pools) use keyed::{ByHandle, ByKey, DashMapOfPools, ManyKeys, OneUseEach};
pub(in crate::pools) use mobc::Mobc;
pub(in crate::pools) use ours::PoolCore;
pub(in crate::pools) use r2d2::R2d2;
pub(in crate::pools) use semaphore::BareSemaphore;
pub(in crate::pools) use subject::{AsyncSubject, BlockingSubject};
pub use subject::{ComparedAs, ServingOrder};
