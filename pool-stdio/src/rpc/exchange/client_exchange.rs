//! One message of one client, from its lease to its end.
//!
//! # Invariants
//!
//! 1. Notes and the reply are kept apart: neither waits for the other to be taken.
//! 2. The client's id is free again as soon as the outcome is known. The lease ends then, too, unless the
//!    child may still work on a request that was given up (`load`).
//! 3. A request that is dropped is given up, or goes on in a task that holds all it had.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pool_core::BoxFuture;

use super::client_ids::Registration;
use super::held::{Held, Initializing};
use super::terms::OnDrop;
use crate::rpc::client::ClientId;
use crate::rpc::error::{Fate, RpcError};
use crate::rpc::note_queue::NoteQueue;
use crate::rpc::notification::Notification;
use crate::rpc::round_trip::RoundTrip;
use crate::rpc::table::CallId;

/// One message of one client on its way through a child: its notes and its reply. It owns its lease,
/// and can be moved into a task or a response body.
///
/// Made by [`RpcLease::exchange`](crate::RpcLease::exchange) or
/// [`Session::exchange`](crate::Session::exchange). The message is sent with the first poll of
/// [`next`](Self::next) or [`reply`](Self::reply). The child sees it under an id of ours and with tokens of
/// ours; what comes back has those of the client. So clients with equal ids and tokens can share a child.
///
/// The lease ends when the outcome is known. What a drop before that does is up to the
/// [`Terms`](crate::Terms::on_drop). A shared child may still work on a request that was cancelled or has
/// timed out. So its lease is kept as load until the late reply, or in MCP until the child has answered
/// something later, but no longer than [`hang_after`](crate::RpcLimits::hang_after).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcLease, Terms};
///
/// // A server that sends one progress notification, and then answers.
/// let says = r#"{"jsonrpc":"2.0","method":"notifications\/progress","params":{"progressToken":\2}}"#;
/// let answers = r#"{"jsonrpc":"2.0","id":\1,"result":"done"}"#;
/// let asked = r#".*"id":\([0-9]*\).*"progressToken":\("[^"]*"\).*"#;
/// let server = CommandSpec::new("sed").args(["-u", &format!(r"s/{asked}/{says}\n{answers}/")]);
/// let pool = SharedPool::builder(JsonRpcConnector::new(server, Protocol::Mcp)?).build()?;
///
/// let request =
///     r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{"_meta":{"progressToken":"mine"}}}"#;
/// let mut exchange = pool.acquire().await?.exchange(request, &Terms::new())?;
/// while let Some(note) = exchange.next().await {
///     assert!(note.message.ends_with(br#""params":{"progressToken":"mine"}}"#));
/// }
/// let reply = exchange.reply().await?.expect("a request has a reply");
/// assert_eq!(reply, r#"{"jsonrpc":"2.0","id":"a","result":"done"}"#);
/// # Ok(())
/// # }
/// ```
#[must_use = "a message is sent when its reply or its notes are awaited"]
pub struct Exchange {
    stage: Stage,
    notes: Option<Arc<NoteQueue>>,
    registration: Option<Arc<Registration>>,
    /// The request is the `initialize` of a session's client.
    initializing: Option<Initializing>,
    client_id: ClientId,
    call: CallId,
    on_drop: OnDrop,
    pid: u32,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most messages are requests, and a box would cost each of them an allocation"
)]
pub(super) enum Stage {
    Request(RoundTrip<Held>),
    /// A message that expects no reply.
    OneWay(Held, BoxFuture<'static, Result<(), RpcError>>),
    Over(Result<Option<Bytes>, RpcError>),
}

impl Exchange {
    pub(super) fn of_request(
        round_trip: RoundTrip<Held>,
        call: CallId,
        client_id: ClientId,
        on_drop: OnDrop,
    ) -> Self {
        Self {
            call,
            pid: round_trip.client.as_ref().link.settings.pid,
            stage: Stage::Request(round_trip),
            notes: None,
            registration: None,
            initializing: None,
            client_id,
            on_drop,
        }
    }

    /// Of a message that expects no reply, or that was answered here.
    pub(super) fn of_stage(stage: Stage, pid: u32) -> Self {
        Self {
            stage,
            notes: None,
            registration: None,
            initializing: None,
            client_id: ClientId::default(),
            call: 0,
            on_drop: OnDrop::Cancel,
            pid,
        }
    }

    pub(super) fn set_notes(&mut self, notes: Arc<NoteQueue>) {
        self.notes = Some(notes);
    }

    pub(super) fn set_registration(&mut self, registration: Arc<Registration>) {
        self.registration = Some(registration);
    }

    pub(super) fn set_initializing(&mut self, initializing: Initializing) {
        self.initializing = Some(initializing);
    }

