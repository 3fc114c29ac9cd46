//! Turns calls and forwarded messages into requests, and replies back into what the caller expects.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::RpcError;
use super::framing::{Frame, join, splice};
use super::link::Link;
use super::note_queue::{NoteSink, Notes};
use super::notifications::Progress;
use super::protocol::{Protocol, is_cancel, is_method, subscription_ids};
use super::reply::{ErrorObject, Reply};
use super::scan::{DEPTH_MAX, Elements, Envelope, Malformed, MessageKind, Span};
use super::state::CallDetails;
use super::table::CallId;
use crate::metrics::Meters;

/// The calling side of a connection.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) link: Arc<Link>,
    pub(super) protocol: Protocol,
    pub(super) meters: Arc<Meters>,
}

impl AsRef<Self> for Client {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// A request that can be sent.
#[derive(Debug)]
pub(super) struct OutgoingRequest {
    pub(super) call: CallId,
    pub(super) frame: Frame,
    pub(super) details: CallDetails,
    pub(super) client_id: ClientId,
}

/// The id that a forwarded message had.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientId {
    pub(super) id: Bytes,
    /// The reply may name the request by its id once more.
    pub(super) is_subscription: bool,
}

impl ClientId {
    /// The reply under the client's own id.
    pub(super) fn restore(&self, reply: &Reply) -> Bytes {
        let message = reply.message();
        if self.is_subscription {
            return join(&splice(message, &self.edits(reply)));
        }
        let id = reply.id().range();
        let mut restored = Vec::with_capacity(message.len() - id.len() + self.id.len());
        restored.extend_from_slice(&message[..id.start]);
        restored.extend_from_slice(&self.id);
        restored.extend_from_slice(&message[id.end..]);
        restored.into()
    }

    fn edits(&self, reply: &Reply) -> Vec<(Span, Bytes)> {
        let message = reply.message();
        let mut edits = vec![(reply.id(), self.id.clone())];
        for span in subscription_ids(message, reply.body()) {
            edits.push((span, as_quoted(span.of(message), self.id.clone())));
        }
        edits.sort_by_key(|(span, _)| span.range().start);
        edits
    }
}

/// The client's id, as a string if the child wrote ours as one.
pub(super) fn as_quoted(ours: &[u8], client_id: Bytes) -> Bytes {
    if !ours.starts_with(b"\"") || client_id.starts_with(b"\"") {
        return client_id;
    }
    [b"\"", &client_id[..], b"\""].concat().into()
}

impl OutgoingRequest {
    /// Sends what the child says of it there, under the client's id.
    pub(super) fn set_sink(&mut self, sink: NoteSink) {
        self.details.notes = Notes {
            sink: Some(sink),
            client_id: Some(self.client_id.id.clone()),
            is_subscription: self.client_id.is_subscription,
        };
    }
}

/// A forwarded message that can be sent.
#[derive(Debug)]
pub(super) enum ClientMessage {
    Request(OutgoingRequest),
    Notification(Frame),
}

