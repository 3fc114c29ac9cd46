//! JSON-RPC over the pipes of a child: many calls at once, matched to their replies by id.
//!
//! | file | what it decides |
//! |---|---|
//! | `connector`, `connection` | the settings, the life of a child in a pool, what a caller can do with it |
//! | `handshake` | what is said to a child after its start and before its end |
//! | `transport` | which parts serve the pipes of one child, and how they are taken apart |
//! | `call` | what can be set on a call before it is awaited |
//! | `caller` | how a child is called by those who do not hold its connection |
//! | `round_trip` | the steps from a request to its reply; when the limit of a call ends it |
//! | `client` | how a call or a forwarded message becomes a request |
//! | `pending` | that a dropped call is given up |
//! | `limit` | how long a call may take |
//! | `link` | what callers and the driver share; who writes; when the place of a frame is free again |
//! | `state` | pending calls, queued frames, the end; what a call is told after the end |
//! | `table` | which reply belongs to which call |
//! | `tokens` | how a progress token of a client is named to the child |
//! | `load` | how long a request that was given up counts as load |
//! | `place` | the right to queue a frame |
//! | `outbox`, `writer` | which frames wait to be written, and how much of them is written |
//! | `driver` | the one task: when to write, to read, and to end |
//! | `router` | where a frame of the child goes |
//! | `server_request` | who answers the requests of a child |
//! | `session_queue` | what is kept for the client that a child is held for |
//! | `notification`, `notifications` | what a child says unasked; who receives it |
//! | `newsfeed` | which notifications are kept for slow subscribers |
//! | `note_limits` | how much of what a child says is kept |
//! | `note_queue` | where what a child says of a pending call is kept, and how much of it |
//! | `reply` | replies and error objects |
//! | `protocol` | the differences between LSP and MCP |
//! | `framing`, `pipes` | how messages become frames; our ends of the pipes |
//! | `scan` | where the id, the method and the params of a message are |
//! | `suspicion` | when a silent child is suspected to hang, and when it is ended |
//! | [`exchange`] | what belongs to one request of one client, and to one client |
//! | `error`, `report`, `status` | why a call has no result, what was known of the child, what was dropped |

mod call;
mod call_id;
mod caller;
mod client;
mod connection;
mod connector;
mod driver;
mod error;
mod exchange;
mod framing;
mod handshake;
mod life_signs;
mod limit;
mod link;
mod load;
mod newsfeed;
mod note_limits;
mod note_queue;
mod notification;
mod notifications;
mod outbox;
mod pending;
mod pipes;
mod place;
mod protocol;
mod reply;
mod report;
mod round_trip;
mod router;
mod scan;
mod server_request;
mod session_queue;
mod state;
mod status;
mod suspicion;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod transport;
mod writer;

pub use call::Call;
pub use caller::ChildCaller;
pub use connection::JsonRpcConnection;
pub use connector::{JsonRpcConnector, RpcLimits};
pub use error::{Fate, RpcError};
pub use exchange::{
    ClientIds, Exchange, NotRepeated, OnDrop, Retry, RetryError, Retrying, RpcLease, RpcPool,
    Session, Terms, join_batch, split_batch,
};
pub use framing::Framing;
pub use notification::Notification;
pub use notifications::{Notifications, Progress};
pub use protocol::Protocol;
pub use reply::ErrorObject;
pub use report::RpcReport;
pub use server_request::ServerRequest;
pub use session_queue::ServerMessage;
pub use status::RpcStatus;
