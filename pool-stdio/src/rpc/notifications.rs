//! Notifications of a child, and their receivers.

use bytes::Bytes;
use pool_core::ConnectionId;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::scan::{Envelope, Span};

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
/// assert_eq!(news.method(), "news");
/// assert_eq!(news.params::<Vec<String>>()?, ["rain"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Notification {
    message: Bytes,
    origin: Origin,
    method: String,
    params: Option<Span>,
}

impl Notification {
    pub(super) fn new(message: Bytes, envelope: &Envelope, origin: Origin) -> Option<Self> {
        let method = serde_json::from_slice(envelope.method?.of(&message)).ok()?;
        Some(Self {
            origin,
            message,
            method,
            params: envelope.params,
        })
    }

    /// The connection that the notification came from, as the pool numbers it.
    #[must_use]
    pub const fn connection_id(&self) -> ConnectionId {
        self.origin.connection_id
    }

    /// The process id of the child that sent the notification.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.origin.pid
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The whole message. It is as the child wrote it, except that a progress token is the caller's.
    #[must_use]
    pub const fn message(&self) -> &Bytes {
        &self.message
    }

    /// The params, parsed. Missing params are parsed as `null`.
    ///
    /// # Errors
    ///
    /// The params are not a `T`.
    pub fn params<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        match self.params {
            Some(span) => serde_json::from_slice(span.of(&self.message)),
            None => serde_json::from_slice(b"null"),
        }
    }
}

/// Receives notifications. Up to a number are kept until somebody takes them; then the oldest are
/// dropped and counted.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
///
/// // A server that sends three notifications, and then answers the request with true.
/// let news = r#"{"jsonrpc":"2.0","method":"news"}"#;
/// let answer = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":true}/"#;
/// let script = format!("1i{news}\n1i{news}\n1i{news}\n{answer}");
/// let server = CommandSpec::new("sed").args(["-u", &script]);
/// let connector = JsonRpcConnector::new(server, Protocol::Plain)?.notifications_max(1);
/// let pool = SharedPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let mut notifications = child.notifications();
/// assert!(child.call::<bool>("ready", &()).await?);
///
/// assert_eq!(notifications.recv().await.unwrap().method(), "news");
/// assert_eq!(notifications.missed(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Notifications {
    receiver: broadcast::Receiver<Notification>,
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
                Ok(notification) => return Some(notification),
                Err(RecvError::Lagged(count)) => self.missed += count,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// How many notifications before the one that was received last were dropped, because they were
    /// not received in time.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
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
/// let asked = r#".*"id":\([0-9]*\).*"progressToken":\([0-9]*\).*"#;
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
