//! How a caller says when its requests are sent again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::retry_policy::{RetryBudget, RetryPolicy};
use super::retrying::Retrying;
use super::rpc_pool::RpcPool;
use super::terms::Terms;

/// Sends the messages of clients over a pool, and sends again what can be sent again.
///
/// A request that was not sent is sent on another child, at once. One that a child may have executed is sent
/// again once, and only if [`repeat_if`](Self::repeat_if) permits it and nobody has taken a note of it.
/// Otherwise its outcome is [unknown](crate::RetryError::OutcomeUnknown). So one request ends at most two
/// children.
///
/// Clones share the budget.
///
/// # Examples
///
/// ```
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, Retry, RetryError, Terms};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A server that dies instead of answering.
/// let server = CommandSpec::new("sh").args(["-c", "read request"]);
/// let pool = SharedPool::builder(JsonRpcConnector::new(server, Protocol::Mcp)?).build()?;
/// let retry = Retry::new(pool).repeat_if(|method, _params| method.ends_with("/list"));
/// let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay"}}"#;
/// let error = retry.exchange(call, &Terms::new()).reply().await.unwrap_err();
/// assert!(matches!(error, RetryError::OutcomeUnknown { .. }), "it is not paid twice");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Retry {
    pool: RpcPool,
    policy: RetryPolicy,
}

impl Retry {
    /// Over this pool: three attempts, a budget of 20 percent, and nothing is repeated that may have been
    /// executed.
    #[must_use]
    pub fn new(pool: impl Into<RpcPool>) -> Self {
        Self {
            pool: pool.into(),
            policy: RetryPolicy::new(),
        }
    }

    /// How often a request is sent at most, or found a child dead before it was, at least once. Default: 3.
    #[must_use]
    pub const fn attempts_max(mut self, attempts: u32) -> Self {
        self.policy.attempts_max = attempts;
        self
    }

    /// How many requests that a child may have executed are sent again for a hundred requests, at most 100.
    /// Default: 20. A quiet time saves up to a hundred resends, for the requests that one dying child leaves
    /// behind. With 0 none is sent again. A request that was not sent needs no budget.
    #[must_use]
    pub fn budget(mut self, percent: u32) -> Self {
        self.policy.budget = Arc::new(RetryBudget::new(percent));
        self
    }

    /// Which requests do no harm when they are executed twice, by their method and the JSON text of their
    /// params, which is empty if there are none. Asked only about a request that a child may have executed.
    /// Default: none does.
    #[must_use]
    pub fn repeat_if(
        mut self,
        is_idempotent: impl Fn(&str, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy.is_idempotent = Some(Arc::new(is_idempotent));
        self
    }

    /// Begins the exchange of a client's message. The limit of the terms counts from the first poll, for
    /// all attempts together, and for the wait for a child. What can be refused is refused as the
    /// [outcome](Retrying::reply).
    ///
    /// An id of a [client](Terms::client) is in flight from now on to the outcome, across all attempts. A
    /// cancel while no child has the request ends it with
    /// [`ClientCancelled`](crate::RpcError::ClientCancelled), whatever the protocol. A cancel that is
    /// itself sent through here takes effect at once, and needs no child.
    pub fn exchange(&self, message: impl Into<Bytes>, terms: &Terms) -> Retrying {
        let (policy, pool) = (self.policy.clone(), self.pool.clone());
        Retrying::new(policy, pool, message.into(), terms.clone())
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("pool", &self.pool)
            .field("attempts_max", &self.policy.attempts_max)
            .finish_non_exhaustive()
    }
}
