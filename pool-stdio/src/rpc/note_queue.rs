//! What a child says of one call while it is pending: progress, and the notifications of a
//! subscription.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::note_limits::NoteLimits;
use super::notification::Notification;
use super::notifications::Progress;
use crate::process::lock;

/// What waits in a queue that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Untaken {
    pub(super) notes: usize,
    pub(super) bytes: usize,
}

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
    /// Kept, or counted as missed.
    Kept,
    /// There is no receiver.
    Unheard,
    /// There was no room. For a subscription that is its end: nobody could tell what was lost.
    NoRoom(Untaken),
}

/// What the child sends about a pending call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoteKind {
    /// Only the latest one matters.
    Progress,
    /// Each one matters.
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
    limits: NoteLimits,
}

#[derive(Debug, Default)]
struct KeptNotes {
    notes: VecDeque<(NoteKind, Notification)>,
    bytes: usize,
    waker: Option<Waker>,
    /// Dropped since the last one that is kept.
    missed: u64,
}

impl KeptNotes {
    /// Drops the oldest progress. The note behind it says so.
    fn drop_progress(&mut self) -> Option<Notification> {
        let is_progress = |(kind, _): &(NoteKind, _)| *kind == NoteKind::Progress;
        let place = self.notes.iter().position(is_progress)?;
        let (_, dropped) = self.notes.remove(place)?;
        self.bytes -= dropped.bytes();
        let missed = dropped.missed + 1;
        match self.notes.get_mut(place) {
            Some((_, next)) => next.missed += missed,
            None => self.missed += missed,
        }
        Some(dropped)
    }
}

impl NoteQueue {
    pub(super) fn new(limits: NoteLimits) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::default(),
            limits,
        })
    }

    /// A full queue drops its oldest progress. It never drops a notification of a subscription.
    fn push(&self, mut note: Notification, kind: NoteKind) -> NoteFate {
        let mut kept = lock(&self.kept);
        let bytes = note.bytes();
        while self.limits.is_exceeded(kept.notes.len(), kept.bytes, bytes) {
            if kept.drop_progress().is_some() {
                continue;
            }
            return match kind {
                NoteKind::Subscription => NoteFate::NoRoom(Untaken {
                    notes: kept.notes.len(),
                    bytes: kept.bytes,
                }),
                NoteKind::Progress => {
                    kept.missed += 1;
                    NoteFate::Kept
                }
            };
        }
        note.missed = std::mem::take(&mut kept.missed);
        kept.bytes += bytes;
        kept.notes.push_back((kind, note));
        let waker = kept.waker.take();
        drop(kept);
        if let Some(waker) = waker {
            waker.wake();
        }
        NoteFate::Kept
    }

    /// The next note, if there is one. Otherwise the waker is woken when one comes.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Notification> {
        let mut kept = lock(&self.kept);
        if let Some((_, note)) = kept.notes.pop_front() {
            kept.bytes -= note.bytes();
            return Poll::Ready(note);
        }
        let replaced = kept.waker.replace(cx.waker().clone());
        drop(kept);
        drop(replaced);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use pool_core::ConnectionId;

    use super::*;
    use crate::rpc::notification::Origin;
    use crate::rpc::scan::Envelope;

    fn note(number: u32) -> Notification {
        let message = Bytes::from(format!(r#"{{"method":"{number}"}}"#));
        let envelope = Envelope::of(&message).unwrap();
        let origin = Origin {
            connection_id: ConnectionId::from_u64(0),
            pid: 1,
        };
        Notification::new(message, &envelope, origin).unwrap()
    }

    fn taken(queue: &NoteQueue) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        while let Poll::Ready(note) = queue.poll(&Context::from_waker(Waker::noop())) {
            all.push((note.method, note.missed));
        }
        all
    }

    #[test]
    fn progress_gives_way_to_the_notifications_of_a_subscription() {
        let queue = NoteQueue::new(NoteLimits {
            notes_max: 2,
            bytes_max: 1_000,
        });
        assert_eq!(queue.push(note(1), NoteKind::Subscription), NoteFate::Kept);
        for number in 2..5 {
            assert_eq!(queue.push(note(number), NoteKind::Progress), NoteFate::Kept);
        }
        assert_eq!(taken(&queue), [("1".to_owned(), 0), ("4".to_owned(), 2)]);

        for number in 5..8 {
            queue.push(note(number), NoteKind::Progress);
        }
        for number in 8..10 {
            assert_eq!(
                queue.push(note(number), NoteKind::Subscription),
                NoteFate::Kept
            );
        }
        // Only notifications of the subscription are left.
        assert_eq!(queue.push(note(10), NoteKind::Progress), NoteFate::Kept);
        assert_eq!(
            queue.push(note(11), NoteKind::Subscription),
            NoteFate::NoRoom(Untaken {
                notes: 2,
                bytes: note(8).bytes() + note(9).bytes(),
            })
        );
        assert_eq!(taken(&queue), [("8".to_owned(), 3), ("9".to_owned(), 0)]);
        queue.push(note(12), NoteKind::Progress);
        assert_eq!(taken(&queue), [("12".to_owned(), 1)]);
    }

    #[test]
    fn a_queue_has_no_room_for_more_bytes_than_allowed() {
        let bytes = note(1).bytes();
        let queue = NoteQueue::new(NoteLimits {
            notes_max: 100,
            bytes_max: 2 * bytes,
        });
        for number in 1..5 {
            assert_eq!(queue.push(note(number), NoteKind::Progress), NoteFate::Kept);
        }
        assert_eq!(taken(&queue), [("3".to_owned(), 2), ("4".to_owned(), 0)]);
        for number in 5..7 {
            queue.push(note(number), NoteKind::Subscription);
        }
        let untaken = Untaken {
            notes: 2,
            bytes: 2 * bytes,
        };
        assert_eq!(
            queue.push(note(7), NoteKind::Subscription),
            NoteFate::NoRoom(untaken)
        );
        assert_eq!(taken(&queue).len(), 2);
        // One that is longer than allowed is kept alone.
        let long = note(1_000_000);
        assert!(long.bytes() > bytes);
        let queue = NoteQueue::new(NoteLimits {
            notes_max: 100,
            bytes_max: bytes,
        });
        assert_eq!(queue.push(long, NoteKind::Subscription), NoteFate::Kept);
        assert!(matches!(
            queue.push(note(1), NoteKind::Subscription),
            NoteFate::NoRoom(_)
        ));
    }
}
