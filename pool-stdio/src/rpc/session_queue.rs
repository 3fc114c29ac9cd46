//! What a child says to the one client that it is held for, besides replies and notes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use super::note_limits::NoteLimits;
use super::notification::Notification;
use super::scan::canonical_id;
use super::server_request::ServerRequest;
use crate::process::lock;

/// What a child says that belongs to no request of its client.
///
/// [`Session`](crate::Session) has an example.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServerMessage {
    /// A question. The client's answer goes to [`Session::exchange`](crate::Session::exchange).
    Request(ServerRequest),
    /// A notification that names no request of the client.
    Notification(Notification),
}

impl ServerMessage {
    /// The whole message, as the child wrote it.
    #[must_use]
    pub const fn message(&self) -> &Bytes {
        match self {
            Self::Request(request) => &request.message,
            Self::Notification(notification) => &notification.message,
        }
    }
}

/// Where a question of the child is when the child cancels it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// The client had not been given it.
    Waiting,
    /// The client has it.
    Delivered,
    /// There is none, or it has its answer.
    Unknown,
}

/// A bounded queue of a session's messages.
#[derive(Debug)]
pub(super) struct SessionQueue {
    kept: Mutex<KeptMessages>,
    /// Tells of one message, or of the end.
    news: Notify,
    limits: NoteLimits,
}

#[derive(Debug, Default)]
struct KeptMessages {
    messages: VecDeque<ServerMessage>,
    bytes: usize,
    /// The ids of questions without an answer.
    questions: Vec<Bytes>,
    missed: u64,
    is_closed: bool,
}

impl KeptMessages {
    fn push(&mut self, message: ServerMessage) {
        self.bytes += message.message().len();
        self.messages.push_back(message);
    }

    fn remove(&mut self, place: usize) -> Option<ServerMessage> {
        let removed = self.messages.remove(place)?;
        self.bytes -= removed.message().len();
        Some(removed)
    }
}

impl SessionQueue {
    pub(super) fn new(limits: NoteLimits) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::default(),
            news: Notify::new(),
            limits,
        })
    }

    fn is_full(&self, kept: &KeptMessages, added: usize) -> bool {
        self.limits
            .is_exceeded(kept.messages.len(), kept.bytes, added)
    }

    /// Keeps a notification. Without room it is dropped, and the next one says so.
    pub(super) fn tell(&self, mut notification: Notification) {
        let mut kept = lock(&self.kept);
        if kept.is_closed || self.is_full(&kept, notification.bytes()) {
            kept.missed += 1;
            return;
        }
        notification.missed = std::mem::take(&mut kept.missed);
        kept.push(ServerMessage::Notification(notification));
        drop(kept);
        self.news.notify_one();
    }

    /// Keeps a question. Returns whether there was room for it.
    pub(super) fn ask(&self, request: ServerRequest) -> bool {
        let mut kept = lock(&self.kept);
        let is_full =
            self.is_full(&kept, request.message.len()) || kept.questions.len() >= QUESTIONS_MAX;
        if kept.is_closed || is_full {
            return false;
        }
        kept.questions.push(canonical_id(request.id()));
        kept.push(ServerMessage::Request(request));
        drop(kept);
        self.news.notify_one();
        true
    }

    /// The child has cancelled its question. One that waits is never given to the client. Of one that
    /// the client has, an answer is not sent any more, unless the child expects one all the same.
    pub(super) fn cancel(&self, id: &[u8], expects_answer: bool) -> Question {
        let id = canonical_id(id);
        let mut kept = lock(&self.kept);
        let is_it = |message: &ServerMessage| match message {
            ServerMessage::Request(request) => canonical_id(request.id()) == id,
            ServerMessage::Notification(_) => false,
        };
        let place = kept.messages.iter().position(is_it);
        let cancelled = place.and_then(|place| kept.remove(place));
        if !kept.questions.contains(&id) {
            return Question::Unknown;
        }
        let was_waiting = cancelled.is_some();
        if was_waiting || !expects_answer {
            kept.questions.retain(|question| *question != id);
        }
        drop(kept);
        drop(cancelled);
        match was_waiting {
            true => Question::Waiting,
            false => Question::Delivered,
        }
    }

    /// Whether a question with this id has no answer.
    pub(super) fn is_open(&self, id: &Bytes) -> bool {
        lock(&self.kept).questions.contains(id)
    }

    /// The client answers a question. Returns whether there is one with this id.
    pub(super) fn answer(&self, id: &Bytes) -> bool {
        let mut kept = lock(&self.kept);
        let place = kept.questions.iter().position(|question| question == id);
        place
            .map(|place| kept.questions.swap_remove(place))
            .is_some()
    }

    /// The next message; `None` when no more can come.
    pub(super) async fn next(&self) -> Option<ServerMessage> {
        loop {
            let news = self.news.notified();
            {
                let mut kept = lock(&self.kept);
                if let Some(message) = kept.remove(0) {
                    if !kept.messages.is_empty() || kept.is_closed {
                        // Another task may wait for the rest.
                        self.news.notify_one();
                    }
                    return Some(message);
                }
                if kept.is_closed {
                    self.news.notify_one();
                    return None;
                }
            }
            news.await;
        }
    }

    /// Nothing more can come. Returns the questions without an answer.
    pub(super) fn close(&self) -> Vec<Bytes> {
        let mut kept = lock(&self.kept);
        kept.is_closed = true;
        let questions = std::mem::take(&mut kept.questions);
        drop(kept);
        self.news.notify_one();
        questions
    }
}

