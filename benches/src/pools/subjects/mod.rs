//! The pools, each behind the same trait, each with its default settings apart from the size.
//!
//! All of them lend the same [`Connection`], which does nothing: what is measured is the pool.

pub mod bb8;
mod connection;
pub mod deadpool;
pub mod fastpool;
pub mod mobc;
pub mod ours;
pub mod r2d2;
pub mod semaphore;
mod subject;

pub use connection::{Connection, Factory, Refused};
pub use subject::{AsyncSubject, BlockingSubject, ComparedAs, ServingOrder};
