//! JSON-RPC over the pipes of a child: many calls at once, told apart by ids.
//!
//! | file | what it decides |
//! |---|---|
//! | `scan` | where the id, the method and the body of a message are |
//! | `table` | which call a reply belongs to, and what becomes of a reply that belongs to none |
//! | `notices` | to whom goes what a child says unasked |
#![expect(dead_code, reason = "what uses it comes next")]

mod notices;
mod scan;
mod table;

pub use notices::{Notice, Notices, Notification, Progress};
