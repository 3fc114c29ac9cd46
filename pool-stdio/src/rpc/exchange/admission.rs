//! Which messages of a client reach the child, under which id, and which are answered here.
//!
//! A child is initialized once. So an `initialize` of a client is answered with the child's own result if
//! its connector has initialized it; otherwise a session forwards it, once, and everything else refuses
//! it. A child that is shared is not shut down by one of its clients either.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::client_exchange::{Exchange, Stage};
use super::client_ids::{CancelOutcome, Registration};
use super::held::Held;
use super::terms::Terms;
use crate::rpc::client::{CANCEL_REFUSED, Client, OutgoingRequest, bad_request, read_message};
use crate::rpc::error::RpcError;
use crate::rpc::framing::Frame;
use crate::rpc::limit::Limit;
use crate::rpc::note_limits::NoteLimits;
use crate::rpc::note_queue::{NoteQueue, NoteSink};
use crate::rpc::protocol::{is_cancel, is_method};
use crate::rpc::reply::reply_text;
use crate::rpc::round_trip::RoundTrip;
use crate::rpc::scan::{Envelope, Malformed, MessageKind, Span, canonical_id};

/// What is done with a handshake message.
enum Handshake {
    Forward,
    /// The child was told already.
    Swallow,
    Answer(Box<RawValue>),
}

/// What the attempts of one request have in common.
#[derive(Default)]
pub(super) struct Attempt {
    /// Counts instead of the limit of the terms.
    pub(super) deadline: Option<Limit>,
    /// The client's id, if it is in flight already.
    pub(super) registration: Option<Arc<Registration>>,
}

/// Begins the exchange of a client's message.
pub(super) fn admit(
    held: Held,
    message: Bytes,
    terms: &Terms,
    attempt: Attempt,
) -> Result<Exchange, RpcError> {
    let (kind, envelope) = read_message(&message)?;
    let id = envelope.id;
    match (kind, id) {
        (MessageKind::Reply, Some(id)) => admit_answer(held, &message, id, (terms, attempt)),
        (MessageKind::Notification, _) => {
            admit_notification(held, &message, &envelope, (terms, attempt))
        }
        (MessageKind::Request, Some(id)) => {
            // Some servers look at the method only.
            if is_cancel(&message, &envelope) {
                return Err(refused(CANCEL_REFUSED));
            }
            admit_request(held, &message, &envelope, id, (terms, attempt))
        }
        (MessageKind::Request | MessageKind::Reply, None) => Err(bad_request(Malformed::Neither)),
    }
}

fn admit_request(
    held: Held,
    message: &Bytes,
    envelope: &Envelope,
    id: Span,
    (terms, attempt): (&Terms, Attempt),
) -> Result<Exchange, RpcError> {
    if let Handshake::Answer(result) = handshake(&held, message, envelope)? {
        let reply = reply_text(id.of(message), Ok(&result));
        return Ok(over(&held, Some(reply.into())));
    }
    let client: &Client = held.as_ref();
    let mut request = client.client_request(message, envelope, id)?;
    let initializing = if is_method(message, envelope, "initialize") {
        held.initialize()?
    } else {
        None
    };
    let registration = match (attempt.registration, &terms.client) {
        (Some(registration), _) => Some(registration),
        (None, Some(ids)) => Some(Arc::new(ids.register(id.of(message))?)),
        (None, None) => None,
    };
    if let Some(registration) = &registration {
        registration.give_to(&client.link, request.call);
    }
    let limits = NoteLimits {
        notes_max: terms.notes_max,
        ..client.link.settings.notes
    };
    let notes = wants_notes(&request).then(|| NoteQueue::new(limits));
    if let Some(notes) = &notes {
        request.set_sink(NoteSink::Queue(Arc::clone(notes)));
    }
    let (call, client_id) = (request.call, request.client_id.clone());
    let mut round_trip = RoundTrip::new(held, Ok(request));
    match (attempt.deadline, terms.limit) {
        (Some(deadline), _) => round_trip.set_deadline(deadline),
        (None, Some(limit)) => round_trip.set_limit(limit),
        (None, None) => {}
    }
    let mut exchange = Exchange::of_request(round_trip, call, client_id, terms.on_drop);
    if let Some(notes) = notes {
        exchange.set_notes(notes);
    }
    if let Some(registration) = registration {
        exchange.set_registration(registration);
    }
    if let Some(initializing) = initializing {
        exchange.set_initializing(initializing);
    }
    Ok(exchange)
}