/// Questions of a child that wait for an answer. A further one is refused.
const QUESTIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use pool_core::ConnectionId;

    use super::*;
    use crate::rpc::notification::Origin;
    use crate::rpc::scan::Envelope;

    fn question(id: usize) -> ServerRequest {
        let message = Bytes::from(format!(r#"{{"id":{id},"method":"ask"}}"#));
        let envelope = Envelope::of(&message).unwrap();
        let origin = Origin {
            connection_id: ConnectionId::from_u64(0),
            pid: 1,
        };
        ServerRequest::new(message, &envelope, origin).unwrap()
    }

    fn queue(bytes_max: usize) -> Arc<SessionQueue> {
        SessionQueue::new(NoteLimits {
            notes_max: 4,
            bytes_max,
        })
    }

    #[tokio::test]
    async fn a_question_beyond_the_allowed_bytes_is_refused() {
        let bytes = question(1).message.len();
        let queue = queue(2 * bytes);
        assert!(queue.ask(question(1)) && queue.ask(question(2)));
        assert!(!queue.ask(question(3)));
        assert_eq!(queue.cancel(b"2", false), Question::Waiting);
        assert!(queue.ask(question(4)), "the room of a cancelled one");
        queue.next().await.unwrap();
        assert!(queue.ask(question(5)), "the room of one that was taken");
        assert!(!queue.ask(question(6)));
    }

    #[tokio::test]
    async fn a_cancelled_question_has_no_place_any_more() {
        let queue = queue(1_000);
        for id in 0..=QUESTIONS_MAX {
            assert!(queue.ask(question(id)), "number {id}");
            queue.next().await.unwrap();
            let text = id.to_string();
            assert_eq!(queue.cancel(text.as_bytes(), false), Question::Delivered);
            assert!(!queue.answer(&Bytes::from(text)), "a late answer");
        }
        assert!(queue.ask(question(0)));
        assert_eq!(queue.cancel(b"0", false), Question::Waiting);
        assert_eq!(queue.cancel(b"0", false), Question::Unknown);
        assert!(queue.close().is_empty());
    }

    #[tokio::test]
    async fn a_language_server_gets_the_answer_to_what_it_has_cancelled() {
        let queue = queue(1_000);
        assert!(queue.ask(question(1)));
        queue.next().await.unwrap();
        assert_eq!(queue.cancel(b"1", true), Question::Delivered);
        assert!(queue.answer(&Bytes::from_static(b"1")));
    }
}
