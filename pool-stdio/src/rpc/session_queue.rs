//! What a child says to the one client that it is held for, besides replies and notes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use super::notifications::Notification;
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

/// A bounded queue of a session's messages.
#[derive(Debug)]
pub(super) struct SessionQueue {
    kept: Mutex<KeptMessages>,
    /// Tells of one message, or of the end.
    news: Notify,
    messages_max: usize,
}

#[derive(Debug, Default)]
struct KeptMessages {
    messages: VecDeque<ServerMessage>,
    /// The ids of questions without an answer.
    questions: Vec<Bytes>,
    missed: u64,
    is_closed: bool,
}

impl SessionQueue {
    pub(super) fn new(messages_max: usize) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::default(),
            news: Notify::new(),
            messages_max: messages_max.max(1),
        })
    }

    /// Keeps a notification. Without room it is dropped, and the next one says so.
    pub(super) fn tell(&self, mut notification: Notification) {
        let mut kept = lock(&self.kept);
        if kept.is_closed || kept.messages.len() >= self.messages_max {
            kept.missed += 1;
            return;
        }
        notification.missed = std::mem::take(&mut kept.missed);
        kept.messages
            .push_back(ServerMessage::Notification(notification));
        drop(kept);
        self.news.notify_one();
    }

    /// Keeps a question. Returns whether there was room for it.
    pub(super) fn ask(&self, request: ServerRequest) -> bool {
        let mut kept = lock(&self.kept);
        let is_full =
            kept.messages.len() >= self.messages_max || kept.questions.len() >= QUESTIONS_MAX;
        if kept.is_closed || is_full {
            return false;
        }
        kept.questions.push(canonical_id(request.id()));
        kept.messages.push_back(ServerMessage::Request(request));
        drop(kept);
        self.news.notify_one();
        true
    }

    /// The child has cancelled its question. Returns whether the client had not been given it yet: then
    /// it never will be.
    pub(super) fn cancel(&self, id: &[u8]) -> bool {
        let id = canonical_id(id);
        let mut kept = lock(&self.kept);
        let is_it = |message: &ServerMessage| match message {
            ServerMessage::Request(request) => canonical_id(request.id()) == id,
            ServerMessage::Notification(_) => false,
        };
        let Some(place) = kept.messages.iter().position(is_it) else {
            return false;
        };
        let cancelled = kept.messages.remove(place);
        kept.questions.retain(|question| *question != id);
        drop(kept);
        drop(cancelled);
        true
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
                if let Some(message) = kept.messages.pop_front() {
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
