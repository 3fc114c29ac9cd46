//! Which requests a client has in flight, and what its cancel does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use bytes::Bytes;

use crate::process::lock;
use crate::rpc::client::read_message;
use crate::rpc::error::RpcError;
use crate::rpc::framing::{join, splice};
use crate::rpc::link::Link;
use crate::rpc::protocol::{Cancel, CancelTarget, cancel_target};
use crate::rpc::scan::canonical_id;
use crate::rpc::state::GiveUp;
use crate::rpc::table::CallId;

/// The ids that one client has in flight, whichever children work on them. Clones are the same client.
///
/// A client that cancels by id needs one: a legacy MCP client over a
/// [`SharedPool`](pool_core::SharedPool), or a language client. A [`Session`](crate::Session) has its
/// own. A client whose requests stand alone needs none.
///
/// # Examples
///
/// ```
/// use pool_core::SharedPool;
/// use pool_stdio::{ClientIds, CommandSpec, JsonRpcConnector, Protocol, RpcError, RpcLease, Terms};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A server that never answers.
/// let server = CommandSpec::new("sh").args(["-c", "while read -r line; do :; done"]);
/// let pool = SharedPool::builder(JsonRpcConnector::new(server, Protocol::Mcp)?).build()?;
/// let client = ClientIds::new();
/// let terms = Terms::new().client(&client);
/// let request = r#"{"jsonrpc":"2.0","id":"one","method":"wait"}"#;
/// let mut exchange = pool.acquire().await?.exchange(request, &terms)?;
///
/// let again = pool.acquire().await?.exchange(request, &terms).unwrap_err();
/// assert!(matches!(again, RpcError::IdInUse { .. }));
///
/// let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"one"}}"#;
/// assert!(client.cancel(cancel.as_bytes()), "it is a cancel");
/// let error = exchange.reply().await.unwrap_err();
/// assert!(matches!(error, RpcError::ClientCancelled { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct ClientIds {
    in_flight: Arc<Mutex<HashMap<Bytes, InFlight>>>,
}

/// A request of the client.
#[derive(Default)]
struct InFlight {
    /// The connection that it has been given to, and its number there.
    given_to: Option<(Arc<Link>, CallId)>,
    is_cancelled: bool,
    /// Of the task that waits until it is sent.
    waker: Option<Waker>,
}

/// An id that is in flight. Dropping it frees the id.
pub(super) struct Registration {
    in_flight: Arc<Mutex<HashMap<Bytes, InFlight>>>,
    key: Bytes,
}

/// What a message of a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CancelOutcome {
    NotACancel,
    /// A cancel, and all was done for it.
    Done,
    /// A cancel by a token that no request of the client has: the child may have made it.
    UnknownToken,
}

impl ClientIds {
    /// A client without requests.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// If the message is a client's cancel notification, cancels what it names, and returns `true`. It
    /// must not be forwarded then. A cancel that names nothing in flight has no effect.
    ///
    /// An MCP exchange ends with [`ClientCancelled`](RpcError::ClientCancelled), since its client
    /// expects no reply any more. A language server replies to what was cancelled, so there the
    /// exchange goes on to that reply.
    #[must_use = "a cancel must not be forwarded"]
    pub fn cancel(&self, message: &[u8]) -> bool {
        self.take_cancel(message) != CancelOutcome::NotACancel
    }

    pub(super) fn take_cancel(&self, message: &[u8]) -> CancelOutcome {
        let target = read_message(message)
            .ok()
            .and_then(|(_, envelope)| cancel_target(message, &envelope));
        match target {
            None => CancelOutcome::NotACancel,
            Some(CancelTarget::Nothing) => CancelOutcome::Done,
            Some(CancelTarget::Request(id)) => {
                self.cancel_request(&canonical_id(id.of(message)));
                CancelOutcome::Done
            }
            Some(CancelTarget::Token(token)) => {
                let original = token.of(message);
                let Some((link, number)) = self.find_token(original) else {
                    return CancelOutcome::UnknownToken;
                };
                let ours = link.tokens.text(number);
                let message = Bytes::copy_from_slice(message);
                link.send_text(join(&splice(&message, &[(token, ours)])).into());
                CancelOutcome::Done
            }
        }
    }

