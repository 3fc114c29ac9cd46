//! Notifications on their way to several receivers, of which each takes them at its own pace.
//!
//! # Invariants
//!
//! 1. A notification is kept until every receiver has taken it, or until newer ones need its room.
//! 2. What is kept is bounded by its number and by its bytes. A single notification is always kept,
//!    because each one may be as long as a frame.
//! 3. A receiver has taken all that stands before what it takes next. So what all have taken stands in
//!    front.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;

use super::note_limits::NoteLimits;
use super::notification::Notification;
use crate::process::lock;

/// Sends notifications to its receivers. When the last clone is dropped, the receivers see the end.
#[derive(Debug, Clone)]
pub(super) struct Newsfeed(Arc<SenderEnd>);

/// Finds a [`Newsfeed`] that is still there.
#[derive(Debug)]
pub(super) struct WeakNewsfeed(Weak<SenderEnd>);

/// Takes the notifications of a [`Newsfeed`] since it was made.
#[derive(Debug)]
pub(super) struct NewsReceiver {
    feed: Arc<Feed>,
    /// The number of the notification to take next.
    next: u64,
}

#[derive(Debug)]
struct SenderEnd(Arc<Feed>);

#[derive(Debug)]
struct Feed {
    kept: Mutex<KeptNews>,
    /// Tells of a notification, or of the end.
    changed: Notify,
    limits: NoteLimits,
}

#[derive(Debug, Default)]
struct KeptNews {
    news: VecDeque<News>,
    /// The number of the first that is kept.
    first: u64,
    bytes: usize,
    receivers: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct News {
    notification: Notification,
    /// Receivers that have not taken it.
    awaited_by: usize,
}

impl Newsfeed {
    pub(super) fn new(limits: NoteLimits) -> Self {
        Self(Arc::new(SenderEnd(Arc::new(Feed {
            kept: Mutex::default(),
            changed: Notify::new(),
            limits,
        }))))
    }

    pub(super) fn downgrade(&self) -> WeakNewsfeed {
        WeakNewsfeed(Arc::downgrade(&self.0))
    }

    /// Receives what is sent from now on.
    pub(super) fn subscribe(&self) -> NewsReceiver {
        let feed = Arc::clone(&self.0.0);
        let mut kept = lock(&feed.kept);
        kept.receivers += 1;
        let next = kept.end();
        drop(kept);
        NewsReceiver { feed, next }
    }

    pub(super) fn has_receivers(&self) -> bool {
        lock(&self.0.0.kept).receivers > 0
    }

