//! Requests of a child to us: who answers them, and what is answered if nobody does.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use pool_core::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::task::{Id, JoinSet};

use super::error::ErrorObject;
use super::protocol::Protocol;
use super::scan::{Envelope, Span};

/// What a handler makes of a request.
///
/// # Examples
///
/// See [`ServerRequest`].
pub type Answer = Result<Box<RawValue>, ErrorObject>;

pub(super) type Handler = dyn Fn(ServerRequest) -> BoxFuture<'static, Answer> + Send + Sync;

/// A request of a child to its client.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
/// use serde_json::value::to_raw_value;
///
/// // It asks for the roots first, and passes on what it is told.
/// let script = r#"read call; echo '{"jsonrpc":"2.0","id":"q","method":"roots/list"}'
///     read answer; echo '{"jsonrpc":"2.0","method":"told","params":'"$answer"'}'; cat >&2"#;
/// let server = CommandSpec::new("sh").args(["-c", script]);
/// let connector = JsonRpcConnector::new(server, Protocol::Mcp)?.on_request(|request| {
///     Box::pin(async move {
///         assert_eq!(request.method(), "roots/list");
///         Ok(to_raw_value(&["/src"]).expect("strings are JSON"))
///     })
/// });
/// let pool = SharedPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let mut notices = child.notices();
/// child.notify("begin", &()).await?;
///
/// let Some(pool_stdio::Notice::Notification(told)) = notices.recv().await else { panic!("none") };
/// assert_eq!(told.params::<serde_json::Value>()?["result"][0], "/src");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ServerRequest {
    message: Bytes,
    method: String,
    id: Span,
    params: Option<Span>,
}

impl ServerRequest {
    pub(super) fn new(message: Bytes, envelope: &Envelope) -> Option<Self> {
        let method = serde_json::from_slice(envelope.method?.of(&message)).ok()?;
        Some(Self {
            method,
            id: envelope.id?,
            params: envelope.params,
            message,
        })
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The whole message as the child wrote it.
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

    fn id(&self) -> Bytes {
        self.message.slice(self.id.range())
    }
}

/// Answers what a child asks. Ends all that is under way when it is dropped.
pub(super) struct Responder {
    handler: Option<Arc<Handler>>,
    protocol: Protocol,
    under_way: JoinSet<Answer>,
    ids: HashMap<Id, Bytes>,
}

impl Responder {
    pub(super) fn new(handler: Option<Arc<Handler>>, protocol: Protocol) -> Self {
        Self {
            handler,
            protocol,
            under_way: JoinSet::new(),
            ids: HashMap::new(),
        }
    }

    /// Takes a request, and answers at once if there is nothing to wait for.
    pub(super) fn take(&mut self, request: ServerRequest) -> Option<Vec<u8>> {
        let id = request.id();
        let Some(handler) = &self.handler else {
            return Some(message(&id, self.unattended(&request).as_deref()));
        };
        if self.ids.len() >= UNDER_WAY_MAX {
            let error = ErrorObject::new(SERVER_ERROR, "too many requests at once");
            return Some(error_message(&id, &error));
        }
        let handler = Arc::clone(handler);
        // The handler is called in the task, so that its panic is the task's.
        let task = self.under_way.spawn(async move { handler(request).await });
        self.ids.insert(task.id(), id);
        None
    }

    fn unattended(&self, request: &ServerRequest) -> Answer {
        if self.protocol.ping() == Some(request.method()) {
            return empty();
        }
        Err(ErrorObject::new(METHOD_NOT_FOUND, "method not found"))
    }

    /// The next answer, of those that took their time.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        while let Poll::Ready(Some(ended)) = self.under_way.poll_join_next_with_id(cx) {
            let (task, answer) = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    let broken = ErrorObject::new(INTERNAL_ERROR, "internal error");
                    (error.id(), Err(broken))
                }
            };
            if let Some(id) = self.ids.remove(&task) {
                return Poll::Ready(message(&id, answer.as_deref()));
            }
        }
        Poll::Pending
    }
}

fn empty() -> Answer {
    RawValue::from_string("{}".to_owned())
        .map_err(|error| ErrorObject::new(INTERNAL_ERROR, error.to_string()))
}

/// What is answered if the answer cannot be sent.
pub(super) fn unsendable(id: &[u8]) -> Vec<u8> {
    error_message(id, &ErrorObject::new(INTERNAL_ERROR, "internal error"))
}

/// The reply with this error.
pub(super) fn error_message(id: &[u8], error: &ErrorObject) -> Vec<u8> {
    message(id, Err(error))
}

fn message(id: &[u8], answer: Result<&RawValue, &ErrorObject>) -> Vec<u8> {
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

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("under_way", &self.ids.len())
            .finish_non_exhaustive()
    }
}

/// Requests of one child that are being answered. Each is a task.
const UNDER_WAY_MAX: usize = 64;
const METHOD_NOT_FOUND: i64 = -32601;
const INTERNAL_ERROR: i64 = -32603;
const SERVER_ERROR: i64 = -32000;
