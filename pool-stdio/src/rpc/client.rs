//! What a caller can ask of a connection, in settings of messages.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::error::{ErrorObject, RpcError};
use super::framing::{Frame, join, splice};
use super::link::{CallDetails, Link};
use super::notifications::Progress;
use super::pending::Limit;
use super::protocol::{Protocol, is_cancel};
use super::scan::{Elements, Envelope, Malformed, MessageKind, Span};
use super::table::{CallId, Reply};
use crate::metrics::Meters;

/// The calling side of a connection.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) link: Arc<Link>,
    pub(super) protocol: Protocol,
    pub(super) meters: Arc<Meters>,
}

/// A request that is ready to go, and what must be known to give its reply back.
struct Outgoing {
    call: CallId,
    frame: Frame,
    details: CallDetails,
    /// The id under which a client of ours sent it.
    id: Bytes,
}

/// What a frame of a client of ours is.
enum Incoming {
    Request(Outgoing),
    Notification(Frame),
}

impl Client {
    pub(super) async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
        progress: Option<Progress>,
        limit: Option<Duration>,
    ) -> Result<R, RpcError> {
        let outgoing = self.request(method, params, progress);
        let outcome = match outgoing {
            Ok(outgoing) => self.exchange(outgoing, limit.map(Limit::of)).await,
            Err(error) => Err(error),
        };
        let result = outcome.and_then(|reply| result_of(&reply));
        result.inspect_err(|error| self.meters.failed(error.kind()))
    }

    /// Asks for a sign of life, which any answer is.
    pub(super) async fn ping(&self, method: &str) -> Result<(), RpcError> {
        let outcome = match self.request(method, &(), None) {
            Ok(mut outgoing) => {
                outgoing.details.is_ping = true;
                self.exchange(outgoing, None).await
            }
            Err(error) => Err(error),
        };
        let answered = outcome.map(drop);
        answered.inspect_err(|error| self.meters.failed(error.kind()))
    }

    pub(super) async fn notify(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<(), RpcError> {
        let frame = compose(None, method, params).and_then(|(message, _)| self.frame_of(message));
        let outcome = match frame {
            Ok(frame) => self.link.send(frame, None).await,
            Err(error) => Err(error),
        };
        outcome.inspect_err(|error| self.meters.failed(error.kind()))
    }

    pub(super) async fn forward(
        &self,
        frame: Bytes,
        progress: Option<Progress>,
        limit: Option<Duration>,
    ) -> Result<Option<Bytes>, RpcError> {
        let limit = limit.map(Limit::of);
        let outcome = match Elements::of(&frame) {
            Some(_) => self.forward_batch(&frame, progress, limit).await,
            None => self.forward_one(&frame, progress, limit).await,
        };
        outcome.inspect_err(|error| self.meters.failed(error.kind()))
    }

    async fn forward_one(
        &self,
        message: &Bytes,
        progress: Option<Progress>,
        limit: Option<Limit>,
    ) -> Result<Option<Bytes>, RpcError> {
        match self.incoming(message, progress)? {
            Incoming::Notification(frame) => {
                self.link.send(frame, limit).await?;
                Ok(None)
            }
            Incoming::Request(mut outgoing) => {
                let id = std::mem::take(&mut outgoing.id);
                let reply = self.exchange(outgoing, limit).await?;
                Ok(Some(join(&restored(&reply, id))))
            }
        }
    }

    /// Each message of a batch goes its own way; the replies come back as one batch.
    async fn forward_batch(
        &self,
        batch: &Bytes,
        progress: Option<Progress>,
        limit: Option<Limit>,
    ) -> Result<Option<Bytes>, RpcError> {
        let mut incoming = Vec::new();
        for span in elements(batch)? {
            incoming.push(self.incoming(&batch.slice(span.range()), progress.clone())?);
        }
        let mut has_sent = false;
        let outcome = self.exchange_all(incoming, limit, &mut has_sent).await;
        outcome.map_err(|error| {
            if has_sent {
                error.maybe_executed()
            } else {
                error
            }
        })
    }

    async fn exchange_all(
        &self,
        batch: Vec<Incoming>,
        limit: Option<Limit>,
        has_sent: &mut bool,
    ) -> Result<Option<Bytes>, RpcError> {
        let mut calls = Vec::new();
        let begun = self.meters.is_recorded().then(Instant::now);
        for one in batch {
            match one {
                Incoming::Notification(frame) => self.link.send(frame, limit).await?,
                Incoming::Request(Outgoing {
                    call,
                    frame,
                    details,
                    id,
                }) => {
                    self.meters.request_begun();
                    let place = self.link.place(limit).await?;
                    calls.push((self.link.begin(place, call, frame, details, None)?, id));
                }
            }
            *has_sent = true;
        }
        let mut parts = Vec::new();
        for (call, id) in calls {
            let reply = call.reply(limit).await?;
            if let Some(begun) = begun {
                self.meters.request_answered(begun.elapsed());
            }
            let separator: &'static [u8] = if parts.is_empty() { b"[" } else { b"," };
            parts.push(Bytes::from_static(separator));
            parts.extend(restored(&reply, id));
        }
        if parts.is_empty() {
            return Ok(None);
        }
        parts.push(Bytes::from_static(b"]"));
        Ok(Some(join(&parts)))
    }

    async fn exchange(&self, outgoing: Outgoing, limit: Option<Limit>) -> Result<Reply, RpcError> {
        let begun = self.meters.is_recorded().then(Instant::now);
        self.meters.request_begun();
        let place = self.link.place(limit).await?;
        // Order: from here on nothing is awaited before the call.
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let Outgoing {
            call,
            frame,
            details,
            ..
        } = outgoing;
        let call = self.link.begin(place, call, frame, details, Some(waker))?;
        let reply = call.reply(limit).await?;
        if let Some(begun) = begun {
            self.meters.request_answered(begun.elapsed());
        }
        Ok(reply)
    }

    fn request(
        &self,
        method: &str,
        params: &impl Serialize,
        progress: Option<Progress>,
    ) -> Result<Outgoing, RpcError> {
        let call = self.link.number();
        let (message, params) = compose(Some(call), method, params)?;
        let envelope = Envelope {
            params,
            ..Envelope::default()
        };
        let spans = self.protocol.request_tokens(&message, &envelope);
        if spans.is_empty() {
            return Ok(Outgoing {
                call,
                frame: self.frame_of(message)?,
                details: CallDetails {
                    progress,
                    ..CallDetails::default()
                },
                id: Bytes::new(),
            });
        }
        self.rewritten(&Bytes::from(message), call, None, spans, progress)
    }

    fn incoming(&self, message: &Bytes, progress: Option<Progress>) -> Result<Incoming, RpcError> {
        let found = Envelope::of(message).and_then(|found| Ok((found.kind()?, found)));
        let (kind, envelope) = found.map_err(bad_request)?;
        if envelope.has_lookalike {
            return Err(bad_request(Malformed::Lookalike));
        }
        // With an id too: some look at the method only.
        if is_cancel(message, &envelope) {
            return Err(RpcError::BadRequest {
                reason: ID_OF_NOBODY.to_owned(),
            });
        }
        match (kind, envelope.id) {
            (MessageKind::Request, Some(id)) => {
                let call = self.link.number();
                let tokens = self.protocol.request_tokens(message, &envelope);
                let outgoing = self.rewritten(message, call, Some(id), tokens, progress)?;
                Ok(Incoming::Request(outgoing))
            }
            (MessageKind::Notification, _) => {
                let frame = self.frame(std::slice::from_ref(message))?;
                Ok(Incoming::Notification(frame))
            }
            (MessageKind::Request, None) => Err(bad_request(Malformed::Neither)),
            (MessageKind::Reply, _) => Err(RpcError::BadRequest {
                reason: REPLY_TO_NOBODY.to_owned(),
            }),
        }
    }

    /// The message under our id, with tokens of ours.
    fn rewritten(
        &self,
        message: &Bytes,
        call: CallId,
        id: Option<Span>,
        tokens: Vec<Span>,
        progress: Option<Progress>,
    ) -> Result<Outgoing, RpcError> {
        let client_id = id.map_or_else(Bytes::new, |id| message.slice(id.range()));
        let mut edits: Vec<(Span, Bytes)> = Vec::with_capacity(tokens.len() + 1);
        edits.extend(id.map(|id| (id, Bytes::from(call.to_string()))));
        let mut details = CallDetails {
            progress,
            tokens: Vec::with_capacity(tokens.len()),
            is_ping: false,
        };
        for span in tokens {
            let number = self.link.number();
            details.tokens.push((number, message.slice(span.range())));
            edits.push((span, Bytes::from(number.to_string())));
        }
        edits.sort_by_key(|(span, _)| span.range().start);
        Ok(Outgoing {
            call,
            frame: self.frame(&splice(message, &edits))?,
            details,
            id: client_id,
        })
    }

    fn frame(&self, parts: &[Bytes]) -> Result<Frame, RpcError> {
        let settings = &self.link.settings;
        Frame::new(settings.framing, settings.frame_bytes_max, parts)
    }

    fn frame_of(&self, message: Vec<u8>) -> Result<Frame, RpcError> {
        let settings = &self.link.settings;
        Frame::of(settings.framing, settings.frame_bytes_max, message)
    }
}

