//! Sends each frame of a child where it belongs: a reply to its call, progress to its call, a
//! notification to the subscribers, a request to the handler.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::client::as_quoted;
use super::error::EndCause;
use super::framing::{Frame, FrameDecoder, join, splice};
use super::link::{Link, Read};
use super::newsfeed::Newsfeed;
use super::note_queue::{NoteFate, NoteKind, NoteSink};
use super::notification::{Notification, Origin};
use super::protocol::Protocol;
use super::reply::{ErrorObject, INTERNAL_ERROR, Reply, reply_text};
use super::scan::{Elements, Envelope, MessageKind, Span, own_number};
use super::server_request::{Responder, ServerRequest, too_many};
use super::session_queue::Question;
use super::state::GiveUp;
use crate::codec::DecodeError;
use crate::metrics::Meters;

/// Takes frames out of what was read, and routes them.
pub(super) struct Router {
    pub(super) link: Arc<Link>,
    pub(super) notifications: Newsfeed,
    pub(super) decoder: FrameDecoder,
    pub(super) protocol: Protocol,
    pub(super) responder: Responder,
    pub(super) meters: Arc<Meters>,
    pub(super) batch: ReplyBatch,
}

/// Replies that were routed and not yet delivered, so that the link is locked once for all of them.
#[derive(Debug, Default)]
pub(super) struct ReplyBatch {
    replies: Vec<(Option<u64>, Reply)>,
    wakers: Vec<Waker>,
}

impl Router {
    /// Routes all whole frames of `bytes`, and delivers the replies among them.
    pub(super) fn route(&mut self, bytes: &mut BytesMut, read: Read) -> Result<(), EndCause> {
        let routed = self.route_frames(bytes, read);
        self.deliver(read);
        routed
    }

