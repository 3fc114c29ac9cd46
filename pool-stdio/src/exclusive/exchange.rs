//! What one child and its only caller owe each other: what was written, what was read, what is
//! still to come.
//!
//! Everything is polled by the caller's own task: a request wakes no other task on its way.
//! Writing and reading are polled together, so a child that stops reading until somebody reads its
//! output cannot block us.
//!
//! # Invariants
//!
//! 1. A connection is dirty from before the first byte of a message can leave until its whole reply
//!    was read; a request that is cancelled or times out leaves it so. A message without a reply
//!    leaves it dirty until the reply to a later one was read.
//! 2. A request is refused while an earlier one is unanswered: the next frame would be taken for
//!    its reply.
//! 3. Nothing that had arrived before a request was written is taken for its reply.
//! 4. An error for which [`StdioError::is_retry_safe`] holds means that no byte of the request was
//!    written, and none will be.

mod failing;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::BytesMut;
use pool_core::BoxError;
use tokio::time::Instant;
use tokio_util::codec::Encoder;

use super::account::{Account, ReplyLength};
use super::fault::Fault;
use super::quiet_token::{QuietToken, TokenAnswer, token_number};
use super::settings::{ExchangeSettings, StrayPolicy};
use super::wire::Wire;
use crate::codec::Codec;
use crate::error::StdioError;
use crate::metrics::Meters;
use crate::process::{Child, ExitWait, Liveness, Stop, Termination};

/// A child, the wire to it, and what is owed over it.
#[derive(Debug)]
pub(super) struct ExclusiveExchange<C: Codec> {
    child: Child,
    wire: Wire<C>,
    exited: ExitWait,
    account: Account,
    settings: ExchangeSettings<C>,
    meters: Arc<Meters>,
    /// Since when the child is being made ready to be lent.
    handshake_since: Option<Instant>,
    /// A request has seen it exit.
    has_exited: bool,
    /// A fault that a request has met, while it waits for more. Its caller is told this if its time ends meanwhile. If the caller
    /// leaves, it stays: the connection is broken.
    met: Option<Fault>,
    /// A reply was read since this was asked last.
    has_just_answered: AtomicBool,
}

/// Says whether a frame is the last one of its reply.
pub(super) type Until<'c, I> = Box<dyn FnMut(&I) -> bool + Send + 'c>;

