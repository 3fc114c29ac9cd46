//! The protocol of the eras with sessions: revisions 2025-03-26 to 2025-11-25.
//!
//! | file | what it decides |
//! |---|---|
//! | `endpoint` | what each HTTP method does, and which session a request names |
//! | `batch` | how the messages of a batch are answered |
//! | `initialize` | how a session begins |
//! | `requests` | which messages reach a child, and which are answered here |
//! | `own_start` | how a session gets a child of its own, at its begin or later |
//! | `own_requests` | which messages of such a session reach its child |
//! | `listener` | the stream that a client keeps open |

mod batch;
mod endpoint;
mod initialize;
mod listener;
mod own_requests;
mod own_start;
mod requests;

pub(crate) use batch::post_batch;
pub(crate) use endpoint::{delete, get, post};