    fn route_frames(&mut self, bytes: &mut BytesMut, read: Read) -> Result<(), EndCause> {
        loop {
            match self.decoder.next(bytes, read == Read::End) {
                Ok(Some(frame)) => self.route_frame(frame),
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.end_cause(&error)),
            }
        }
    }

    fn end_cause(&self, error: &DecodeError) -> EndCause {
        if matches!(
            error,
            DecodeError::LineTooLong { .. } | DecodeError::FrameTooLong { .. }
        ) {
            EndCause::FrameTooLarge(self.link.settings.frame_bytes_max)
        } else if matches!(error, DecodeError::TruncatedFrame { .. }) {
            EndCause::OutputClosed
        } else {
            EndCause::Protocol(error.to_string().into())
        }
    }

    fn route_frame(&mut self, frame: Bytes) {
        match Elements::of(&frame) {
            Some(_) => self.route_batch(&frame),
            None => self.route_message(frame),
        }
    }

    /// Scans a batch twice, first to see that it is whole: a list of its elements could be larger than
    /// the batch.
    fn route_batch(&mut self, frame: &Bytes) {
        if !is_batch(frame) {
            return self.stray(frame);
        }
        let mut elements = Elements::of(frame);
        while let Some(Ok(Some(span))) = elements.as_mut().map(Elements::next) {
            self.route_message(frame.slice(span.range()));
            if self.batch.replies.len() == REPLIES_AT_ONCE {
                self.deliver(Read::Bytes);
            }
        }
    }

    fn route_message(&mut self, message: Bytes) {
        let envelope = match Envelope::of(&message) {
            Ok(envelope) if envelope.has_version => envelope,
            _ => return self.stray(&message),
        };
        match envelope.kind() {
            Ok(MessageKind::Reply) => {
                let id = envelope.id.and_then(|id| own_number(id.of(&message)));
                let reply = Reply::new(message, &envelope);
                self.batch.replies.push((id, reply));
            }
            Ok(MessageKind::Notification) => self.route_notification(message, &envelope),
            Ok(MessageKind::Request) => self.route_request(&message, &envelope),
            Err(_) => self.stray(&message),
        }
    }

    fn route_request(&mut self, message: &Bytes, envelope: &Envelope) {
        // A copy, because the handler may keep it for long, and a slice would keep the whole buffer
        // that it was read into.
        let copy = Bytes::copy_from_slice(message);
        match ServerRequest::new(copy, envelope, self.link.settings.origin()) {
            Some(request) => {
                if let Some(session) = self.link.session() {
                    let id = request.id().clone();
                    if !session.ask(request) {
                        self.send_answer(too_many(&id));
                    }
                } else if let Some(answer) = self.responder.take(request) {
                    self.send_answer(answer);
                }
            }
            None => self.stray(message),
        }
    }

    fn route_notification(&mut self, message: Bytes, envelope: &Envelope) {
        if let Some(token) = self.protocol.progress_token(&message, envelope) {
            let number = self.link.tokens.number(token.of(&message));
            if number.is_none() && self.protocol.makes_tokens() {
                return self.route_unattributed(&message, envelope);
            }
            let receiver = number.and_then(|number| self.link.state().progress(number));
            let fate = receiver.map_or(NoteFate::Unheard, |(sink, original)| {
                self.pass_on(&message, Some((token, original)), &sink, NoteKind::Progress)
            });
            return self.count_note(fate);
        }
        if let Some(id) = self.protocol.subscription_id(&message, envelope) {
            return self.route_to_subscription(&message, id);
        }
        if let Some(id) = self.protocol.cancelled_request(&message, envelope)
            && self.route_cancel(&message, id)
        {
            return;
        }
        self.route_unattributed(&message, envelope);
    }

    /// A notification of a subscription goes to the call that opened it, and to nobody else.
    fn route_to_subscription(&mut self, message: &Bytes, id: Span) {
        let call = subscription_number(id.of(message));
        let receiver = call.and_then(|call| Some((call, self.link.state().notes(call)?)));
        let Some((call, (sink, client_id))) = receiver else {
            return self.count_note(NoteFate::Unheard);
        };
        let edit = client_id.map(|client_id| (id, as_quoted(id.of(message), client_id)));
        let fate = self.pass_on(message, edit, &sink, NoteKind::Subscription);
        if let NoteFate::NoRoom(untaken) = fate {
            // Order: its reply may have come before this.
            self.deliver(Read::Bytes);
            self.link.abandon(call, GiveUp::Overflow(untaken));
        }
        self.count_note(fate);
    }

    /// The child cancels a question of its own, or ends a subscription. Returns whether nobody else is
    /// to be told.
    fn route_cancel(&mut self, message: &Bytes, id: Span) -> bool {
        let cancelled = id.of(message);
        let answer = self.protocol.cancelled_answer(cancelled);
        let question = self.link.session().map_or(Question::Unknown, |session| {
            session.cancel(cancelled, answer.is_some())
        });
        match question {
            // The client works on it, and is told as of any other notification.
            Question::Delivered => return false,
            Question::Unknown if !self.responder.cancel(cancelled) => {}
            Question::Waiting | Question::Unknown => {
                if let Some(answer) = answer {
                    self.send_answer(answer);
                }
                return true;
            }
        }
        // Order: its reply may have come before this.
        self.deliver(Read::Bytes);
        let call = own_number(cancelled).filter(|call| self.link.state().is_subscription(*call));
        let Some((call, (sink, client_id))) =
            call.and_then(|call| Some((call, self.link.state().notes(call)?)))
        else {
            return false;
        };
        let edit = client_id.map(|client_id| (id, client_id));
        // The last note: without room for it, the end itself tells the same.
        self.pass_on(message, edit, &sink, NoteKind::Subscription);
        self.link.end_by_child(call);
        true
    }

    /// Sends a note of a call to its receiver, with what the client called it by.
    fn pass_on(
        &self,
        message: &Bytes,
        edit: Option<(Span, Bytes)>,
        sink: &NoteSink,
        kind: NoteKind,
    ) -> NoteFate {
        // Joined to a copy, because a receiver may keep it for long, and a slice would keep the whole
        // buffer that it was read into.
        let restored = match edit {
            Some(edit) => join(&splice(message, &[edit])),
            None => Bytes::copy_from_slice(message),
        };
        match notification(restored, self.link.settings.origin()) {
            Some(note) => sink.send(note, kind),
            None => NoteFate::Unheard,
        }
    }

    fn count_note(&self, fate: NoteFate) {
        if fate != NoteFate::Kept {
            self.link.state().count_unheard();
        }
    }

    /// A notification that names no request goes to the session, and to all subscribers.
    fn route_unattributed(&self, message: &Bytes, envelope: &Envelope) {
        let session = self.link.session();
        let has_subscribers = session.is_some() || self.notifications.has_receivers();
        // A subscriber may keep it for long, and a slice would keep the whole buffer that it was read
        // into.
        let kept = if has_subscribers {
            Bytes::copy_from_slice(message)
        } else {
            message.clone()
        };
        match Notification::new(kept, envelope, self.link.settings.origin()) {
            Some(one) => {
                if let Some(session) = session {
                    session.tell(one.clone());
                }
                self.notifications.send(one);
            }
            None => self.stray(message),
        }
    }

    /// A frame that is not a JSON-RPC message, as some servers write lines of their log to stdout.
    fn stray(&self, frame: &[u8]) {
        if !frame.iter().all(u8::is_ascii_whitespace) {
            self.link.state().note_stray(frame);
            self.meters.strayed(1);
        }
    }

    /// Sends the answers of handlers that have finished.
    pub(super) fn poll_answers(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(answer) = self.responder.poll_answer(cx) {
            self.send_answer(answer);
        }
    }

    fn send_answer(&self, message: Vec<u8>) {
        let settings = &self.link.settings;
        let frame = |text| Frame::of(settings.framing, settings.frame_bytes_max, text).ok();
        let id = Envelope::of(&message).ok().and_then(|found| found.id);
        let id = id.map(|span| span.of(&message).to_vec());
        // An answer that is too long, or has a line break in it, is replaced by an error, so that the
        // child does not wait for ever. Only an id that is itself too long gets no answer.
        match frame(message).or_else(|| frame(internal_error(&id?))) {
            Some(frame) => self.link.send_now(frame),
            None => self.link.state().count_unsent(),
        }
    }

    fn deliver(&mut self, read: Read) {
        let batch = &mut self.batch;
        let unclaimed = self
            .link
            .deliver(&mut batch.replies, &mut batch.wakers, read);
        self.meters.unclaimed(unclaimed);
        for waker in batch.wakers.drain(..) {
            waker.wake();
        }
    }
}

/// Whether the frame is a JSON array with at least one element.
fn is_batch(frame: &[u8]) -> bool {
    let mut elements = Elements::of(frame);
    let mut is_empty = true;
    loop {
        match elements.as_mut().map(Elements::next) {
            Some(Ok(Some(_))) => is_empty = false,
            Some(Ok(None)) => return !is_empty,
            Some(Err(_)) | None => return false,
        }
    }
}

/// The number of the call that a subscription is named by. A child may write it as a string.
fn subscription_number(id: &[u8]) -> Option<u64> {
    let unquoted = id.strip_prefix(b"\"").and_then(|id| id.strip_suffix(b"\""));
    own_number(unquoted.unwrap_or(id))
}

fn notification(message: Bytes, origin: Origin) -> Option<Notification> {
    let envelope = Envelope::of(&message).ok()?;
    Notification::new(message, &envelope, origin)
}

fn internal_error(id: &[u8]) -> Vec<u8> {
    reply_text(id, Err(&ErrorObject::new(INTERNAL_ERROR, "internal error")))
}

/// The replies of a longer batch are delivered in parts.
const REPLIES_AT_ONCE: usize = 1024;
