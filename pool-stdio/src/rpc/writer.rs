//! Our end of the child's stdin, and the frames that are on their way there.

use std::task::{Context, Poll};

use super::outbox::{FreedFrames, Outbox, OutboxFrame};
use super::pipes::StdinPipe;
use super::table::CallId;

/// The pipe to a child's stdin.
pub(super) struct Writer {
    /// `None` after it failed or was closed.
    pipe: Option<Box<dyn StdinPipe>>,
    outbox: Outbox,
    /// Bytes that the system took.
    written_total: u64,
    has_failed: bool,
}

/// How far a flush came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// Nothing is left to write.
    Complete,
    /// Writing failed; nothing can be written any more.
    Failed,
}

impl Writer {
    pub(super) fn new(pipe: Box<dyn StdinPipe>) -> Self {
        Self {
            pipe: Some(pipe),
            outbox: Outbox::default(),
            written_total: 0,
            has_failed: false,
        }
    }

    /// Writes until nothing is left or the pipe is full. `refill` fills the empty outbox with the
    /// frames that were queued meanwhile. The places that this frees are added to `freed`.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        mut refill: impl FnMut(&mut Outbox),
        freed: &mut FreedFrames,
    ) -> Poll<Flush> {
        loop {
            let Some(pipe) = &mut self.pipe else {
                return Poll::Ready(if self.has_failed {
                    Flush::Failed
                } else {
                    Flush::Complete
                });
            };
            if self.outbox.is_empty() {
                refill(&mut self.outbox);
                if self.outbox.is_empty() {
                    return Poll::Ready(Flush::Complete);
                }
            }
            match self.outbox.poll_write(cx, pipe) {
                Poll::Ready(Ok(written)) => {
                    self.written_total += written.bytes as u64;
                    freed.add_all(written.freed);
                }
                Poll::Ready(Err(_)) => {
                    self.has_failed = true;
                    self.pipe = None;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes the request of a call back, unless a part of it was written.
    pub(super) fn take_back(&mut self, call: CallId) -> Option<OutboxFrame> {
        self.outbox.take_back(call)
    }

    /// The calls whose requests were taken from the queue and are not wholly written.
    pub(super) fn unwritten_calls(&self) -> impl Iterator<Item = CallId> {
        self.outbox.calls()
    }

    /// How many bytes the system took.
    pub(super) const fn written_total(&self) -> u64 {
        self.written_total
    }

    /// Ends writing. Returns the pipe, unless it failed or was closed before, and what was not written.
    pub(super) fn close(&mut self) -> (Option<Box<dyn StdinPipe>>, Outbox) {
        (self.pipe.take(), std::mem::take(&mut self.outbox))
    }
}
