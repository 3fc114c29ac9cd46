//! The protocol of revision 2026-07-28, which has no sessions, in front of children that speak an earlier one.
//!
//! | file | what it decides |
//! |---|---|
//! | `metadata` | whether what a request says of itself is complete, and its headers say the same |
//! | `arguments` | whether headers repeat the arguments of a call as the tool's schema wants |
//! | `stateless` | which messages reach a child, and which are answered here |
//! | `translation` | what of a child's reply has to be said differently |
//! | `subscription` | the stream of a client that wants to be told of changes |

mod arguments;
mod metadata;
mod stateless;
mod subscription;
mod translation;

pub(crate) use metadata::{is_named, speaks};
pub(crate) use stateless::post;
