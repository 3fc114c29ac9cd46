//! What a child and its only caller owe each other, as plain data.
//!
//! # Invariant
//!
//! In whatever order its methods are called, [`Account::is_settled`] is false while a reply may still
//! come to a message that was written. `settled_means_that_nothing_is_to_come` below tries all short
//! sequences against a child that keeps count.

use tokio::time::Instant;

/// What has come to be owed since nothing was owed.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// How many replies are still to come.
    replies: u32,
    /// Those of them that answer the message that was written last, or is being written.
    last_replies: u32,
    /// Some of them may have more than one frame.
    has_long_replies: bool,
    /// Frames of a reply were read, or may have been, and not its last one.
    is_mid_reply: bool,
    /// Messages without a reply of their own.
    unconfirmed: Unconfirmed,
    /// The connection can serve no further request.
    is_broken: bool,
    request_bytes: usize,
    /// Bytes of requests that will never be written.
    lost_bytes: usize,
    /// Since when something is owed, if the clock had to be read.
    pub(super) began: Option<Instant>,
}

/// How long a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyLength {
    OneFrame,
    /// Only the one who asked, or the connector, knows the last frame.
    Unknown,
}

/// Whether the child is known to have read the messages that have no reply of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Unconfirmed {
    #[default]
    Nothing,
    /// It will be known by a reply to a later message, which was not written yet.
    UntilLaterMessage,
    /// It will be known when this many more replies were read.
    UntilReplies(u32),
}

impl Account {
    /// Whether replies are still to come.
    pub(super) const fn awaits_reply(&self) -> bool {
        self.replies > 0 || self.is_mid_reply
    }

