//! What a child says without being asked: to whom it goes, and what is lost when nobody listens.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::scan::{Envelope, Span};

/// A notification of a child: a message with a method and without an id.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Notice, Protocol};
///
/// // `cat` sends back what it was sent.
/// let connector = JsonRpcConnector::new(CommandSpec::new("cat"), Protocol::Plain)?;
/// let pool = SharedPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let mut notices = child.notices();
/// child.notify("news", &["rain"]).await?;
///
/// let Some(Notice::Notification(news)) = notices.recv().await else { panic!("none came") };
/// assert_eq!(news.method(), "news");
/// assert_eq!(news.params::<Vec<String>>()?, ["rain"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Notification {
    message: Bytes,
    method: String,
    params: Option<Span>,
}

impl Notification {
    pub(super) fn new(message: Bytes, envelope: &Envelope) -> Option<Self> {
        let method = serde_json::from_slice(envelope.method?.of(&message)).ok()?;
        Some(Self {
            message,
            method,
            params: envelope.params,
        })
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The whole message as the child wrote it, but for a progress token, which is the caller's.
    #[must_use]
    pub const fn message(&self) -> &Bytes {
        &self.message
    }

    /// The params, parsed; as from `null` if there are none.
    ///
    /// # Errors
    ///
    /// If they are not what is expected.
    pub fn params<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        match self.params {
            Some(span) => serde_json::from_slice(span.of(&self.message)),
            None => serde_json::from_slice(b"null"),
        }
    }
}

/// What a subscription yields.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Notice, Protocol};
///
/// // It says three things at once, of which one is kept, and answers every request with true.
/// let news = r#"{"jsonrpc":"2.0","method":"news"}"#;
/// let answer = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":true}/"#;
/// let script = format!("1i{news}\n1i{news}\n1i{news}\n{answer}");
/// let server = CommandSpec::new("sed").args(["-u", &script]);
/// let connector = JsonRpcConnector::new(server, Protocol::Plain)?.notices_max(1);
/// let pool = SharedPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let mut notices = child.notices();
/// assert!(child.call::<bool>("ready", &()).await?);
///
/// assert!(matches!(notices.recv().await, Some(Notice::Missed(2))));
/// assert!(matches!(notices.recv().await, Some(Notice::Notification(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub enum Notice {
    /// The next notification.
    Notification(Notification),
    /// So many were dropped, the oldest, because nobody took them in time.
    Missed(u64),
}

/// Notifications that are kept until somebody takes them, up to a number: then the oldest go.
///
/// # Examples
///
/// ```
/// use pool_stdio::Progress;
///
/// let (progress, mut notices) = Progress::channel(16);
/// drop(progress);
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert!(notices.recv().await.is_none(), "nobody is left to send any");
/// # });
/// ```
#[derive(Debug)]
pub struct Notices {
    receiver: broadcast::Receiver<Notification>,
}

impl Notices {
    pub(super) const fn new(receiver: broadcast::Receiver<Notification>) -> Self {
        Self { receiver }
    }

    /// The next notification, or how many were missed; `None` when no more can come.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Option<Notice> {
        match self.receiver.recv().await {
            Ok(notification) => Some(Notice::Notification(notification)),
            Err(RecvError::Lagged(count)) => Some(Notice::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Where the progress notifications of a call go.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Notice, Progress, Protocol};
/// use serde_json::{Value, json};
///
/// // Says once how far it is, and then that it is done.
/// let says = r#"{"jsonrpc":"2.0","method":"notifications\/progress","params":{"progressToken":\2}}"#;
/// let answers = r#"{"jsonrpc":"2.0","id":\1,"result":"done"}"#;
/// let asked = r#".*"id":\([0-9]*\).*"progressToken":\([0-9]*\).*"#;
/// let script = format!(r"s/{asked}/{says}\n{answers}/");
/// let server = CommandSpec::new("sed").args(["-u", &script]);
/// let pool = SharedPool::builder(JsonRpcConnector::new(server, Protocol::Mcp)?).build()?;
/// let child = pool.acquire().await?;
///
/// let (progress, mut notices) = Progress::channel(16);
/// let params = json!({ "_meta": { "progressToken": "mine" } });
/// assert_eq!(child.call_with_progress::<String>("work", &params, progress).await?, "done");
/// let Some(Notice::Notification(said)) = notices.recv().await else { panic!("none came") };
/// assert_eq!(said.params::<Value>()?, json!({ "progressToken": "mine" }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Progress {
    sender: broadcast::Sender<Notification>,
}

impl Progress {
    /// A place for so many notifications, at least one and at most 65,536, rounded up to a power of
    /// two, and who takes them from there. The room is set aside at once.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, Notices) {
        let (sender, receiver) = broadcast::channel(capacity.clamp(1, CAPACITY_MAX));
        (Self { sender }, Notices::new(receiver))
    }

    /// Says whether somebody listens.
    pub(super) fn send(&self, notification: Notification) -> bool {
        self.sender.send(notification).is_ok()
    }
}

/// The room is set aside at once.
pub(super) const CAPACITY_MAX: usize = 65_536;
