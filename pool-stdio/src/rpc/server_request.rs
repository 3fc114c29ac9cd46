//! Requests of a child to its client, and the answers to them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use pool_core::{BoxFuture, ConnectionId};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::notification::Origin;
use super::protocol::Protocol;
use super::reply::{ErrorObject, INTERNAL_ERROR, METHOD_NOT_FOUND, SERVER_ERROR, reply_text};
use super::scan::Envelope;

/// The answer of a handler to a request.
pub(super) type Answer = Result<Box<RawValue>, ErrorObject>;

pub(super) type RequestHandler = dyn Fn(ServerRequest) -> BoxFuture<'static, Answer> + Send + Sync;

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
/// // A server that asks for the roots, and sends the answer on as a notification.
/// let script = r#"read call; echo '{"jsonrpc":"2.0","id":"q","method":"roots/list"}'
///     read answer; echo '{"jsonrpc":"2.0","method":"told","params":'"$answer"'}'; cat >&2"#;
/// let server = CommandSpec::new("sh").args(["-c", script]);
/// let connector = JsonRpcConnector::new(server, Protocol::Mcp)?.on_request(|request| {
///     Box::pin(async move {
///         assert_eq!(request.method, "roots/list");
///         Ok(to_raw_value(&["/src"]).expect("strings are JSON"))
///     })
/// });
/// let pool = SharedPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let mut notifications = child.notifications();
/// child.notify("begin", &()).await?;
///
/// let told = notifications.recv().await.unwrap();
/// assert_eq!(told.params::<serde_json::Value>()?["result"][0], "/src");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerRequest {
    /// The connection that it came from, as the pool numbers it.
    pub connection_id: ConnectionId,
    /// The process id of the child that sent it.
    pub pid: u32,
    /// The method.
    pub method: String,
    /// The whole message, as the child wrote it.
    pub message: Bytes,
    id: Bytes,
    params: Option<Bytes>,
}

impl ServerRequest {
    pub(super) fn new(message: Bytes, envelope: &Envelope, origin: Origin) -> Option<Self> {
        let method = serde_json::from_slice(envelope.method?.of(&message)).ok()?;
        Some(Self {
            connection_id: origin.connection_id,
            pid: origin.pid,
            method,
            id: message.slice(envelope.id?.range()),
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

    pub(super) const fn id(&self) -> &Bytes {
        &self.id
    }
}

/// Answers the requests of a child. Dropping it ends the handlers that are running.
pub(super) struct Responder {
    handler: Option<Arc<RequestHandler>>,
    protocol: Protocol,
    running: JoinSet<Answer>,
    requests: HashMap<Id, Running>,
}

/// A request whose handler is running.
struct Running {
    id: Bytes,
    handler: AbortHandle,
}

impl Responder {
    pub(super) fn new(handler: Option<Arc<RequestHandler>>, protocol: Protocol) -> Self {
        Self {
            handler,
            protocol,
            running: JoinSet::new(),
            requests: HashMap::new(),
        }
    }

    /// Takes a request. Returns the answer unless a handler has to be awaited for it.
    pub(super) fn take(&mut self, request: ServerRequest) -> Option<Vec<u8>> {
        let id = request.id.clone();
        let Some(handler) = &self.handler else {
            return Some(reply_text(&id, self.default_answer(&request).as_deref()));
        };
        // Those that were cancelled count until their tasks have ended: they are freed only then.
        if self.running.len() >= RUNNING_MAX {
            return Some(too_many(&id));
        }
        let handler = Arc::clone(handler);
        // The handler is called in the task, so that its panic ends the task alone.
        let task = self.running.spawn(async move { handler(request).await });
        let handler = task.clone();
        self.requests.insert(task.id(), Running { id, handler });
        None
    }

    fn default_answer(&self, request: &ServerRequest) -> Answer {
        if self.protocol.ping() == Some(&request.method) {
            return empty();
        }
        Err(ErrorObject::new(METHOD_NOT_FOUND, "method not found"))
    }

    /// Drops the handler of the request with this id, which the child has cancelled. Returns whether
    /// there was one.
    pub(super) fn cancel(&mut self, id: &[u8]) -> bool {
        let running = self.requests.iter().find(|(_, request)| request.id == id);
        let Some(task) = running.map(|(task, _)| *task) else {
            return false;
        };
        if let Some(request) = self.requests.remove(&task) {
            request.handler.abort();
        }
        true
    }

    /// The next answer of a handler.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        while let Poll::Ready(Some(ended)) = self.running.poll_join_next_with_id(cx) {
            let (task, answer) = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    let broken = ErrorObject::new(INTERNAL_ERROR, "internal error");
                    (error.id(), Err(broken))
                }
            };
            if let Some(request) = self.requests.remove(&task) {
                return Poll::Ready(reply_text(&request.id, answer.as_deref()));
            }
        }
        Poll::Pending
    }
}

/// The answer to a request for which there is no room.
pub(super) fn too_many(id: &[u8]) -> Vec<u8> {
    let error = ErrorObject::new(SERVER_ERROR, "too many requests at once");
    reply_text(id, Err(&error))
}

fn empty() -> Answer {
    RawValue::from_string("{}".to_owned())
        .map_err(|error| ErrorObject::new(INTERNAL_ERROR, error.to_string()))
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("running", &self.requests.len())
            .finish_non_exhaustive()
    }
}

/// Requests of one child that are answered at the same time. Each is a task.
const RUNNING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn question(number: usize) -> ServerRequest {
        let message = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"m"}}"#);
        let envelope = Envelope::of(message.as_bytes()).unwrap();
        let origin = Origin {
            connection_id: ConnectionId::from_u64(0),
            pid: 0,
        };
        ServerRequest::new(message.into(), &envelope, origin).unwrap()
    }

    #[tokio::test]
    async fn questions_that_are_cancelled_at_once_are_no_more_tasks_than_others() {
        let handler: Arc<RequestHandler> = Arc::new(|_| Box::pin(std::future::pending()));
        let mut responder = Responder::new(Some(handler), Protocol::Mcp);
        // Nothing else runs meanwhile, as while the connection's task reads them.
        let mut refused = 0;
        for number in 0..2000 {
            let question = question(number);
            let id = question.id().clone();
            match responder.take(question) {
                Some(_) => refused += 1,
                None => assert!(responder.cancel(&id)),
            }
        }
        assert_eq!((responder.running.len(), refused), (64, 2000 - 64));
        // There is room again as soon as they have ended.
        std::future::poll_fn(|cx| {
            assert!(
                responder.poll_answer(cx).is_pending(),
                "they have no answer"
            );
            match responder.running.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        assert!(responder.take(question(2000)).is_none());
    }
}