/// Writes a request, or a notification if it has no number, and says where its params are.
fn compose(
    call: Option<CallId>,
    method: &str,
    params: &impl Serialize,
) -> Result<(Vec<u8>, Option<Span>), RpcError> {
    let refused = |error: serde_json::Error| RpcError::BadRequest {
        reason: error.to_string(),
    };
    let mut message = Vec::with_capacity(MESSAGE_BYTES);
    message.extend_from_slice(br#"{"jsonrpc":"2.0","#);
    if let Some(call) = call {
        message.extend_from_slice(br#""id":"#);
        serde_json::to_writer(&mut message, &call).map_err(refused)?;
        message.push(b',');
    }
    message.extend_from_slice(br#""method":"#);
    serde_json::to_writer(&mut message, method).map_err(refused)?;
    let before_params = message.len();
    message.extend_from_slice(br#","params":"#);
    let start = message.len();
    serde_json::to_writer(&mut message, params).map_err(refused)?;
    let mut span = None;
    if &message[start..] == b"null" {
        // Params are an object or an array, or there are none.
        message.truncate(before_params);
    } else {
        // None of what is too long for that, and for every frame.
        span = Span::new(&(start..message.len()));
    }
    message.push(b'}');
    Ok((message, span))
}

fn result_of<R: DeserializeOwned>(reply: &Reply) -> Result<R, RpcError> {
    let not_understood = |error: serde_json::Error| RpcError::BadResult {
        reason: error.to_string(),
        // It may be kept for long, and would keep all of the buffer it was read into.
        reply: Bytes::copy_from_slice(reply.message()),
    };
    match reply.answer() {
        Ok(result) => match std::str::from_utf8(result) {
            // Looked at once as a whole, and not string by string.
            Ok(text) => serde_json::from_str(text).map_err(not_understood),
            Err(_) => serde_json::from_slice(result).map_err(not_understood),
        },
        Err(error) => {
            let error: ErrorObject = serde_json::from_slice(error).map_err(not_understood)?;
            Err(RpcError::Refused(error))
        }
    }
}

/// The reply under the id of our client.
fn restored(reply: &Reply, id: Bytes) -> Vec<Bytes> {
    splice(reply.message(), &[(reply.id(), id)])
}

fn elements(batch: &Bytes) -> Result<Vec<Span>, RpcError> {
    let mut elements = Elements::of(batch).ok_or(bad_request(Malformed::NotJson))?;
    let mut spans = Vec::new();
    while let Some(span) = elements.next().map_err(bad_request)? {
        spans.push(span);
    }
    if spans.is_empty() {
        return Err(RpcError::BadRequest {
            reason: EMPTY_BATCH.to_owned(),
        });
    }
    Ok(spans)
}

fn bad_request(malformed: Malformed) -> RpcError {
    RpcError::BadRequest {
        reason: malformed.to_string(),
    }
}

const ID_OF_NOBODY: &str = "a cancel notification names an id or a token that the child does not know, or \
                            as another caller's; drop the future of the call instead";
const REPLY_TO_NOBODY: &str =
    "a reply; what a child asks is answered by its connector's on_request";
const EMPTY_BATCH: &str = "an empty batch";
/// Most requests fit.
const MESSAGE_BYTES: usize = 256;
