//! Notifications of a child, and their receivers.

use std::mem;

use bytes::Bytes;
use pool_core::ConnectionId;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

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

    /// The params, parsed. Missing params are parsed as `null`.
    ///
    /// # Errors
    ///
    /// The params are not a `T`.
    pub fn params<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.params.as_deref().unwrap_or(b"null"))
    }
}

/// Receives notifications. Up to a number are kept until somebody takes them; then the oldest are
/// dropped, and the next one that is received [says](Notification::missed) how many.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcLimits};
///
/// // A server that sends three notifications, and then answers the request with true.
/// let news = r#"{"jsonrpc":"2.0","method":"news"}"#;
/// let answer = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":true}/"#;
/// let script = format!("1i{news}\n1i{news}\n1i{news}\n{answer}");
/// let server = CommandSpec::new("sed").args(["-u", &script]);
/// let limits = RpcLimits { notifications_max: 1, ..RpcLimits::default() };
/// let connector = JsonRpcConnector::new(server, Protocol::Plain)?.limits(limits);
/// let pool = SharedPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let mut notifications = child.notifications();
/// assert!(child.call::<bool>("ready", &()).await?);
///
/// let last = notifications.recv().await.unwrap();
/// assert_eq!((last.method.as_str(), last.missed), ("news", 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Notifications {
    receiver: broadcast::Receiver<Notification>,
    /// Dropped since the last one that was received.
    missed: u64,
}

impl Notifications {
    pub(super) const fn new(receiver: broadcast::Receiver<Notification>) -> Self {
        Self {
            receiver,
            missed: 0,
        }
    }

    /// The next notification; `None` when no more can come.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Option<Notification> {
        loop {
            match self.receiver.recv().await {
                Ok(notification) => {
                    return Some(Notification {
                        missed: mem::take(&mut self.missed),
                        ..notification
                    });
                }
                Err(RecvError::Lagged(count)) => self.missed += count,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Sends the progress notifications of a call to their receiver.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Progress, Protocol};
/// use serde_json::{Value, json};
///
/// // A server that sends one progress notification, and then answers.
/// let says = r#"{"jsonrpc":"2.0","method":"notifications\/progress","params":{"progressToken":\2}}"#;
/// let answers = r#"{"jsonrpc":"2.0","id":\1,"result":"done"}"#;
/// let asked = r#".*"id":\([0-9]*\).*"progressToken":\("[^"]*"\).*"#;
/// let script = format!(r"s/{asked}/{says}\n{answers}/");
/// let server = CommandSpec::new("sed").args(["-u", &script]);
/// let pool = SharedPool::builder(JsonRpcConnector::new(server, Protocol::Mcp)?).build()?;
/// let child = pool.acquire().await?;
///
/// let (progress, mut notifications) = Progress::channel(16);
/// let params = json!({ "_meta": { "progressToken": "mine" } });
/// assert_eq!(child.call::<String>("work", &params).progress(progress).await?, "done");
/// let said = notifications.recv().await.unwrap();
/// assert_eq!(said.params::<Value>()?, json!({ "progressToken": "mine" }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Progress {
    sender: broadcast::Sender<Notification>,
}

impl Progress {
    /// A channel that holds `capacity` notifications, at least one and at most 65,536, rounded up to a
    /// power of two. Its memory is allocated here.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, Notifications) {
        let (sender, receiver) = broadcast::channel(capacity.clamp(1, CAPACITY_MAX));
        (Self { sender }, Notifications::new(receiver))
    }

    /// Returns whether there is a receiver.
    pub(super) fn send(&self, notification: Notification) -> bool {
        self.sender.send(notification).is_ok()
    }
}

/// More would allocate too much memory at once.
pub(super) const CAPACITY_MAX: usize = 65_536;
