//! The protocol of the eras with sessions: revisions 2025-03-26 to 2025-11-25.
//!
//! | file | what it decides |
//! |---|---|
//! | `endpoint` | what each HTTP method does; which headers a request needs |
//! | `asker` | who asks which server; which session a request names |
//! | `initialize` | how a session begins |
//! | `requests` | which messages reach a child, and which are answered here |
//! | `call` | what a request yields before its reply, and how it ends |
//! | `failure` | what a client is told of a request without a reply |
//! | `delivery` | when an answer is one message and when a stream |
//! | `listener` | the stream that a client keeps open |

mod asker;
mod call;
mod delivery;
mod endpoint;
mod failure;
mod initialize;
mod listener;
mod requests;

pub(crate) use asker::Asker;
pub(crate) use endpoint::serve;