/// Whether the child can say anything of the request before it replies.
const fn wants_notes(request: &OutgoingRequest) -> bool {
    request.client_id.is_subscription || !request.details.tokens.is_empty()
}

fn admit_notification(
    held: Held,
    message: &Bytes,
    envelope: &Envelope,
    (terms, attempt): (&Terms, Attempt),
) -> Result<Exchange, RpcError> {
    if is_cancel(message, envelope) {
        let Some(ids) = &terms.client else {
            return Err(refused(CANCEL_REFUSED));
        };
        // A token that the child made is the child's own, and known to a session alone.
        let is_for_child = ids.take_cancel(message) == CancelOutcome::UnknownToken;
        if !is_for_child || held.session().is_none() {
            return Ok(over(&held, None));
        }
    }
    match handshake(&held, message, envelope)? {
        Handshake::Forward => send(held, message, (terms, attempt)),
        Handshake::Swallow | Handshake::Answer(_) => Ok(over(&held, None)),
    }
}

/// An answer of a session's client to a question of its child.
fn admit_answer(
    held: Held,
    message: &Bytes,
    id: Span,
    settings: (&Terms, Attempt),
) -> Result<Exchange, RpcError> {
    let session = held.session().ok_or(refused(ANSWER_WITHOUT_SESSION))?;
    let (queue, question) = (Arc::clone(&session.queue), canonical_id(id.of(message)));
    if !queue.is_open(&question) {
        return Err(refused(ANSWER_TO_NOTHING));
    }
    let client: &Client = held.as_ref();
    let frame = client.frame(std::slice::from_ref(message))?;
    // Order: an answer that is not sent leaves the question open for another one.
    Ok(send_frame(held, frame, settings, move || {
        match queue.answer(&question) {
            true => Ok(()),
            false => Err(refused(ANSWER_TO_NOTHING)),
        }
    }))
}

/// Sends a message that expects no reply.
fn send(held: Held, message: &Bytes, settings: (&Terms, Attempt)) -> Result<Exchange, RpcError> {
    let client: &Client = held.as_ref();
    let frame = client.frame(std::slice::from_ref(message))?;
    Ok(send_frame(held, frame, settings, || Ok(())))
}

fn send_frame(
    held: Held,
    frame: Frame,
    (terms, attempt): (&Terms, Attempt),
    is_wanted: impl FnOnce() -> Result<(), RpcError> + Send + 'static,
) -> Exchange {
    let client: &Client = held.as_ref();
    let (link, limit) = (Arc::clone(&client.link), terms.limit);
    let pid = link.settings.pid;
    let sent = Box::pin(async move {
        let limit = attempt.deadline.or_else(|| limit.map(Limit::starting_now));
        link.send_if(frame, limit, is_wanted).await
    });
    Exchange::of_stage(Stage::OneWay(held, sent), pid)
}

/// An exchange that is over, since there is nothing to send.
fn over(held: &Held, reply: Option<Bytes>) -> Exchange {
    let client: &Client = held.as_ref();
    Exchange::of_stage(Stage::Over(Ok(reply)), client.link.settings.pid)
}

fn handshake(held: &Held, message: &Bytes, envelope: &Envelope) -> Result<Handshake, RpcError> {
    let client: &Client = held.as_ref();
    let own_result = held
        .connection()
        .and_then(|child| child.initialize_result());
    if is_method(message, envelope, "initialize") {
        return match (own_result, held.session()) {
            (Some(result), _) => Ok(Handshake::Answer(result.to_owned())),
            (None, Some(_)) => Ok(Handshake::Forward),
            (None, None) => Err(refused(INITIALIZE_REFUSED)),
        };
    }
    let says = |method: &str| is_method(message, envelope, method);
    if own_result.is_some() && client.protocol.initialized().is_some_and(says) {
        return Ok(Handshake::Swallow);
    }
    if let Some((shutdown, exit)) = client.protocol.farewell()
        && held.session().is_none()
    {
        if says(shutdown) {
            let null = RawValue::from_string("null".to_owned());
            return null
                .map(Handshake::Answer)
                .map_err(|error| refused(&error.to_string()));
        }
        if says(exit) {
            return Ok(Handshake::Swallow);
        }
    }
    Ok(Handshake::Forward)
}

fn refused(reason: &str) -> RpcError {
    RpcError::BadRequest {
        reason: reason.to_owned(),
    }
}

const INITIALIZE_REFUSED: &str =
    "initialize: the child is shared, and its connector did not initialize it";
const ANSWER_WITHOUT_SESSION: &str = "a reply, outside of a session";
const ANSWER_TO_NOTHING: &str = "a reply to nothing that the child has asked";