    /// Whether the answers to all messages are accounted for.
    pub(super) const fn is_settled(&self) -> bool {
        !self.awaits_reply() && matches!(self.unconfirmed, Unconfirmed::Nothing) && !self.is_broken
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Starts afresh, if it is settled.
    pub(super) fn close(&mut self) {
        if self.is_settled() {
            *self = Self::default();
        }
    }

    /// A message will be written that has a reply.
    pub(super) const fn owe_reply(&mut self, bytes: usize, length: ReplyLength) {
        self.replies += 1;
        self.last_replies = 1;
        self.has_long_replies |= matches!(length, ReplyLength::Unknown);
        self.request_bytes += bytes;
        if matches!(self.unconfirmed, Unconfirmed::UntilLaterMessage) {
            self.unconfirmed = Unconfirmed::UntilReplies(self.replies);
        }
    }

    /// A message will be written that has no reply of its own. Only a reply to a later message tells
    /// that the child does not wait for more of this one.
    pub(super) const fn owe_confirmation(&mut self, bytes: usize) {
        self.last_replies = 0;
        self.request_bytes += bytes;
        self.unconfirmed = Unconfirmed::UntilLaterMessage;
    }

    /// Whether nothing can come but the reply to the message that was written last.
    pub(super) const fn awaits_only_last(&self) -> bool {
        self.replies > 0 && self.replies <= self.last_replies
    }

    /// Whether the next frame that comes is a whole reply.
    pub(super) const fn next_frame_is_a_reply(&self) -> bool {
        self.replies > 0 && !self.has_long_replies && !self.is_mid_reply
    }

    /// Frames of a reply begin to be read, and are lost if the reader is cancelled.
    pub(super) const fn begin_reply(&mut self) {
        self.is_mid_reply = true;
    }

    /// A reply was read as a whole.
    pub(super) const fn end_reply(&mut self) {
        self.is_mid_reply = false;
        self.replies = self.replies.saturating_sub(1);
        if self.replies == 0 {
            self.has_long_replies = false;
        }
        if let Unconfirmed::UntilReplies(replies) = self.unconfirmed {
            self.unconfirmed = match replies {
                0 | 1 => Unconfirmed::Nothing,
                more => Unconfirmed::UntilReplies(more - 1),
            };
        }
    }

    /// A reply came before its request was written as a whole: what follows it cannot be told.
    pub(super) const fn spoil(&mut self) {
        self.is_broken = true;
    }

    /// So many bytes of requests will never be written, and nothing after them.
    pub(super) const fn lose(&mut self, bytes: usize) {
        self.lost_bytes += bytes;
        self.is_broken = true;
    }

    pub(super) const fn has_lost(&self) -> bool {
        self.lost_bytes > 0
    }

    pub(super) const fn request_bytes(&self) -> usize {
        self.request_bytes
    }

    /// How many bytes of the requests were written, given how many are still to be.
    pub(super) const fn written_bytes(&self, unwritten: usize) -> usize {
        self.request_bytes
            .saturating_sub(self.lost_bytes + unwritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What can happen on a connection, as the exchange tells its account of it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Event {
        RequestOfOneFrame,
        RequestOfFrames,
        Notification,
        /// A single frame is read, of which the caller says nothing.
        Frame,
        /// Frames are read up to the last one of a reply.
        Reply,
        /// Reading a reply of frames is given up in the middle.
        HalfAReply,
    }

    const EVENTS: [Event; 6] = [
        Event::RequestOfOneFrame,
        Event::RequestOfFrames,
        Event::Notification,
        Event::Frame,
        Event::Reply,
        Event::HalfAReply,
    ];

    /// A child that answers in order, and knows what it has still to say.
    #[derive(Debug, Default)]
    struct Child {
        /// For each reply to come, how many frames of it.
        frames: std::collections::VecDeque<u32>,
        /// How many replies are to come until the last notification is known to be read; `None`
        /// after it is.
        notified: Option<usize>,
    }

    impl Child {
        fn owes_nothing(&self) -> bool {
            self.frames.is_empty() && self.notified.is_none()
        }

        fn ask(&mut self, frames: u32) {
            self.frames.push_back(frames);
            if self.notified == Some(0) {
                self.notified = Some(self.frames.len());
            }
        }

        fn say(&mut self) {
            let Some(left) = self.frames.front_mut() else {
                return;
            };
            *left -= 1;
            if *left == 0 {
                self.frames.pop_front();
                self.notified = match self.notified {
                    Some(1) => None,
                    Some(replies) if replies > 1 => Some(replies - 1),
                    notified => notified,
                };
            }
        }
    }

    /// Plays one event, if it can happen, on the account and on the child.
    fn play(event: Event, account: &mut Account, child: &mut Child) {
        match event {
            // A request is refused while a reply is to come; a message that is sent is not.
            Event::RequestOfOneFrame if !account.awaits_reply() => {
                account.owe_reply(1, ReplyLength::OneFrame);
                child.ask(1);
            }
            Event::RequestOfFrames => {
                account.owe_reply(1, ReplyLength::Unknown);
                child.ask(3);
            }
            Event::Notification => {
                account.owe_confirmation(1);
                child.notified = Some(0);
            }
            Event::Frame if !child.frames.is_empty() => {
                if account.next_frame_is_a_reply() {
                    account.end_reply();
                }
                child.say();
            }
            Event::Reply if !child.frames.is_empty() => {
                account.begin_reply();
                for _ in 0..child.frames[0] {
                    child.say();
                }
                account.end_reply();
            }
            Event::HalfAReply if child.frames.front().is_some_and(|left| *left > 1) => {
                account.begin_reply();
                child.say();
            }
            Event::RequestOfOneFrame | Event::Frame | Event::Reply | Event::HalfAReply => {}
        }
        account.close();
    }

    #[test]
    fn settled_means_that_nothing_is_to_come() {
        const LENGTH: u32 = 6;
        let (mut settled, count) = (0, EVENTS.len().pow(LENGTH));
        for plan in 0..count {
            let (mut account, mut child, mut played) =
                (Account::default(), Child::default(), Vec::new());
            let mut rest = plan;
            for _ in 0..LENGTH {
                played.push(EVENTS[rest % EVENTS.len()]);
                rest /= EVENTS.len();
                play(played[played.len() - 1], &mut account, &mut child);
                if account.is_settled() {
                    assert!(child.owes_nothing(), "{played:?}: {child:?}");
                    settled += 1;
                }
            }
        }
        assert!(settled > count / 10, "{settled} of {count}");
    }

    #[test]
    fn a_notification_is_confirmed_by_the_reply_to_a_later_message_only() {
        let mut account = Account::default();
        account.owe_reply(1, ReplyLength::OneFrame);
        account.owe_confirmation(1);
        account.end_reply();
        assert!(!account.is_settled(), "that reply was to an earlier one");
        account.owe_reply(1, ReplyLength::OneFrame);
        account.end_reply();
        assert!(account.is_settled());
    }
}
