//! Turns calls and forwarded messages into requests, and replies back into what the caller expects.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::RpcError;
use super::framing::{Frame, splice};
use super::link::Link;
use super::notifications::Progress;
use super::protocol::{Protocol, is_cancel};
use super::reply::{ErrorObject, Reply};
use super::scan::{Elements, Envelope, Malformed, MessageKind, Span};
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

/// A request that can be sent.
#[derive(Debug)]
pub(super) struct OutgoingRequest {
    pub(super) call: CallId,
    pub(super) frame: Frame,
    pub(super) details: CallDetails,
    /// The id that a forwarded message had.
    pub(super) client_id: Bytes,
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
            Ok(frame) => self.link.send(frame, None).await,
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
        if spans.is_empty() {
            return Ok(OutgoingRequest {
                call,
                frame: self.frame_of(message)?,
                details: CallDetails::default(),
                client_id: Bytes::new(),
            });
        }
        self.rewritten(&Bytes::from(message), call, None, spans)
    }

    /// Checks a message of a client, and replaces its id and its progress tokens by numbers of ours.
    pub(super) fn client_message(
        &self,
        message: &Bytes,
        progress: Option<Progress>,
    ) -> Result<ClientMessage, RpcError> {
        let found = Envelope::of(message).and_then(|found| Ok((found.kind()?, found)));
        let (kind, envelope) = found.map_err(bad_request)?;
        if envelope.has_lookalike {
            return Err(bad_request(Malformed::Lookalike));
        }
        // Even with an id, because some servers look at the method only.
        if is_cancel(message, &envelope) {
            return Err(RpcError::BadRequest {
                reason: CANCEL_REFUSED.to_owned(),
            });
        }
        match (kind, envelope.id) {
            (MessageKind::Request, Some(id)) => {
                let call = self.link.next_number();
                let tokens = self.protocol.request_tokens(message, &envelope);
                let mut request = self.rewritten(message, call, Some(id), tokens)?;
                request.details.progress = progress;
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

    /// The request under our id, with tokens of ours.
    fn rewritten(
        &self,
        message: &Bytes,
        call: CallId,
        id: Option<Span>,
        tokens: Vec<Span>,
    ) -> Result<OutgoingRequest, RpcError> {
        let client_id = id.map_or_else(Bytes::new, |id| message.slice(id.range()));
        let mut edits: Vec<(Span, Bytes)> = Vec::with_capacity(tokens.len() + 1);
        edits.extend(id.map(|id| (id, Bytes::from(call.to_string()))));
        let mut details = CallDetails {
            tokens: Vec::with_capacity(tokens.len()),
            ..CallDetails::default()
        };
        for span in tokens {
            let number = self.link.next_number();
            details.tokens.push((number, message.slice(span.range())));
            edits.push((span, Bytes::from(number.to_string())));
        }
        edits.sort_by_key(|(span, _)| span.range().start);
        Ok(OutgoingRequest {
            call,
            frame: self.frame(&splice(message, &edits))?,
            details,
            client_id,
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

/// The reply under the client's own id.
pub(super) fn restored(reply: &Reply, client_id: Bytes) -> Vec<Bytes> {
    splice(reply.message(), &[(reply.id(), client_id)])
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

fn bad_request(malformed: Malformed) -> RpcError {
    RpcError::BadRequest {
        reason: malformed.to_string(),
    }
}

const CANCEL_REFUSED: &str = "a cancel notification names an id or a token of the client, which the child does \
                              not know; drop the future of the call instead";
const REPLY_REFUSED: &str =
    "a reply; requests of a child are answered by its connector's on_request";
const EMPTY_BATCH: &str = "an empty batch";
/// Most requests are shorter.
const MESSAGE_BYTES: usize = 256;
