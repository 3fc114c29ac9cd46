//! Connections of clients: accepted, bounded, and routed by path.
//!
//! | file | what it decides |
//! |---|---|
//! | `accepting` | how many connections there are, and how they end |
//! | `idle` | which connections are idle, and which of them ends for another client |
//! | `unread` | how long a client may leave unread what was sent to it |
//! | `route` | which requests are let in, and what a path leads to |
//! | `request_body` | how much of a body is read, and for how long |
//! | `health` | what is said of the proxy itself |

mod accepting;
mod health;
mod idle;
mod request_body;
mod route;
mod unread;

pub(crate) use accepting::{listen, serve};
