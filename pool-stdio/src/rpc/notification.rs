//! A notification of a child.

use bytes::Bytes;
use pool_core::ConnectionId;
use serde::de::DeserializeOwned;

use super::scan::Envelope;

/// Where a message of a child comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) connection_id: ConnectionId,
    pub(super) pid: u32,
}

/// A notification of a child: a message with a method and without an id.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
///
/// // `cat` sends back what it was sent.
/// let connector = JsonRpcConnector::new(CommandSpec::new("cat"), Protocol::Plain)?;
/// let pool = SharedPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let mut notifications = child.notifications();
/// child.notify("news", &["rain"]).await?;
///
/// let news = notifications.recv().await.unwrap();
/// assert_eq!(news.method, "news");
/// assert_eq!(news.params::<Vec<String>>()?, ["rain"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Notification {
    /// The connection that it came from, as the pool numbers it.
    pub connection_id: ConnectionId,
    /// The process id of the child that sent it.
    pub pid: u32,
    /// The method.
    pub method: String,
    /// The whole message. It is as the child wrote it, except that a progress token is the caller's.
    pub message: Bytes,
    /// How many notifications were dropped directly before this one, because the receiver was too slow.
    pub missed: u64,
    params: Option<Bytes>,
}

impl Notification {
    pub(super) fn new(message: Bytes, envelope: &Envelope, origin: Origin) -> Option<Self> {
        let method = serde_json::from_slice(envelope.method?.of(&message)).ok()?;
        Some(Self {
            connection_id: origin.connection_id,
            pid: origin.pid,
            method,
            missed: 0,
            params: envelope.params.map(|span| message.slice(span.range())),
            message,
        })
    }

    /// What counts against a limit of bytes.
    pub(super) fn bytes(&self) -> usize {
        self.message.len()
    }

    /// The params, parsed. Missing params are parsed as `null`.
    ///
    /// # Errors
    ///
    /// The params are not a `T`.
    pub fn params<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.params.as_deref().unwrap_or(b"null"))
    }
}
