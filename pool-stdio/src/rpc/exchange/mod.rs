//! What belongs to one request of one client, and to one client.
//!
//! | file | what it decides |
//! |---|---|
//! | `terms` | what a proxy can ask of an exchange |
//! | `held` | how an exchange holds its connection |
//! | `client_ids` | which requests a client has in flight; what its cancel does |
//! | `client_exchange` | the way of a message to its end; what a dropped exchange does |
//! | `admission` | which messages of a client reach the child, and which are answered here |
//! | `batch` | how a batch becomes messages, and its replies one batch |
//! | `rpc_lease` | which leases can make an exchange |
//! | `session` | a child that is held for one client |
//! | `rpc_pool` | over which pools requests can be retried |
//! | `retry`, `retry_policy` | when a failed request is sent again, and how much of that there may be |
//! | `retrying` | the attempts of one request |

mod admission;
mod batch;
mod client_exchange;
mod client_ids;
mod held;
mod retry;
mod retry_policy;
mod retrying;
mod rpc_lease;
mod rpc_pool;
mod session;
mod terms;

/// An exchange over a connection in memory.
#[cfg(test)]
pub(super) fn exchange(
    client: &super::client::Client,
    message: impl Into<bytes::Bytes>,
    terms: &Terms,
) -> Result<Exchange, super::error::RpcError> {
    exchange_until(client, message, terms, None)
}

/// The same, as one of several attempts that end at this time.
#[cfg(test)]
pub(super) fn exchange_until(
    client: &super::client::Client,
    message: impl Into<bytes::Bytes>,
    terms: &Terms,
    deadline: Option<super::limit::Limit>,
) -> Result<Exchange, super::error::RpcError> {
    let held = held::Held::Bare(client.clone());
    let attempt = admission::Attempt {
        deadline,
        registration: None,
    };
    admission::admit(held, message.into(), terms, attempt)
}

pub use batch::{join_batch, split_batch};
pub use client_exchange::Exchange;
pub use client_ids::ClientIds;
pub use retry::Retry;
pub use retry_policy::{NotRepeated, RetryError};
pub use retrying::Retrying;
pub use rpc_lease::RpcLease;
pub use rpc_pool::RpcPool;
pub use session::Session;
pub use terms::{OnDrop, Terms};