impl<C: Codec> ExclusiveExchange<C> {
    /// With a child that was just started, and is in its handshake.
    pub(super) fn new(
        child: Child,
        requested_at: Instant,
        wire: Wire<C>,
        settings: ExchangeSettings<C>,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            exited: child.exit_wait(),
            child,
            wire,
            account: Account::default(),
            settings,
            meters,
            handshake_since: Some(requested_at),
            has_exited: false,
            met: None,
            has_just_answered: AtomicBool::new(false),
        }
    }

    pub(super) const fn child(&self) -> &Child {
        &self.child
    }

    /// The child is ready to be lent.
    pub(super) const fn end_handshake(&mut self) {
        self.handshake_since = None;
    }

    /// An empty buffer, for [`encode`](Self::encode).
    pub(super) fn buffer(&mut self) -> Result<BytesMut, Fault> {
        if self.wire.has_unwritten() {
            return Err(Fault::Unanswered);
        }
        Ok(self.wire.take_buffer())
    }

    /// Appends a message to a request, to be written later. Nothing is owed yet.
    pub(super) fn encode<M>(&mut self, message: M, request: &mut BytesMut) -> Result<(), Fault>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        let codec = self.wire.codec();
        codec
            .encode(message, request)
            .map_err(|error| Fault::Encode(error.into()))
    }

    /// Makes a request and reads its reply: the last frame and those before it.
    pub(super) async fn request(
        &mut self,
        request: Result<BytesMut, Fault>,
        until: Option<Until<'_, C::Item>>,
    ) -> Result<(C::Item, Vec<C::Item>), StdioError> {
        let length = match until {
            None => ReplyLength::OneFrame,
            Some(_) => ReplyLength::Unknown,
        };
        if let Err(fault) = self.begin(request, length) {
            return Err(Box::pin(self.explain(fault)).await);
        }
        let frames = self.read_reply(until).await?;
        *self.has_just_answered.get_mut() = true;
        if self.meters.is_recorded()
            && let Some(began) = self.account.began
        {
            self.meters.request_answered(Instant::now() - began);
        }
        self.close_account();
        Ok(frames)
    }

    /// Receives a frame, or frames up to a last one.
    pub(super) async fn receive(
        &mut self,
        until: Option<Until<'_, C::Item>>,
    ) -> Result<(C::Item, Vec<C::Item>), StdioError> {
        let frames = self.read_reply(until).await?;
        self.close_account();
        Ok(frames)
    }

    /// Sends a message and returns when it is written.
    pub(super) async fn send<M>(
        &mut self,
        message: M,
        reply: Option<ReplyLength>,
    ) -> Result<(), StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        // The message of a send that was cancelled comes first.
        let mut outcome = poll_fn(|cx| self.poll_send(cx)).await;
        if outcome.is_ok() {
            outcome = self.put(message, reply);
        }
        if outcome.is_ok() {
            outcome = poll_fn(|cx| self.poll_send(cx)).await;
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(fault) => Err(Box::pin(self.explain(fault)).await),
        }
    }

    /// Asks the child for a quiet token and drops everything before the answer, so that nothing is
    /// owed afterwards.
    pub(super) async fn settle(&mut self) -> Result<(), StdioError> {
        if !self.is_dirty() {
            return Ok(());
        }
        let Some(token) = self.settings.quiet_token.clone() else {
            return Err(Box::pin(self.explain(Fault::Unanswered)).await);
        };
        // The rest of a message that was cancelled comes first.
        let mut outcome = poll_fn(|cx| self.poll_send(cx)).await;
        let number = token_number();
        if outcome.is_ok() {
            outcome = self.put_token(&token, number);
        }
        if let Err(fault) = outcome {
            return Err(Box::pin(self.explain(fault)).await);
        }
        let mut answer = TokenAnswer::No;
        self.frames(Box::new(|frame| {
            answer = token.answered_by(number, frame);
            answer != TokenAnswer::No
        }))
        .await?;
        if answer == TokenAnswer::Ambiguous {
            let source = "the answer to a quiet token does not depend on its number";
            return Err(Box::pin(self.explain(Fault::Decode(source.into()))).await);
        }
        self.account = Account::default();
        if !self.wire.drop_strays(self.settings.strays) {
            return Err(Box::pin(self.explain(Fault::Stray)).await);
        }
        Ok(())
    }

    fn begin(
        &mut self,
        request: Result<BytesMut, Fault>,
        length: ReplyLength,
    ) -> Result<(), Fault> {
        self.meters.request_begun();
        if self.account.is_broken() {
            return Err(Fault::Broken);
        }
        if self.account.awaits_reply() || self.wire.has_unwritten() {
            return Err(Fault::Unanswered);
        }
        self.open_account()?;
        self.owe(request?, Some(length));
        Ok(())
    }

    fn put<M>(&mut self, message: M, reply: Option<ReplyLength>) -> Result<(), Fault>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        if self.account.is_broken() {
            return Err(Fault::Broken);
        }
        if !self.account.awaits_reply() {
            self.open_account()?;
        }
        let mut bytes = self.wire.take_buffer();
        self.encode(message, &mut bytes)?;
        self.owe(bytes, reply);
        Ok(())
    }

    fn put_token(&mut self, token: &QuietToken<C>, number: u64) -> Result<(), Fault> {
        let mut message = self.wire.take_buffer();
        let encoded = token.encode(self.wire.codec(), number, &mut message);
        encoded.map_err(Fault::Encode)?;
        self.owe(message, Some(ReplyLength::Unknown));
        Ok(())
    }

    /// Makes sure that nothing waits to be read that could be taken for a reply.
    fn open_account(&mut self) -> Result<(), Fault> {
        // An earlier wait for output that nobody asked for has begun an account too.
        self.close_account();
        self.wire.clear_strays(self.settings.strays)
    }

    fn owe(&mut self, message: BytesMut, reply: Option<ReplyLength>) {
        // Order: dirty before the first byte can leave.
        match reply {
            Some(length) => self.account.owe_reply(message.len(), length),
            None => self.account.owe_confirmation(message.len()),
        }
        if self.meters.is_recorded() {
            self.account.began.get_or_insert_with(Instant::now);
        }
        self.wire.set_outgoing(message);
    }

    /// Notes that a reply was read as a whole.
    fn end_reply(&mut self) {
        if self.wire.has_unwritten() && self.account.awaits_only_last() {
            self.account.spoil();
        }
        self.account.end_reply();
    }

    /// Starts afresh if nothing is owed any more.
    fn close_account(&mut self) {
        if !self.wire.has_unwritten() {
            self.account.close();
        }
    }

    async fn read_reply(
        &mut self,
        until: Option<Until<'_, C::Item>>,
    ) -> Result<(C::Item, Vec<C::Item>), StdioError> {
        match until {
            None => Ok((self.frame().await?, Vec::new())),
            Some(until) => self.frames(until).await,
        }
    }

    async fn frame(&mut self) -> Result<C::Item, StdioError> {
        let frame = match poll_fn(|cx| self.poll_frame(cx)).await {
            Ok(frame) => frame,
            Err(fault) => Box::pin(self.recover(fault)).await?.0,
        };
        let ends_a_reply = match &self.settings.is_last {
            Some(is_last) => is_last(&frame),
            None => self.account.next_frame_is_a_reply(),
        };
        if ends_a_reply {
            self.end_reply();
        }
        Ok(frame)
    }

    async fn frames(
        &mut self,
        mut until: Until<'_, C::Item>,
    ) -> Result<(C::Item, Vec<C::Item>), StdioError> {
        self.account.begin_reply();
        let read_before = self.wire.read_bytes_total();
        let mut frames = Vec::new();
        let mut write_fault = None;
        loop {
            let outcome = match write_fault.take() {
                None => poll_fn(|cx| self.poll_frame(cx)).await,
                Some(fault) => Err(fault),
            };
            let frame = match outcome {
                Ok(frame) => frame,
                Err(fault) => {
                    let (frame, fault) = Box::pin(self.recover(fault)).await?;
                    write_fault = Some(fault);
                    frame
                }
            };
            let is_wanted_last = until(&frame);
            let ends_a_reply = match &self.settings.is_last {
                Some(is_last) => is_last(&frame),
                None => is_wanted_last,
            };
            if ends_a_reply {
                self.end_reply();
            }
            if is_wanted_last {
                return Ok((frame, frames));
            }
            if ends_a_reply {
                self.account.begin_reply();
            }
            frames.push(frame);
            let read_bytes = self.wire.read_bytes_total() - read_before;
            if read_bytes > self.settings.reply_bytes_max as u64 {
                return Err(Box::pin(self.explain(Fault::ReplyTooLong)).await);
            }
        }
    }

    /// Writes and reads until there is a frame.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Item, Fault>> {
        if self.wire.has_unwritten() {
            if let Poll::Ready(Err(fault)) = self.wire.poll_flush(cx) {
                return Poll::Ready(Err(fault));
            }
            // Not if an answer to an earlier message, or none to this one, is awaited.
            if self.account.awaits_only_last() && self.wire.is_untouched() {
                return self.poll_untouched(cx);
            }
        }
        self.poll_reply(cx)
    }

    /// Reads until there is a frame.
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Item, Fault>> {
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

    /// The pipe is full and holds no byte of the request, so what is read now is not its reply.
    fn poll_untouched(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Item, Fault>> {
        self.account.began.get_or_insert_with(Instant::now);
        if let Poll::Ready(outcome) = self.wire.poll_fill(cx, 1) {
            outcome?;
            return Poll::Ready(Err(if self.wire.has_read() {
                Fault::Stray
            } else {
                Fault::EndOfOutput
            }));
        }
        match Pin::new(&mut self.exited).poll(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Fault::Exited)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes, and reads meanwhile, until everything is written.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if let Poll::Ready(outcome) = self.wire.poll_flush(cx) {
            return Poll::Ready(outcome);
        }
        self.account.began.get_or_insert_with(Instant::now);
        if let Poll::Ready(Err(fault)) = self.wire.poll_fill(cx, self.settings.reply_bytes_max) {
            return Poll::Ready(Err(fault));
        }
        if self.wire.is_at_end() {
            // The child may never read the rest, and no reply could say that it did.
            return Poll::Ready(Err(Fault::EndOfOutput));
        }
        match Pin::new(&mut self.exited).poll(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Fault::Exited)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// What can be told without asking the child, and how it ends.
impl<C: Codec> ExclusiveExchange<C> {
    pub(super) fn is_dirty(&self) -> bool {
        !self.account.is_settled() || self.wire.has_unwritten()
    }

    /// Whether another caller may have it: it is not dirty, and has not written more than it was
    /// asked for.
    pub(super) fn is_clean(&self) -> bool {
        !self.is_dirty() && self.wire.drop_strays(self.settings.strays)
    }

    /// Whether it is dirty, but a [quiet token](Self::settle) may make it clean.
    pub(super) fn can_settle(&self) -> bool {
        self.is_dirty() && !self.account.is_broken() && self.settings.quiet_token.is_some()
    }

    /// Whether more was read than the handshake took, and that is not allowed.
    pub(super) fn has_strays(&self) -> bool {
        self.settings.strays == StrayPolicy::Reject && !self.wire.drop_strays(StrayPolicy::Reject)
    }

    /// Whether output that waits to be read was asked for, or is allowed though it was not.
    pub(super) fn allows_output(&self) -> bool {
        let is_asked = self.account.awaits_reply() || self.wire.has_unwritten();
        is_asked || self.settings.strays == StrayPolicy::Discard
    }

    /// Whether a request was answered since this was asked last, and its child was not seen to have
    /// exited.
    pub(super) fn take_just_answered(&self) -> bool {
        self.has_just_answered.swap(false, Ordering::Relaxed) && !self.has_exited
    }

    pub(super) fn liveness(&self) -> Liveness {
        self.child.liveness(Some(self.wire.stdout_view()))
    }

    /// Resolves when the child has closed its stdout, where the system can tell.
    pub(super) fn stdout_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.wire.stdout_ended()
    }

    /// Begins the end of the child; the future resolves when it has ended.
    pub(super) fn terminate(
        self,
        stop: Stop,
    ) -> impl Future<Output = Termination> + Send + 'static {
        self.child.terminate_with(stop, self.wire.into_handover())
    }
}
