//! One request and its reply: waits for a place in the queue, then for the reply, within a limit.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use pool_core::BoxFuture;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::client::{Client, ClientMessage, OutgoingRequest};
use super::error::RpcError;
use super::framing::join;
use super::limit::Limit;
use super::link::Link;
use super::pending::PendingCall;
use super::place::Place;
use super::reply::Reply;
use super::state::GiveUp;
use super::table::CallId;

/// A request on its way to its reply. Dropping it gives the call up.
///
/// A state machine instead of an `async fn`, so that it has a name and can be stored. `C` is how its
/// owner holds the connection: by a reference, or by a lease.
pub(super) struct RoundTrip<C: AsRef<Client>> {
    pub(super) client: C,
    stage: Stage,
    duration: Option<Duration>,
    limit: Option<Limit>,
    timer: Option<Pin<Box<Sleep>>>,
    /// When it was polled first, if metrics are recorded.
    begun: Option<Instant>,
}

enum Stage {
    New(Result<OutgoingRequest, RpcError>),
    /// The queue is full. Boxed, because that is rare, and would make every call larger.
    Waiting(
        OutgoingRequest,
        BoxFuture<'static, Result<Place<'static>, RpcError>>,
    ),
    Sent(CallId),
    Over,
}

impl<C: AsRef<Client>> RoundTrip<C> {
    pub(super) const fn new(client: C, request: Result<OutgoingRequest, RpcError>) -> Self {
        Self {
            client,
            stage: Stage::New(request),
            duration: None,
            limit: None,
            timer: None,
            begun: None,
        }
    }

    /// Ends it after this time, counted from its first poll.
    pub(super) const fn set_limit(&mut self, duration: Duration) {
        self.duration = Some(duration);
    }

    /// Ends it at this time, which an earlier request of the same caller may have begun.
    pub(super) const fn set_deadline(&mut self, limit: Limit) {
        self.limit = Some(limit);
    }

    /// The request, before the first poll.
    pub(super) const fn request_mut(&mut self) -> Option<&mut OutgoingRequest> {
        match &mut self.stage {
            Stage::New(Ok(request)) => Some(request),
            Stage::New(Err(_)) | Stage::Waiting(..) | Stage::Sent(_) | Stage::Over => None,
        }
    }

    /// Whether nothing was queued yet.
    pub(super) const fn is_unsent(&self) -> bool {
        matches!(self.stage, Stage::New(_) | Stage::Waiting(..))
    }

    /// The caller gives the call up, if it was sent. It must not be polled afterwards.
    pub(super) fn give_up(&mut self) {
        if let Stage::Sent(call) = mem::replace(&mut self.stage, Stage::Over) {
            let link = &self.client.as_ref().link;
            link.abandon(call, GiveUp::Caller);
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        let outcome = ready!(self.poll_stages(cx));
        self.stage = Stage::Over;
        if let Some(begun) = self.begun
            && outcome.is_ok()
        {
            let meters = &self.client.as_ref().meters;
            meters.request_answered(begun.elapsed());
        }
        Poll::Ready(outcome)
    }

    fn poll_stages(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        loop {
            if let Stage::Sent(call) = self.stage {
                if let Poll::Ready(reply) = self.client.as_ref().link.poll_call(call, cx) {
                    return Poll::Ready(reply);
                }
                return self.poll_limit(cx);
            }
            match mem::replace(&mut self.stage, Stage::Over) {
                Stage::New(request) => {
                    let request = request?;
                    self.begin();
                    let link = &self.client.as_ref().link;
                    let submitted = match link.try_place() {
                        Some(place) => Ok(submit(link, place, request, self.limit, cx)?),
                        None => Err(request),
                    };
                    match submitted {
                        Ok(call) => {
                            self.stage = Stage::Sent(call);
                            return self.poll_limit(cx);
                        }
                        Err(request) => {
                            let place = Arc::clone(link).wait_for_place(self.limit);
                            self.stage = Stage::Waiting(request, Box::pin(place));
                        }
                    }
                }
                Stage::Waiting(request, mut waiting) => match waiting.as_mut().poll(cx) {
                    Poll::Ready(place) => {
                        let link = &self.client.as_ref().link;
                        self.stage = Stage::Sent(submit(link, place?, request, self.limit, cx)?);
                        return self.poll_limit(cx);
                    }
                    Poll::Pending => {
                        self.stage = Stage::Waiting(request, waiting);
                        return Poll::Pending;
                    }
                },
                Stage::Sent(_) | Stage::Over => panic!("a call was polled after it was over"),
            }
        }
    }

    fn begin(&mut self) {
        if let Some(duration) = self.duration {
            self.limit = Some(Limit::starting_now(duration));
        }
        let meters = &self.client.as_ref().meters;
        self.begun = meters.is_recorded().then(Instant::now);
        meters.request_begun();
    }

    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(limit.until)));
        ready!(timer.as_mut().poll(cx));
        let Stage::Sent(call) = self.stage else {
            return Poll::Pending;
        };
        self.stage = Stage::Over;
        let link = &self.client.as_ref().link;
        let fate = link.abandon(call, GiveUp::Deadline);
        Poll::Ready(Err(link.timed_out(limit, fate)))
    }
}

