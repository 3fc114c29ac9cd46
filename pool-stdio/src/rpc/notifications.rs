//! Receivers of notifications.

use super::newsfeed::{NewsReceiver, Newsfeed};
use super::note_limits::NoteLimits;
use super::notification::Notification;
use crate::codec::FRAME_BYTES_MAX_DEFAULT;

/// Receives notifications. Those that nobody has taken yet are kept, up to a limit on their number and one
/// on their bytes. Beyond that the oldest are dropped, and the next one that is received
/// [says](Notification::missed) how many.
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
    receiver: NewsReceiver,
}

impl Notifications {
    pub(super) const fn new(receiver: NewsReceiver) -> Self {
        Self { receiver }
    }

    /// The next notification; `None` when no more can come.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Option<Notification> {
        self.receiver.recv().await
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
    sender: Newsfeed,
}

impl Progress {
    /// A channel that holds `capacity` notifications, at least one and at most 65,536. Of more than 16 MiB
    /// it holds only the last one.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, Notifications) {
        let sender = Newsfeed::new(NoteLimits {
            notes_max: capacity.clamp(1, CAPACITY_MAX),
            bytes_max: FRAME_BYTES_MAX_DEFAULT,
        });
        let receiver = sender.subscribe();
        (Self { sender }, Notifications::new(receiver))
    }

    /// Returns whether there is a receiver.
    pub(super) fn send(&self, notification: Notification) -> bool {
        self.sender.send(notification)
    }
}

/// More would be no limit.
pub(super) const CAPACITY_MAX: usize = 65_536;
