//! How a caller makes a call: what can be set before it is awaited.

use std::fmt;
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

/// A call of a method, or a client's message that is forwarded; to be awaited. Made by
/// [`JsonRpcConnection::call`](crate::JsonRpcConnection::call) and
/// [`forward`](crate::JsonRpcConnection::forward), which have its errors and what a cancel keeps and
/// loses.
///
/// Nothing is sent before the first poll.
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
    client: &'a Client,
    stage: Stage<'a, R>,
    /// Of a message that is not yet composed.
    limit: Option<Duration>,
    progress: Option<Progress>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most calls are requests, and a box would cost each of them an allocation"
)]
enum Stage<'a, R> {
    /// A client's message, which is composed with the first poll: its limit and progress are known then.
    Message(Bytes, Compose<'a, R>),
    Request {
        round_trip: RoundTrip<&'a Client>,
        /// Of a forwarded request.
        client_id: ClientId,
        read: fn(&Reply, &ClientId) -> Result<R, RpcError>,
    },
    /// A notification or a batch.
    Other(BoxFuture<'a, Result<R, RpcError>>),
    Over,
}

type Compose<'a, R> = fn(
    client: &'a Client,
    frame: &Bytes,
    limit: Option<Duration>,
    progress: Option<Progress>,
) -> Result<Stage<'a, R>, RpcError>;

impl<'a, R: DeserializeOwned> Call<'a, R> {
    pub(super) fn new(client: &'a Client, method: &str, params: &impl Serialize) -> Self {
        Self {
            client,
            stage: Stage::Request {
                round_trip: RoundTrip::new(client, client.request(method, params)),
                client_id: ClientId::default(),
                read: |reply, _| parse_result(reply),
            },
            limit: None,
            progress: None,
        }
    }
}

impl<'a> Call<'a, Option<Bytes>> {
    pub(super) fn forward(client: &'a Client, frame: Bytes) -> Self {
        Self {
            client,
            stage: Stage::Message(frame, compose),
            limit: None,
            progress: None,
        }
    }
}

impl<R> Call<'_, R> {
    /// Ends the call with [`Timeout`](RpcError::Timeout) after this time, counted from the first poll.
    /// It holds even if the child never reads. If it is known by then that no reply can come, the error says so instead.
    /// Has the same consequence for the child as dropping the future. Without a limit, a call can wait as long as the
    /// child lives.
    pub fn within(mut self, limit: Duration) -> Self {
        match &mut self.stage {
            Stage::Request { round_trip, .. } => round_trip.set_limit(limit),
            Stage::Message(..) | Stage::Other(_) | Stage::Over => self.limit = Some(limit),
        }
        self
    }

    /// Sends the progress notifications of this call to `progress`; of a batch, those of all its
    /// requests. The params must carry a progress token. It is replaced on the way by one that no other
    /// call has, and restored in the notifications. The notifications of a subscription
    /// (`subscriptions/listen` of MCP) go there too, of a forwarded one with the client's own id.
    pub fn progress(mut self, progress: Progress) -> Self {
        match &mut self.stage {
            Stage::Request { round_trip, .. } => {
                if let Some(request) = round_trip.request_mut() {
                    request.details.notes.sink = Some(NoteSink::Channel(progress));
                }
            }
            Stage::Message(..) | Stage::Other(_) | Stage::Over => self.progress = Some(progress),
        }
        self
    }

    fn poll_stages(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, RpcError>> {
        if let Stage::Message(frame, compose) = &mut self.stage {
            let frame = mem::take(frame);
            self.stage = compose(self.client, &frame, self.limit, self.progress.take())?;
        }
        match &mut self.stage {
            Stage::Request {
                round_trip,
                client_id,
                read,
            } => {
                let reply = ready!(round_trip.poll(cx))?;
                Poll::Ready(read(&reply, client_id))
            }
            Stage::Other(other) => other.as_mut().poll(cx),
            Stage::Message(..) | Stage::Over => panic!("a call was polled after it was over"),
        }
    }
}

impl<R> Future for Call<'_, R> {
    type Output = Result<R, RpcError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.poll_stages(cx));
        self.stage = Stage::Over;
        Poll::Ready(outcome.inspect_err(|error| self.client.count_failure(error)))
    }
}

impl<R> fmt::Debug for Call<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

/// Composes what a client's message is for the child: a request, a notification or a batch.
fn compose<'a>(
    client: &'a Client,
    frame: &Bytes,
    limit: Option<Duration>,
    progress: Option<Progress>,
) -> Result<Stage<'a, Option<Bytes>>, RpcError> {
    if Elements::of(frame).is_some() {
        let mut batch = Vec::new();
        for span in elements(frame)? {
            let message = frame.slice(span.range());
            batch.push(client.client_message(&message, progress.clone())?);
        }
        let limit = limit.map(Limit::starting_now);
        let replies = batch_round_trip(client, batch, limit);
        return Ok(Stage::Other(Box::pin(replies)));
    }
    Ok(match client.client_message(frame, progress)? {
        ClientMessage::Request(mut request) => {
            let client_id = mem::take(&mut request.client_id);
            let mut round_trip = RoundTrip::new(client, Ok(request));
            if let Some(limit) = limit {
                round_trip.set_limit(limit);
            }
            Stage::Request {
                round_trip,
                client_id,
                read: |reply, client_id| Ok(Some(client_id.restore(reply))),
            }
        }
        ClientMessage::Notification(frame) => {
            let limit = limit.map(Limit::starting_now);
            let sent = Arc::clone(&client.link).send(frame, limit);
            Stage::Other(Box::pin(async move { sent.await.map(|()| None) }))
        }
    })
}
