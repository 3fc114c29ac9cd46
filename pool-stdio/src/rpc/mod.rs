//! JSON-RPC over the pipes of a child: many calls at once, told apart by ids.
//!
//! | file | what it decides |
//! |---|---|
//! | `scan` | where the id, the method and the body of a message are |
//! | `table` | which call a reply belongs to, and what becomes of a reply that belongs to none |
//! | `framing` | how messages become frames, and frames messages |
//! | `outbox` | what waits to be written, and how it is written in one go |
//! | `link` | what callers and the driver share: the queue, giving a call up, the end of all calls |
//! | `call` | how long a caller waits, and that who goes away gives the call up |
//! | `writer` | who writes to the child, and when the room of what was written is free |
//! | `driver` | the one task: writes, reads, routes, sees the end |
//! | `client` | how a call or a forwarded message is made a request, and a reply given back |
//! | `protocol` | what LSP and MCP differ in |
//! | `notices` | to whom goes what a child says unasked |
//! | `serve` | who answers what a child asks |
//! | `silence` | when a child that says nothing hangs |
//! | `counts` | what is counted of what is dropped |
//! | `error` | why a call has no result, and whether it may be repeated elsewhere |
//! | `connection`, `connector` | the child behind it, and its life in a pool |

mod client;
mod connection;
mod connector;
mod counts;
mod driver;
mod error;
mod framing;
mod link;
mod notifications;
mod outbox;
mod pending;
mod protocol;
mod scan;
mod server_request;
mod silence;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use connection::JsonRpcConnection;
pub use connector::JsonRpcConnector;
pub use counts::RpcCounts;
pub use driver::StrayFrames;
pub use error::{ErrorObject, Fate, RpcError, RpcReport};
pub use framing::Framing;
pub use notifications::{Notice, Notices, Notification, Progress};
pub use protocol::{Cancel, Protocol};
pub use server_request::{Answer, ServerRequest};