    /// Sends a notification, in place of the oldest ones if there is no room. Returns whether there is a
    /// receiver.
    pub(super) fn send(&self, notification: Notification) -> bool {
        let feed = &self.0.0;
        let mut kept = lock(&feed.kept);
        if kept.receivers == 0 {
            return false;
        }
        let bytes = notification.bytes();
        while feed.limits.is_exceeded(kept.news.len(), kept.bytes, bytes) {
            kept.drop_first();
        }
        kept.bytes += bytes;
        let awaited_by = kept.receivers;
        kept.news.push_back(News {
            notification,
            awaited_by,
        });
        drop(kept);
        feed.changed.notify_waiters();
        true
    }
}

impl WeakNewsfeed {
    pub(super) fn upgrade(&self) -> Option<Newsfeed> {
        self.0.upgrade().map(Newsfeed)
    }
}

impl NewsReceiver {
    /// The next notification, which says how many were dropped directly before it. `None` when no more can
    /// come.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(super) async fn recv(&mut self) -> Option<Notification> {
        loop {
            // Order: it is woken by everything that happens from here on.
            let changed = self.feed.changed.notified();
            {
                let mut kept = lock(&self.feed.kept);
                let missed = kept.first.saturating_sub(self.next);
                let next = self.next + missed;
                if let Some(mut notification) = kept.take(next) {
                    self.next = next + 1;
                    notification.missed = missed;
                    return Some(notification);
                }
                if kept.is_closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl KeptNews {
    /// The number of the next that comes.
    fn end(&self) -> u64 {
        self.first + self.news.len() as u64
    }

    fn drop_first(&mut self) {
        if let Some(dropped) = self.news.pop_front() {
            self.first += 1;
            self.bytes -= dropped.notification.bytes();
        }
    }

    /// A receiver takes the one with this number, and so does not await it any more.
    fn take(&mut self, number: u64) -> Option<Notification> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let news = self.news.get_mut(place)?;
        let notification = news.notification.clone();
        news.awaited_by -= 1;
        self.drop_taken();
        Some(notification)
    }

    fn drop_taken(&mut self) {
        while self.news.front().is_some_and(|news| news.awaited_by == 0) {
            self.drop_first();
        }
    }
}

impl Drop for SenderEnd {
    fn drop(&mut self) {
        lock(&self.0.kept).is_closed = true;
        self.0.changed.notify_waiters();
    }
}

impl Drop for NewsReceiver {
    fn drop(&mut self) {
        let mut kept = lock(&self.feed.kept);
        kept.receivers -= 1;
        let taken = self.next.saturating_sub(kept.first);
        let taken = usize::try_from(taken).unwrap_or(usize::MAX);
        for news in kept.news.iter_mut().skip(taken) {
            news.awaited_by -= 1;
        }
        kept.drop_taken();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pool_core::ConnectionId;

    use super::*;
    use crate::rpc::notification::Origin;
    use crate::rpc::scan::Envelope;

    /// A notification of this many bytes.
    fn news(number: u32, bytes: usize) -> Notification {
        let message = format!(r#"{{"method":"{number}","params":[]}}"#);
        let message = Bytes::from(format!("{message:bytes$}"));
        let envelope = Envelope::of(&message).unwrap();
        let origin = Origin {
            connection_id: ConnectionId::from_u64(0),
            pid: 1,
        };
        Notification::new(message, &envelope, origin).unwrap()
    }

    fn feed(notes_max: usize, bytes_max: usize) -> Newsfeed {
        Newsfeed::new(NoteLimits {
            notes_max,
            bytes_max,
        })
    }

    fn kept(feed: &Newsfeed) -> (usize, usize) {
        let kept = lock(&feed.0.0.kept);
        (kept.news.len(), kept.bytes)
    }

    async fn taken(receiver: &mut NewsReceiver) -> (String, u64) {
        let one = receiver.recv().await.unwrap();
        (one.method, one.missed)
    }

    #[tokio::test]
    async fn a_slow_receiver_keeps_no_more_bytes_than_allowed() {
        let feed = feed(100, 250);
        let mut slow = feed.subscribe();
        for number in 0..5 {
            assert!(feed.send(news(number, 100)));
            assert!(kept(&feed).1 <= 250);
        }
        assert_eq!(taken(&mut slow).await, ("3".to_owned(), 3));
        // One that is longer than allowed is kept alone.
        feed.send(news(5, 1_000));
        assert_eq!(kept(&feed), (1, 1_000));
        feed.send(news(6, 100));
        assert_eq!(taken(&mut slow).await, ("6".to_owned(), 2));
        drop(feed);
        assert!(slow.recv().await.is_none());
    }

    #[tokio::test]
    async fn what_all_receivers_have_taken_is_not_kept() {
        let feed = feed(3, 10_000);
        assert!(!feed.send(news(0, 100)), "nobody listens");
        let (mut quick, mut slow) = (feed.subscribe(), feed.subscribe());
        for number in 1..=4 {
            feed.send(news(number, 100));
            assert_eq!(taken(&mut quick).await, (number.to_string(), 0));
        }
        assert_eq!(kept(&feed), (3, 300));
        assert_eq!(taken(&mut slow).await, ("2".to_owned(), 1));
        assert_eq!(kept(&feed), (2, 200));
        let late = feed.subscribe();
        feed.send(news(5, 100));
        drop(slow);
        assert_eq!(taken(&mut quick).await, ("5".to_owned(), 0));
        assert_eq!(kept(&feed), (1, 100), "the late one awaits it");
        drop(late);
        assert_eq!(kept(&feed), (0, 0));
        assert!(feed.has_receivers());
        drop(quick);
        assert!(!feed.has_receivers());
    }

    #[tokio::test]
    async fn a_receiver_that_waits_is_woken_by_news_and_by_the_end() {
        let feed = feed(4, 1_000);
        let mut receiver = feed.subscribe();
        let receiving = async move {
            let first = receiver.recv().await;
            (first.is_some(), receiver.recv().await.is_none())
        };
        let sending = async move {
            feed.send(news(1, 100));
            tokio::task::yield_now().await;
            drop(feed);
        };
        let (received, ()) = tokio::join!(biased; receiving, sending);
        assert_eq!(received, (true, true));
    }
}
