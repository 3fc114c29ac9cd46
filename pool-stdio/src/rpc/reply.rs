//! Replies: those of a child, and those that are made here.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::scan::{Elements, Envelope, Malformed, MessageKind, Span};

/// The reply to a call: an object, and where its members are. Small, because it is moved often.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    message: Bytes,
    id: Span,
    /// The error if there is one, otherwise the result.
    body: Span,
    is_error: bool,
}

impl Reply {
    pub(super) fn new(message: Bytes, envelope: &Envelope) -> Self {
        Self {
            id: envelope.id.unwrap_or_default(),
            body: envelope.error.or(envelope.result).unwrap_or_default(),
            is_error: envelope.error.is_some(),
            message,
        }
    }

    pub(super) const fn message(&self) -> &Bytes {
        &self.message
    }

    /// Where the id is.
    pub(super) const fn id(&self) -> Span {
        self.id
    }

    /// Where the result is, or the error.
    pub(super) const fn body(&self) -> Span {
        self.body
    }

    /// The text of the result, or of the error.
    pub(super) fn answer(&self) -> Result<&[u8], &[u8]> {
        let body = self.body.of(&self.message);
        if self.is_error { Err(body) } else { Ok(body) }
    }
}

/// The error object of a JSON-RPC reply.
///
/// # Examples
///
/// ```
/// use pool_stdio::ErrorObject;
///
/// let error = ErrorObject::new(-32601, "method not found");
/// assert_eq!(error.to_string(), "method not found (-32601)");
/// assert_eq!(serde_json::to_string(&error)?, r#"{"code":-32601,"message":"method not found"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorObject {
    /// A number that says what kind of error it is.
    pub code: i64,
    /// A short description.
    pub message: String,
    /// Further information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl ErrorObject {
    /// An error without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// This error as the reply to a client's message that could not be forwarded: under the client's
    /// own id, byte for byte, and one reply for each request of a batch. `None` if the client expects
    /// no reply, as to a notification.
    ///
    /// If a message is no JSON-RPC message, the id of its reply is `null`. A batch gets one such reply at
    /// most: a reply should not be many times as long as the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_stdio::ErrorObject;
    ///
    /// let error = ErrorObject::new(-32000, "no server");
    /// let reply = error.reply_to(br#"{"jsonrpc":"2.0","id":1.0,"method":"greet"}"#);
    /// let expected = r#"{"jsonrpc":"2.0","id":1.0,"error":{"code":-32000,"message":"no server"}}"#;
    /// assert_eq!(reply.unwrap(), expected);
    /// assert!(error.reply_to(br#"{"jsonrpc":"2.0","method":"news"}"#).is_none());
    /// ```
    #[must_use]
    pub fn reply_to(&self, frame: &[u8]) -> Option<Bytes> {
        let without_id = || Some(reply_text(NO_ID, Err(self)).into());
        let Some(mut elements) = Elements::of(frame) else {
            return match id_of_request(frame) {
                Ok(id) => id.map(|id| reply_text(id, Err(self)).into()),
                Err(_) => without_id(),
            };
        };
        let (mut replies, mut is_empty, mut has_replied_without_id) = (Vec::new(), true, false);
        loop {
            let element = match elements.next() {
                Ok(Some(span)) => span.of(frame),
                Ok(None) if !is_empty => break,
                Ok(None) | Err(_) => return without_id(),
            };
            is_empty = false;
            let id = match id_of_request(element) {
                Ok(Some(id)) => id,
                Err(_) if !std::mem::replace(&mut has_replied_without_id, true) => NO_ID,
                Ok(None) | Err(_) => continue,
            };
            replies.push(if replies.is_empty() { b'[' } else { b',' });
            replies.extend(reply_text(id, Err(self)));
        }
        if replies.is_empty() {
            return None;
        }
        replies.push(b']');
        Some(replies.into())
    }
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// The id of a request; `None` for a message that expects no reply.
fn id_of_request(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let found = Envelope::of(message)?;
    Ok(match found.kind()? {
        MessageKind::Request => found.id.map(|id| id.of(message)),
        MessageKind::Notification | MessageKind::Reply => None,
    })
}

/// The reply to the request with this id.
pub(super) fn reply_text(id: &[u8], answer: Result<&RawValue, &ErrorObject>) -> Vec<u8> {
    let mut text = br#"{"jsonrpc":"2.0","id":"#.to_vec();
    text.extend_from_slice(id);
    match answer {
        Ok(result) => {
            text.extend_from_slice(br#","result":"#);
            text.extend_from_slice(result.get().as_bytes());
        }
        Err(error) => {
            text.extend_from_slice(br#","error":"#);
            let mut serializer = serde_json::Serializer::new(&mut text);
            if error.serialize(&mut serializer).is_err() {
                text.extend_from_slice(br#"{"code":-32603,"message":"internal error"}"#);
            }
        }
    }
    text.push(b'}');
    text
}

/// The id of a reply to something that is not a request with an id.
const NO_ID: &[u8] = b"null";
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
pub(super) const INTERNAL_ERROR: i64 = -32603;
pub(super) const SERVER_ERROR: i64 = -32000;