    fn cancel_request(&self, key: &Bytes) {
        let mut in_flight = lock(&self.in_flight);
        let Some(request) = in_flight.get_mut(key) else {
            return;
        };
        request.is_cancelled = true;
        let given_to = request.given_to.clone();
        let waker = request.waker.take();
        drop(in_flight);
        if let Some((link, call)) = given_to {
            cancel(&link, call);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The connection of the request that has this token, and the number sent in its place.
    fn find_token(&self, original: &[u8]) -> Option<(Arc<Link>, u64)> {
        let in_flight = lock(&self.in_flight);
        in_flight.values().find_map(|request| {
            let (link, call) = request.given_to.as_ref()?;
            let number = link.state().token_of(*call, original)?;
            Some((Arc::clone(link), number))
        })
    }

    /// Notes that a request begins under this id of the client.
    pub(super) fn register(&self, id: &[u8]) -> Result<Registration, RpcError> {
        let key = canonical_id(id);
        match lock(&self.in_flight).entry(key.clone()) {
            Entry::Occupied(_) => Err(RpcError::IdInUse {
                id: String::from_utf8_lossy(id).into_owned(),
            }),
            Entry::Vacant(place) => {
                place.insert(InFlight::default());
                Ok(Registration {
                    in_flight: Arc::clone(&self.in_flight),
                    key,
                })
            }
        }
    }
}

/// Cancels a call, if it was queued and not cancelled before. What its client expects then depends on the protocol.
fn cancel(link: &Link, call: CallId) {
    match link.settings.cancel {
        // A language server answers what was cancelled.
        Cancel::Lsp => link.send_cancel(call),
        Cancel::Mcp | Cancel::None => {
            link.abandon(call, GiveUp::Client);
        }
    }
}

impl Registration {
    /// The request is given to this connection.
    pub(super) fn give_to(&self, link: &Arc<Link>, call: CallId) {
        self.set_given_to(Some((Arc::clone(link), call)));
    }

    /// The connection that it was given to is over.
    pub(super) fn take_back(&self) {
        self.set_given_to(None);
    }

    fn set_given_to(&self, link: Option<(Arc<Link>, CallId)>) {
        let mut in_flight = lock(&self.in_flight);
        let request = in_flight.get_mut(&self.key);
        let before = request.map(|request| std::mem::replace(&mut request.given_to, link));
        drop(in_flight);
        drop(before);
    }

    /// Whether the client has cancelled the request.
    pub(super) fn is_cancelled(&self) -> bool {
        let in_flight = lock(&self.in_flight);
        let request = in_flight.get(&self.key);
        request.is_some_and(|request| request.is_cancelled)
    }

    /// Whether the client has cancelled the request, which was not sent yet. Otherwise the task is
    /// woken when it does.
    pub(super) fn poll_cancelled(&self, cx: &Context<'_>) -> bool {
        let mut in_flight = lock(&self.in_flight);
        let Some(request) = in_flight.get_mut(&self.key) else {
            return false;
        };
        let replaced = request.waker.replace(cx.waker().clone());
        // A language server that it is given to is told later, and answers.
        let given_to = request.given_to.as_ref();
        let is_answered = given_to.is_some_and(|(link, _)| link.settings.cancel == Cancel::Lsp);
        let is_over = request.is_cancelled && !is_answered;
        drop(in_flight);
        drop(replaced);
        is_over
    }

    /// The request is queued. A cancel that came before could not find it.
    pub(super) fn note_sent(&self) {
        let in_flight: MutexGuard<'_, _> = lock(&self.in_flight);
        let request: Option<&InFlight> = in_flight.get(&self.key);
        let cancelled = request.filter(|request| request.is_cancelled);
        let cancelled = cancelled.and_then(|request| request.given_to.clone());
        drop(in_flight);
        if let Some((link, call)) = cancelled {
            cancel(&link, call);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let ended = lock(&self.in_flight).remove(&self.key);
        drop(ended);
    }
}

impl fmt::Debug for ClientIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIds")
            .field("in_flight", &lock(&self.in_flight).len())
            .finish_non_exhaustive()
    }
}
