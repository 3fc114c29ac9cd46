//! What a child says of one call while it is pending: progress, and the notifications of a
//! subscription.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::notifications::{Notification, Progress};
use crate::process::lock;

/// Where the notes of a call go.
#[derive(Debug, Clone)]
pub(super) enum NoteSink {
    /// To a channel of the caller.
    Channel(Progress),
    /// To the exchange.
    Queue(Arc<NoteQueue>),
}

/// What became of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoteFate {
    Kept,
    /// There is no receiver.
    Unheard,
    /// There was no room. For a subscription that is its end: nobody could tell what was lost.
    NoRoom,
}

/// What the child sends about a pending call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoteKind {
    /// The latest one counts.
    Progress,
    /// Each one counts.
    Subscription,
}

impl NoteSink {
    pub(super) fn send(&self, note: Notification, kind: NoteKind) -> NoteFate {
        match self {
            Self::Channel(progress) => match progress.send(note) {
                true => NoteFate::Kept,
                false => NoteFate::Unheard,
            },
            Self::Queue(queue) => queue.push(note, kind),
        }
    }
}

/// What a caller wants to be told of a call.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) sink: Option<NoteSink>,
    /// The id that the client gave its request, if the child may name it in notifications.
    pub(super) client_id: Option<Bytes>,
    /// The child may end it by a cancel. No other request of ours can be cancelled by the child: what it
    /// cancels is a question of its own, whose id may be the same number.
    pub(super) is_subscription: bool,
}

/// A bounded queue of the notes of one exchange.
#[derive(Debug)]
pub(super) struct NoteQueue {
    kept: Mutex<KeptNotes>,
    notes_max: usize,
}

#[derive(Debug, Default)]
struct KeptNotes {
    notes: VecDeque<Notification>,
    waker: Option<Waker>,
    missed: u64,
}

impl NoteQueue {
    pub(super) fn new(notes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::default(),
            notes_max: notes_max.max(1),
        })
    }

    fn push(&self, note: Notification, kind: NoteKind) -> NoteFate {
        let mut kept = lock(&self.kept);
        let is_full = kept.notes.len() >= self.notes_max;
        if is_full && kind == NoteKind::Subscription {
            return NoteFate::NoRoom;
        }
        let oldest = is_full.then(|| kept.notes.pop_front()).flatten();
        kept.missed += u64::from(is_full);
        kept.notes.push_back(note);
        let waker = kept.waker.take();
        drop(kept);
        drop(oldest);
        if let Some(waker) = waker {
            waker.wake();
        }
        NoteFate::Kept
    }

    /// The next note, if there is one. Otherwise the waker is woken when one comes.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Notification> {
        let mut kept = lock(&self.kept);
        if let Some(mut note) = kept.notes.pop_front() {
            note.missed = std::mem::take(&mut kept.missed);
            return Poll::Ready(note);
        }
        let replaced = kept.waker.replace(cx.waker().clone());
        drop(kept);
        drop(replaced);
        Poll::Pending
    }

    pub(super) const fn notes_max(&self) -> usize {
        self.notes_max
    }
}