    /// The next note: progress, or a notification of the subscription that this request opened, with
    /// the client's own token and id. `None` once the outcome is known and all notes were taken; then
    /// [`reply`](Self::reply) does not wait. A note [says](Notification::missed) how many were dropped
    /// directly before it, because they were not taken in time.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Notification> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The reply under the client's own id; `None` if the message expects none. Does not wait for notes
    /// to be taken. Can be asked again.
    ///
    /// # Errors
    ///
    /// As [`JsonRpcConnection::forward`](crate::JsonRpcConnection::forward), and:
    /// [`ClientCancelled`](RpcError::ClientCancelled) if the [client](crate::ClientIds) cancelled it,
    /// [`ServerCancelled`](RpcError::ServerCancelled) if the child ended the subscription,
    /// [`SubscriptionOverflow`](RpcError::SubscriptionOverflow) if its notifications were not taken in
    /// time.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost. Only a drop of the exchange gives it up.
    pub async fn reply(&mut self) -> Result<Option<Bytes>, RpcError> {
        poll_fn(|cx| self.poll_over(cx).map(<Result<_, _>>::clone)).await
    }

    /// The process id of the child.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notification>> {
        // Order: before the notes are looked at, because those that came before the reply are there
        // when the reply is.
        let is_over = self.poll_over(cx).is_ready();
        let note = match &self.notes {
            Some(notes) => notes.poll(cx),
            None => Poll::Pending,
        };
        match note {
            Poll::Ready(note) => Poll::Ready(Some(note)),
            Poll::Pending if is_over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The outcome, if it is known.
    pub(super) const fn outcome(&self) -> Option<&Result<Option<Bytes>, RpcError>> {
        match &self.stage {
            Stage::Over(outcome) => Some(outcome),
            Stage::Request(_) | Stage::OneWay(..) => None,
        }
    }

    pub(super) fn poll_over(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<&Result<Option<Bytes>, RpcError>> {
        if !matches!(self.stage, Stage::Over(_)) {
            let outcome = ready!(self.poll_stages(cx));
            let is_given_up = outcome.as_ref().is_err_and(|error| !error.is_retry_safe());
            let mut ended = mem::replace(&mut self.stage, Stage::Over(outcome));
            if let Stage::Request(round_trip) = &mut ended
                && is_given_up
            {
                round_trip.client.end(self.call);
            }
            self.registration = None;
            self.initializing = None;
            drop(ended);
        }
        match &self.stage {
            Stage::Over(outcome) => Poll::Ready(outcome),
            Stage::Request(_) | Stage::OneWay(..) => Poll::Pending,
        }
    }

    fn poll_stages(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, RpcError>> {
        let (outcome, client) = match &mut self.stage {
            Stage::Request(round_trip) => {
                let was_unsent = round_trip.is_unsent();
                if let Some(registration) = &self.registration
                    && was_unsent
                    && registration.poll_cancelled(cx)
                {
                    let fate = Fate::NotSent;
                    return Poll::Ready(Err(RpcError::ClientCancelled { fate }));
                }
                let polled = round_trip.poll(cx);
                if was_unsent && !round_trip.is_unsent() {
                    if let Some(registration) = &self.registration {
                        registration.note_sent();
                    }
                    if let Some(initializing) = &mut self.initializing {
                        initializing.note_sent();
                    }
                }
                let reply = ready!(polled);
                if let Some(initializing) = self.initializing.take() {
                    initializing.end(&reply);
                }
                let outcome = reply.map(|reply| Some(self.client_id.restore(&reply)));
                (outcome, round_trip.client.as_ref())
            }
            Stage::OneWay(held, sent) => {
                let outcome = ready!(sent.as_mut().poll(cx)).map(|()| None);
                (outcome, (*held).as_ref())
            }
            Stage::Over(outcome) => return Poll::Ready(outcome.clone()),
        };
        if let Err(error) = &outcome
            && !matches!(error, RpcError::ClientCancelled { .. })
        {
            client.count_failure(error);
        }
        Poll::Ready(outcome)
    }

    /// Lets a request go on in a task of its own. If there is no runtime any more, it is given up.
    fn detach(&mut self) {
        let Stage::Request(round_trip) = &self.stage else {
            return;
        };
        if round_trip.is_unsent() || self.client_id.is_subscription {
            return;
        }
        let Some(runtime) = round_trip.client.as_ref().link.runtime.clone() else {
            return;
        };
        let nothing = Stage::Over(Ok(None));
        let mut detached = Self {
            stage: mem::replace(&mut self.stage, nothing),
            notes: self.notes.take(),
            registration: self.registration.take(),
            initializing: self.initializing.take(),
            client_id: mem::take(&mut self.client_id),
            call: self.call,
            on_drop: OnDrop::Cancel,
            pid: self.pid,
        };
        runtime.spawn(async move { drop(detached.reply().await) });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Detach {
            self.detach();
        }
        if let Stage::Request(round_trip) = &mut self.stage
            && !round_trip.is_unsent()
        {
            round_trip.give_up();
            round_trip.client.end(self.call);
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("pid", &self.pid)
            .field("is_over", &matches!(self.stage, Stage::Over(_)))
            .finish_non_exhaustive()
    }
}
