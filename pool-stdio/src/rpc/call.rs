//! How a caller makes a call: what can be set before it is awaited.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use pool_core::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{Client, ClientId, ClientMessage, elements, parse_result};
use super::error::RpcError;
use super::limit::Limit;
use super::note_queue::NoteSink;
use super::notifications::Progress;
use super::reply::Reply;
use super::round_trip::{RoundTrip, batch_round_trip};
use super::scan::Elements;

/// A call of a method, to be awaited. Made by
/// [`JsonRpcConnection::call`](crate::JsonRpcConnection::call), which has its errors and what a cancel
/// keeps and loses.
///
/// The request is composed when the call is made, and sent with the first poll.
///
/// # Examples
///
/// ```
/// # use pool_core::ConnectionPool;
/// # use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcError};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A server that never reads.
/// let connector = JsonRpcConnector::new(CommandSpec::new("sleep").arg("60"), Protocol::Plain)?;
/// let pool = ConnectionPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let limit = Duration::from_millis(20);
/// let error = child.call::<()>("wake up", &()).within(limit).await.unwrap_err();
/// assert!(matches!(error, RpcError::Timeout { .. }));
/// # Ok(())
/// # }
/// ```
#[must_use = "a call is sent when it is awaited"]
pub struct Call<'a, R> {
    round_trip: RoundTrip<&'a Client>,
    result: PhantomData<fn() -> R>,
}

impl<'a, R> Call<'a, R> {
    pub(super) fn new(client: &'a Client, method: &str, params: &impl Serialize) -> Self {
        Self {
            round_trip: RoundTrip::new(client, client.request(method, params)),
            result: PhantomData,
        }
    }

    /// Ends the call with [`Timeout`](RpcError::Timeout) after this time, counted from the first poll.
    /// It holds even if the child never reads. If it is known by then that no reply can come, the error says so instead.
    /// Has the same consequence for the child as dropping the future. Without a limit, a call can wait as long as the
    /// child lives.
    pub const fn within(mut self, limit: Duration) -> Self {
        self.round_trip.set_limit(limit);
        self
    }

    /// Sends the progress notifications of this call to `progress`. The params must carry a progress
    /// token. It is replaced on the way by one that no other call has, and restored in the
    /// notifications. The notifications of a subscription (`subscriptions/listen` of MCP) go there too.
    pub fn progress(mut self, progress: Progress) -> Self {
        if let Some(request) = self.round_trip.request_mut() {
            request.details.notes.sink = Some(NoteSink::Channel(progress));
        }
        self
    }
}

impl<R: DeserializeOwned> Future for Call<'_, R> {
    type Output = Result<R, RpcError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(self.round_trip.poll(cx));
        let result = reply.and_then(|reply| parse_result(&reply));
        Poll::Ready(result.inspect_err(|error| self.round_trip.client.count_failure(error)))
    }
}

impl<R> fmt::Debug for Call<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

/// A message of a client that is forwarded to a child, to be awaited. Made by
/// [`JsonRpcConnection::forward`](crate::JsonRpcConnection::forward), which has its errors and what a
/// cancel keeps and loses.
///
/// Resolves to the reply, or to `None` if the message expects none.
#[must_use = "a message is forwarded when this is awaited"]
pub struct Forward<'a> {
    client: &'a Client,
    stage: Stage<'a>,
    limit: Option<Duration>,
    progress: Option<Progress>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most forwarded messages are requests, and a box would cost each of them an allocation"
)]
enum Stage<'a> {
    New(Bytes),
    Request(RoundTrip<&'a Client>, ClientId),
    /// A notification or a batch.
    Other(BoxFuture<'a, Result<Option<Bytes>, RpcError>>),
    Over,
}

impl<'a> Forward<'a> {
    pub(super) const fn new(client: &'a Client, frame: Bytes) -> Self {
        Self {
            client,
            stage: Stage::New(frame),
            limit: None,
            progress: None,
        }
    }

    /// As [`Call::within`].
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sends the progress notifications of this request, or of all requests of this batch, to
    /// `progress`, with the client's own token. So do the notifications of a subscription
    /// (`subscriptions/listen` of MCP), with the client's own id.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    fn begin(&mut self, frame: &Bytes) -> Result<Stage<'a>, RpcError> {
        let client = self.client;
        let progress = self.progress.take();
        if Elements::of(frame).is_some() {
            let mut batch = Vec::new();
            for span in elements(frame)? {
                let message = frame.slice(span.range());
                batch.push(client.client_message(&message, progress.clone())?);
            }
            let limit = self.limit.map(Limit::starting_now);
            return Ok(Stage::Other(Box::pin(batch_round_trip(
                client, batch, limit,
            ))));
        }
        Ok(match client.client_message(frame, progress)? {
            ClientMessage::Request(mut request) => {
                let client_id = mem::take(&mut request.client_id);
                let mut round_trip = RoundTrip::new(client, Ok(request));
                if let Some(limit) = self.limit {
                    round_trip.set_limit(limit);
                }
                Stage::Request(round_trip, client_id)
            }
            ClientMessage::Notification(frame) => {
                let limit = self.limit.map(Limit::starting_now);
                let sent = Arc::clone(&client.link).send(frame, limit);
                let sent = async move { sent.await.map(|()| None) };
                Stage::Other(Box::pin(sent))
            }
        })
    }

    fn poll_stages(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, RpcError>> {
        if let Stage::New(frame) = &mut self.stage {
            let frame = mem::take(frame);
            self.stage = self.begin(&frame)?;
        }
        match &mut self.stage {
            Stage::Request(round_trip, client_id) => {
                let reply: Reply = ready!(round_trip.poll(cx))?;
                let client_id = mem::take(client_id);
                Poll::Ready(Ok(Some(client_id.restore(&reply))))
            }
            Stage::Other(other) => other.as_mut().poll(cx),
            Stage::New(_) | Stage::Over => {
                panic!("a forwarded message was polled after it was over")
            }
        }
    }
}

impl Future for Forward<'_> {
    type Output = Result<Option<Bytes>, RpcError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.poll_stages(cx));
        self.stage = Stage::Over;
        Poll::Ready(outcome.inspect_err(|error| self.client.count_failure(error)))
    }
}

impl fmt::Debug for Forward<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").finish_non_exhaustive()
    }
}
