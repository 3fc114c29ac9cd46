//! How a child is called by those who do not hold its connection.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::client::Client;
use super::error::RpcError;
use super::link::OwnPing;

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
    pub fn call<R: DeserializeOwned>(&self, method: &str, params: &impl Serialize) -> Call<'_, R> {
        Call::new(&self.client, method, params)
    }

    /// From now on the child is asked this to see whether it lives, in the place of the
    /// [protocol](crate::Protocol)'s ping. Any answer will do. Meant for a
    /// [handshake](crate::JsonRpcConnector::handshake): a second one has no effect.
    ///
    /// # Errors
    ///
    /// The params cannot be written as JSON.
    pub fn ping_with(&self, method: &str, params: &impl Serialize) -> serde_json::Result<()> {
        let params = serde_json::value::to_raw_value(params)?;
        let method = method.to_owned();
        self.client.link.ping_with(OwnPing { method, params });
        Ok(())
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
