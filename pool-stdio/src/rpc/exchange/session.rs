//! A child that is held for one client.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use pool_core::PooledConnection;

use super::admission::{Attempt, admit};
use super::client_exchange::Exchange;
use super::client_ids::ClientIds;
use super::held::{Held, SessionLease};
use super::terms::Terms;
use crate::rpc::connection::JsonRpcConnection;
use crate::rpc::error::RpcError;
use crate::rpc::session_queue::{ServerMessage, SessionQueue};

/// A child that is held for one client: its exchanges, the questions of the child, and what the child
/// says that names no request.
///
/// While a session lasts, the questions of the child go to the client and not to the connector's
/// [`on_request`](crate::JsonRpcConnector::on_request). `initialize` is forwarded, unless the connector
/// has initialized the child: then it is answered as for [a lease](crate::RpcLease::exchange).
///
/// When the session and its exchanges are dropped, the child is closed, because the next client could find
/// in it what this one has left there. [`reuse_child`](Self::reuse_child) gives it back to its pool
/// instead.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::ConnectionPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, ServerMessage, Session, Terms};
///
/// // A server that asks for the roots before it answers.
/// let script = r#"read call; echo '{"jsonrpc":"2.0","id":"q","method":"roots/list"}'
///     read roots; echo '{"jsonrpc":"2.0","id":0,"result":'"$roots"'}'; cat >&2"#;
/// let server = CommandSpec::new("sh").args(["-c", script]);
/// let connector = JsonRpcConnector::new(server, Protocol::Mcp)?;
/// let pool = ConnectionPool::builder(connector).build()?;
///
/// let session = Session::new(pool.acquire().await?);
/// let terms = Terms::new();
/// let call = r#"{"jsonrpc":"2.0","id":"mine","method":"tools/list"}"#;
/// let mut exchange = session.exchange(call, &terms)?;
/// let client = async {
///     let Some(ServerMessage::Request(question)) = session.next().await else { panic!() };
///     assert_eq!(question.method, "roots/list");
///     let answer = r#"{"jsonrpc":"2.0","id":"q","result":["/src"]}"#;
///     session.exchange(answer, &terms)?.reply().await
/// };
/// let (reply, answered) = tokio::join!(exchange.reply(), client);
/// assert!(answered?.is_none());
/// assert!(reply?.unwrap().ends_with(br#""result":["/src"]}}"#));
/// # Ok(())
/// # }
/// ```
pub struct Session {
    held: Arc<SessionLease>,
    ids: ClientIds,
}

impl Session {
    /// Holds this child for a client.
    #[must_use]
    pub fn new(lease: PooledConnection<JsonRpcConnection>) -> Self {
        let link = &lease.client().link;
        let queue = SessionQueue::new(link.settings.notes);
        link.begin_session(Arc::clone(&queue));
        Self {
            held: Arc::new(SessionLease::new(lease, queue)),
            ids: ClientIds::new(),
        }
    }

    /// Gives the child back to its pool when the session ends, unless a call is left unanswered. For a
    /// server that keeps nothing of what a client did: neither its `initialize` nor its files, its log
    /// level or its subscriptions.
    #[must_use]
    pub fn reuse_child(self) -> Self {
        self.connection().client().link.set_personal(false);
        self
    }

    /// Begins the exchange of any message of the client: a request, a notification, its cancel of a
    /// request, or its answer to a question of the child. A batch is [taken
    /// apart](crate::split_batch) first.
    ///
    /// # Errors
    ///
    /// As [`RpcLease::exchange`](crate::RpcLease::exchange). [`BadRequest`](RpcError::BadRequest) also for
    /// a second `initialize`, and for an answer to nothing that the child has asked.
    pub fn exchange(&self, message: impl Into<Bytes>, terms: &Terms) -> Result<Exchange, RpcError> {
        let terms = terms.clone().client(&self.ids);
        let held = Held::Session(Arc::clone(&self.held));
        admit(held, message.into(), &terms, Attempt::default())
    }

    /// The next question of the child, or notification that names no request. `None` when the connection
    /// is over.
    ///
    /// As many as [`notifications_max`](crate::RpcLimits::notifications_max) and
    /// [`notification_bytes_max`](crate::RpcLimits::notification_bytes_max) allow are kept. Then notifications
    /// are dropped, and the next one [says](crate::Notification::missed) how many; questions are answered
    /// with the error `-32000`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn next(&self) -> Option<ServerMessage> {
        self.held.queue.next().await
    }

    /// The child.
    #[must_use]
    pub fn connection(&self) -> &JsonRpcConnection {
        &self.held.lease
    }
}

/// Questions that the client leaves behind are answered with an error, so that the child does not wait.
impl Drop for Session {
    fn drop(&mut self) {
        self.held.lease.client().link.end_session(&self.held.queue);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("held", &self.held)
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}
