//! How a request that reached a child is answered.
//!
//! | file | what it decides |
//! |---|---|
//! | `call` | what a request yields before its reply, and how it ends |
//! | `failure` | what a client is told of a request without a reply |
//! | `streaming` | when an answer is one message and when a stream |

mod call;
mod failure;
mod streaming;

pub(crate) use call::Call;
pub(crate) use failure::{Failure, LATER};
pub(crate) use streaming::{COMMENT_INTERVAL, deliver};
