//! What a child says without being asked: to whom it goes, and what is lost when nobody listens.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::scan::{Envelope, Span};

/// A notification of a child: a message with a method and without an id.
#[derive(Debug, Clone)]
pub struct Notification {
    message: Bytes,
    method: String,
    params: Option<Span>,
}

impl Notification {
    pub(super) fn new(message: Bytes, envelope: &Envelope) -> Option<Self> {
        let method = serde_json::from_slice(&message[envelope.method.clone()?]).ok()?;
        Some(Self {
            message,
            method,
            params: envelope.params.clone(),
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
        match &self.params {
            Some(span) => serde_json::from_slice(&self.message[span.clone()]),
            None => serde_json::from_slice(b"null"),
        }
    }
}

/// What a subscription yields.
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
#[derive(Debug, Clone)]
pub struct Progress {
    sender: broadcast::Sender<Notification>,
}

impl Progress {
    /// A place for so many notifications, at least one, and who takes them from there.
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