impl<C: AsRef<Client>> Drop for RoundTrip<C> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Queues the request with the waker of this poll. Nothing is polled for the reply yet: when it comes
/// the waker is woken.
fn submit(
    link: &Link,
    place: Place<'_>,
    request: OutgoingRequest,
    limit: Option<Limit>,
    cx: &Context<'_>,
) -> Result<CallId, RpcError> {
    let OutgoingRequest {
        call,
        frame,
        mut details,
        ..
    } = request;
    details.waker = Some(cx.waker().clone());
    details.deadline = limit.map(|limit| limit.until);
    link.begin(place, call, frame, details)?;
    Ok(call)
}

/// Sends each message of a batch by itself, and joins the replies to one batch, in the same order.
pub(super) async fn batch_round_trip(
    client: &Client,
    batch: Vec<ClientMessage>,
    limit: Option<Limit>,
) -> Result<Option<Bytes>, RpcError> {
    let mut has_sent = false;
    let outcome = batch_replies(client, batch, limit, &mut has_sent).await;
    outcome.map_err(|error| {
        if has_sent {
            error.maybe_executed()
        } else {
            error
        }
    })
}

async fn batch_replies(
    client: &Client,
    batch: Vec<ClientMessage>,
    limit: Option<Limit>,
    has_sent: &mut bool,
) -> Result<Option<Bytes>, RpcError> {
    let link = &client.link;
    let mut calls = Vec::new();
    let begun = client.meters.is_recorded().then(Instant::now);
    for message in batch {
        match message {
            ClientMessage::Notification(frame) => Arc::clone(link).send(frame, limit).await?,
            ClientMessage::Request(request) => {
                client.meters.request_begun();
                let place = match link.try_place() {
                    Some(place) => place,
                    None => Arc::clone(link).wait_for_place(limit).await?,
                };
                let OutgoingRequest {
                    call,
                    frame,
                    mut details,
                    client_id,
                } = request;
                details.deadline = limit.map(|limit| limit.until);
                let call = PendingCall::begin(link, place, call, frame, details)?;
                calls.push((call, client_id));
            }
        }
        *has_sent = true;
    }
    let mut parts = Vec::new();
    for (mut call, client_id) in calls {
        let reply = reply_within(&mut call, limit, link).await?;
        if let Some(begun) = begun {
            client.meters.request_answered(begun.elapsed());
        }
        let separator: &'static [u8] = if parts.is_empty() { b"[" } else { b"," };
        parts.push(Bytes::from_static(separator));
        parts.push(client_id.restore(&reply));
    }
    if parts.is_empty() {
        return Ok(None);
    }
    parts.push(Bytes::from_static(b"]"));
    Ok(Some(join(&parts)))
}

async fn reply_within(
    call: &mut PendingCall<'_>,
    limit: Option<Limit>,
    link: &Link,
) -> Result<Reply, RpcError> {
    let reply = std::future::poll_fn(|cx| call.poll_reply(cx));
    let Some(limit) = limit else {
        return reply.await;
    };
    match timeout_at(limit.until, reply).await {
        Ok(outcome) => outcome,
        Err(_) => Err(link.timed_out(limit, call.miss_deadline())),
    }
}
