//! JSON-RPC: many callers on one child, and on several.
//!
//! | file | what it measures or decides |
//! |---|---|
//! | `calls` | calls and forwarding in four places |
//! | `place` | on which cores and runtime clients and child run |
//! | `callers` | calls of 1 to 256 callers on one child, beside rmcp's client |
//! | `forward` | forwarding a megabyte, beside bare pipes |
//! | `lease` | a lease for each request, beside a kept connection |
//! | `exchanges` | an exchange for each request, beside `forward` |
//! | `four_children` | one child beside four, behind one pool |
//! | `sharing` | a shared pool with default settings, beside the best fixed setting |
//! | `client`, `bare` | the clients that are compared: ours, rmcp's, and a caller of bare pipes |
//! | `tool_call` | the call that all of them make |
//! | `lap` | one timed run of a client |
//!
//! The child is the built-in server of `pool-reuse`. All clients call the same tool with the same
//! type of params and parse the same type of result,
//! [`CallToolResult`](rmcp::model::CallToolResult).

mod bare;
mod callers;
mod calls;
mod client;
mod exchanges;
mod forward;
mod four_children;
mod lap;
mod lease;
mod place;
mod sharing;
mod tool_call;

pub(super) use calls::{PINNED, UNPINNED};
pub(super) use exchanges::TOPIC as EXCHANGE;
pub(super) use four_children::TOPIC as FOUR_CHILDREN;
pub(super) use lease::TOPIC as LEASE;
pub(super) use sharing::TOPIC as SHARING;