impl Client {
    /// Sends a notification.
    pub(super) async fn notify(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<(), RpcError> {
        let frame = compose(None, method, params).and_then(|(message, _)| self.frame_of(message));
        let outcome = match frame {
            Ok(frame) => Arc::clone(&self.link).send(frame, None).await,
            Err(error) => Err(error),
        };
        outcome.inspect_err(|error| self.count_failure(error))
    }

    pub(super) fn count_failure(&self, error: &RpcError) {
        self.meters.failed(error.kind());
    }

    /// The request of a call. Progress tokens in its params are replaced by numbers of ours.
    pub(super) fn request(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<OutgoingRequest, RpcError> {
        let call = self.link.next_number();
        let (message, params) = compose(Some(call), method, params)?;
        let envelope = Envelope {
            params,
            ..Envelope::default()
        };
        let spans = self.protocol.request_tokens(&message, &envelope);
        let mut request = if spans.is_empty() {
            OutgoingRequest {
                call,
                frame: self.frame_of(message)?,
                details: CallDetails::default(),
                client_id: ClientId::default(),
            }
        } else {
            self.rewritten(&Bytes::from(message), call, None, spans)?
        };
        request.details.notes.is_subscription = self.protocol.subscribes(method);
        request.details.is_initialize = method == "initialize";
        Ok(request)
    }

    /// Checks a message of a client, and replaces its id and its progress tokens by numbers of ours.
    pub(super) fn client_message(
        &self,
        message: &Bytes,
        progress: Option<Progress>,
    ) -> Result<ClientMessage, RpcError> {
        let (kind, envelope) = read_message(message)?;
        // Even with an id, because some servers look at the method only.
        if is_cancel(message, &envelope) {
            return Err(RpcError::BadRequest {
                reason: CANCEL_REFUSED.to_owned(),
            });
        }
        match (kind, envelope.id) {
            (MessageKind::Request, Some(id)) => {
                let mut request = self.client_request(message, &envelope, id)?;
                if let Some(progress) = progress {
                    request.set_sink(NoteSink::Channel(progress));
                }
                Ok(ClientMessage::Request(request))
            }
            (MessageKind::Notification, _) => {
                let frame = self.frame(std::slice::from_ref(message))?;
                Ok(ClientMessage::Notification(frame))
            }
            (MessageKind::Request, None) => Err(bad_request(Malformed::Neither)),
            (MessageKind::Reply, _) => Err(RpcError::BadRequest {
                reason: REPLY_REFUSED.to_owned(),
            }),
        }
    }

    /// The request of a client, under a number of ours and with tokens of ours.
    pub(super) fn client_request(
        &self,
        message: &Bytes,
        envelope: &Envelope,
        id: Span,
    ) -> Result<OutgoingRequest, RpcError> {
        let call = self.link.next_number();
        let tokens = self.protocol.request_tokens(message, envelope);
        let mut request = self.rewritten(message, call, Some(id), tokens)?;
        request.client_id.is_subscription = self.protocol.is_subscription(message, envelope);
        request.details.is_initialize = is_method(message, envelope, "initialize");
        Ok(request)
    }

    /// The request under our id, with tokens of ours.
    fn rewritten(
        &self,
        message: &Bytes,
        call: CallId,
        id: Option<Span>,
        tokens: Vec<Span>,
    ) -> Result<OutgoingRequest, RpcError> {
        // Copies, because a slice would keep the whole message until the reply.
        let copied = |span: Span| Bytes::copy_from_slice(span.of(message));
        let client_id = ClientId {
            id: id.map_or_else(Bytes::new, copied),
            is_subscription: false,
        };
        let mut edits: Vec<(Span, Bytes)> = Vec::with_capacity(tokens.len() + 1);
        edits.extend(id.map(|id| (id, Bytes::from(call.to_string()))));
        let mut details = CallDetails {
            tokens: Vec::with_capacity(tokens.len()),
            ..CallDetails::default()
        };
        for span in tokens {
            let number = self.link.next_number();
            details.tokens.push((number, copied(span)));
            edits.push((span, self.link.tokens.text(number)));
        }
        edits.sort_by_key(|(span, _)| span.range().start);
        Ok(OutgoingRequest {
            call,
            frame: self.frame(&splice(message, &edits))?,
            details,
            client_id,
        })
    }

    pub(super) fn frame(&self, parts: &[Bytes]) -> Result<Frame, RpcError> {
        let settings = &self.link.settings;
        Frame::new(settings.framing, settings.frame_bytes_max, parts)
    }

    fn frame_of(&self, message: Vec<u8>) -> Result<Frame, RpcError> {
        let settings = &self.link.settings;
        Frame::of(settings.framing, settings.frame_bytes_max, message)
    }
}

/// Writes a request, or a notification if there is no call, and returns where its params are.
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
        // JSON-RPC params are an object or an array, or left out.
        message.truncate(before_params);
    } else {
        // `None` beyond 4 GiB. Such a message is refused later: no frame can hold it.
        span = Span::new(&(start..message.len()));
    }
    message.push(b'}');
    Ok((message, span))
}

/// The result of a reply, parsed.
pub(super) fn parse_result<R: DeserializeOwned>(reply: &Reply) -> Result<R, RpcError> {
    let bad_result = |error: serde_json::Error| RpcError::BadResult {
        reason: error.to_string(),
        // A copy, because the error may be kept for long, and a slice would keep the whole buffer that
        // the reply was read into.
        reply: Bytes::copy_from_slice(reply.message()),
    };
    match reply.answer() {
        Ok(result) => match std::str::from_utf8(result) {
            // One check of the whole text is faster than one for each string.
            Ok(text) => serde_json::from_str(text).map_err(bad_result),
            Err(_) => serde_json::from_slice(result).map_err(bad_result),
        },
        Err(error) => {
            let error: ErrorObject = serde_json::from_slice(error).map_err(bad_result)?;
            Err(RpcError::Refused(error))
        }
    }
}

/// What kind of message a client sent, and where its parts are.
pub(super) fn read_message(message: &[u8]) -> Result<(MessageKind, Envelope), RpcError> {
    let found = Envelope::of(message).and_then(|found| Ok((found.kind()?, found)));
    let (kind, envelope) = found.map_err(bad_request)?;
    if envelope.has_lookalike {
        return Err(bad_request(Malformed::Lookalike));
    }
    // A child can fail on such a message without naming its id, or die of it.
    if std::str::from_utf8(message).is_err() {
        return Err(bad_request(Malformed::NotUtf8));
    }
    // The message itself is one level.
    if envelope.depth + 1 > DEPTH_MAX {
        return Err(bad_request(Malformed::TooDeep));
    }
    Ok((kind, envelope))
}

/// The messages of a batch.
pub(super) fn elements(batch: &Bytes) -> Result<Vec<Span>, RpcError> {
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

pub(super) fn bad_request(malformed: Malformed) -> RpcError {
    RpcError::BadRequest {
        reason: malformed.to_string(),
    }
}

pub(super) const CANCEL_REFUSED: &str = "a cancel notification names an id or a token of the client, which the child does \
                              not know; drop the future of the call instead";
const REPLY_REFUSED: &str =
    "a reply; requests of a child are answered by its connector's on_request";
pub(super) const EMPTY_BATCH: &str = "an empty batch";
/// Most requests are shorter.
const MESSAGE_BYTES: usize = 256;
