//! How a child is called by those who do not hold its connection.

use serde::Serialize;

use super::call::Call;
use super::client::Client;
use super::error::RpcError;

/// Calls a child whose connection is with a pool.
///
/// Made by [`JsonRpcConnection::caller`](crate::JsonRpcConnection::caller). It is no lease: the pool can close
/// the connection at any time, and does not count these calls. It is for what concerns a child as long as it
/// lives, such as its subscriptions.
///
/// # Examples
///
/// ```
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A server that answers every request with true.
/// let script = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":true}/"#;
/// let server = CommandSpec::new("sed").args(["-u", script]);
/// let pool = SharedPool::builder(JsonRpcConnector::new(server, Protocol::Plain)?).build()?;
/// let caller = pool.acquire().await?.caller();
/// assert!(caller.call::<bool>("ready", &()).await?);
///
/// pool.close(std::time::Duration::from_secs(10)).await;
/// let error = caller.call::<bool>("ready", &()).await.unwrap_err();
/// assert!(matches!(error, RpcError::Cancelled { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ChildCaller {
    client: Client,
}

impl ChildCaller {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// As [`JsonRpcConnection::call`](crate::JsonRpcConnection::call).
    pub fn call<R>(&self, method: &str, params: &impl Serialize) -> Call<'_, R> {
        Call::new(&self.client, method, params)
    }

    /// As [`JsonRpcConnection::notify`](crate::JsonRpcConnection::notify).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn notify(&self, method: &str, params: &impl Serialize) -> Result<(), RpcError> {
        self.client.notify(method, params).await
    }
}
