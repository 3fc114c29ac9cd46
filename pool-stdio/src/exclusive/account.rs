//! What a child and its only caller owe each other, as plain data.

use tokio::time::Instant;

/// What is owed since the last time nothing was.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// How many replies are still to come.
    unanswered: u32,
    /// Those of them that answer the message that was written last, or is being written.
    last_unanswered: u32,
    /// A reply of many frames was begun to be read.
    is_mid_reply: bool,
    /// The connection can serve no further request.
    is_broken: bool,
    request_bytes: usize,
    /// Bytes of requests that will never be written.
    lost_bytes: usize,
    /// Since when something is owed, if the clock had to be read.
    pub(super) began: Option<Instant>,
}

impl Account {
    pub(super) const fn is_owed(&self) -> bool {
        self.unanswered > 0 || self.is_mid_reply
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Starts afresh, unless something is owed.
    pub(super) fn close(&mut self) {
        if !self.is_owed() && !self.is_broken {
            *self = Self::default();
        }
    }

    /// A message of so many bytes will be written, and so many replies are to come.
    pub(super) const fn owe(&mut self, bytes: usize, replies: u32) {
        self.unanswered += replies;
        self.last_unanswered = replies;
        self.request_bytes += bytes;
    }

    /// Whether nothing can come but replies to the message that was written last.
    pub(super) const fn awaits_only_last(&self) -> bool {
        self.unanswered > 0 && self.unanswered <= self.last_unanswered
    }

    /// A reply of many frames begins to be read.
    pub(super) const fn begin_reply(&mut self) {
        self.is_mid_reply = true;
    }

    /// A reply was read as a whole.
    pub(super) const fn end_reply(&mut self) {
        self.is_mid_reply = false;
        self.unanswered = self.unanswered.saturating_sub(1);
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
