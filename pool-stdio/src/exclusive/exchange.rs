//! How a request is taken, written and answered, poll by poll; what is owed meanwhile.

use std::pin::Pin;
use std::task::{Context, Poll};

use pool_core::BoxError;
use tokio::time::Instant;
use tokio_util::codec::Encoder;

use super::connection::StdioConnection;
use super::wire::Failure;
use crate::codec::Codec;

/// What the child and we owe each other.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) unanswered: u32,
    /// Those of them that answer the message that was written last, or is being written.
    pub(super) last_unanswered: u32,
    /// A reply of many frames has been begun to be read.
    pub(super) is_mid_reply: bool,
    /// Nothing can be asked any more.
    pub(super) is_broken: bool,
    /// Of the messages since nothing was owed.
    pub(super) request_bytes: usize,
    /// Those of them that will never be written.
    pub(super) lost_bytes: usize,
    /// Since when something is owed, if that was worth a look at the clock.
    pub(super) began: Option<Instant>,
}

impl<C: Codec> StdioConnection<C> {
    /// When nothing is owed any more, a new account is opened.
    pub(super) fn settle(&mut self) {
        if !self.is_owed() && !self.account.is_broken {
            self.account = Account::default();
        }
    }

    pub(super) fn is_owed(&self) -> bool {
        let account = &self.account;
        account.unanswered > 0 || account.is_mid_reply || self.wire.has_unwritten()
    }

    /// Takes a request, if one may be made.
    pub(super) fn begin<M>(&mut self, message: M) -> Result<(), Failure>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        self.meters.request_begun();
        if self.account.is_broken {
            return Err(Failure::Broken);
        }
        if self.is_owed() {
            return Err(Failure::Unanswered);
        }
        self.put(message, 1)
    }

    /// Takes a message to be written.
    pub(super) fn put<M>(&mut self, message: M, replies: u32) -> Result<(), Failure>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        if self.account.is_broken {
            return Err(Failure::Broken);
        }
        if !self.is_owed() {
            // A wait for what the child may say by itself is no part of this.
            self.settle();
            self.wire.clear_strays(self.settings.strays)?;
        }
        let bytes = self.wire.encode(message).map_err(Failure::Encode)?;
        // Order: dirty before the first byte can leave.
        self.account.unanswered += replies;
        self.account.last_unanswered = replies;
        self.account.request_bytes += bytes;
        if self.meters.is_recorded() {
            self.account.began.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// The reply to a request was read.
    pub(super) fn reply_received(&mut self) {
        self.account.unanswered = 0;
        *self.has_just_answered.get_mut() = true;
        if self.meters.is_recorded()
            && let Some(began) = self.account.began
        {
            self.meters.request_answered(Instant::now() - began);
        }
        self.settle();
    }

    /// Writes and reads until there is a frame.
    pub(super) fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Item, Failure>> {
        if self.wire.has_unwritten() {
            if let Poll::Ready(Err(failure)) = self.wire.poll_flush(cx) {
                return Poll::Ready(Err(failure));
            }
            // Not if an answer to an earlier message, or none to this one, is awaited.
            let account = &self.account;
            let awaits_only_this =
                account.unanswered > 0 && account.unanswered <= account.last_unanswered;
            if awaits_only_this && self.wire.is_untouched() {
                return self.poll_untouched(cx);
            }
        }
        self.poll_reply(cx)
    }

    /// Reads until there is a frame.
    pub(super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Item, Failure>> {
        if let Poll::Ready(outcome) = self.wire.poll_frame(cx) {
            return Poll::Ready(outcome);
        }
        self.account.began.get_or_insert_with(Instant::now);
        match Pin::new(&mut self.exited).poll(cx) {
            Poll::Ready(_) => {
                self.has_exited = true;
                Poll::Ready(self.wire.last_frame())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// The pipe is full, and not a byte of the request is in it: what is read now is no reply.
    fn poll_untouched(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Item, Failure>> {
        self.account.began.get_or_insert_with(Instant::now);
        if let Poll::Ready(outcome) = self.wire.poll_fill(cx, 1) {
            outcome?;
            let is_stray = self.wire.has_read();
            return Poll::Ready(Err(if is_stray {
                Failure::Stray
            } else {
                Failure::End
            }));
        }
        match Pin::new(&mut self.exited).poll(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Failure::Exit)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes, and reads meanwhile, until everything is written.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if let Poll::Ready(outcome) = self.wire.poll_flush(cx) {
            return Poll::Ready(outcome);
        }
        self.account.began.get_or_insert_with(Instant::now);
        if let Poll::Ready(Err(failure)) = self.wire.poll_fill(cx, self.settings.reply_bytes_max) {
            return Poll::Ready(Err(failure));
        }
        if self.wire.is_at_end() {
            // It may never read the rest, and nobody could hear that it did.
            return Poll::Ready(Err(Failure::End));
        }
        match Pin::new(&mut self.exited).poll(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Failure::Exit)),
            Poll::Pending => Poll::Pending,
        }
    }
}
