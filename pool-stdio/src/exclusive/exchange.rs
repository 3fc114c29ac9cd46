//! What one child and its only caller owe each other: what was written, what was read, what is
//! still to come.
//!
//! Everything is polled by the caller's own task: a request wakes no other task on its way.
//! Writing and reading are polled together, so a child that stops reading until somebody reads its
//! output cannot block us.
//!
//! # Invariants
//!
//! 1. A connection is dirty from before the first byte of a request can leave until its whole reply
//!    was read; a request that is cancelled or times out leaves it so.
//! 2. A request is refused while an earlier one is unanswered: the next frame would be taken for
//!    its reply.
//! 3. Nothing that had arrived before a request was written is taken for its reply.
//! 4. An error for which [`StdioError::is_retry_safe`] holds means that no byte of the request was
//!    written, and none will be.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use pool_core::{BoxError, BoxFuture};
use tokio::time::{Instant, timeout};
use tokio_util::codec::Encoder;

use super::account::Account;
use super::fault::Fault;
use super::stray::StrayPolicy;
use super::wire::Wire;
use crate::codec::Codec;
use crate::error::{ChildReport, Stage, StdioError};
use crate::metrics::Meters;
use crate::process::{Child, ExitWait, Liveness, Stop, Termination};

/// A child, the wire to it, and what is owed over it.
#[derive(Debug)]
pub(super) struct ExclusiveExchange<C> {
    child: Child,
    wire: Wire<C>,
    exited: ExitWait,
    account: Account,
    settings: ExchangeSettings,
    meters: Arc<Meters>,
    /// Since when the child is being made ready to be lent.
    handshake_since: Option<Instant>,
    /// A request has seen it exit.
    has_exited: bool,
    /// A reply was read, and nobody has asked for a sign of life since.
    has_just_answered: AtomicBool,
}

/// What the connections of one connector have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExchangeSettings {
    pub(super) strays: StrayPolicy,
    pub(super) reply_bytes_max: usize,
}

/// Says whether a frame is the last one of its reply.
pub(super) type Until<'c, I> = Box<dyn FnMut(&I) -> bool + Send + 'c>;

impl<C> ExclusiveExchange<C> {
    pub(super) const fn child(&self) -> &Child {
        &self.child
    }

    /// The child is ready to be lent.
    pub(super) const fn end_handshake(&mut self) {
        self.handshake_since = None;
    }
}

impl<C: Codec> ExclusiveExchange<C> {
    /// With a child that was just started, and is in its handshake.
    pub(super) fn new(
        child: Child,
        requested_at: Instant,
        wire: Wire<C>,
        settings: ExchangeSettings,
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
            has_just_answered: AtomicBool::new(false),
        }
    }

    /// Encodes a request, to be written later. Nothing is owed yet.
    pub(super) fn encode<M>(&mut self, message: M) -> Result<BytesMut, Fault>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        if self.wire.has_unwritten() {
            return Err(Fault::Unanswered);
        }
        self.wire.encode(message).map_err(Fault::Encode)
    }

    /// Makes a request, if there is a message, and reads its reply: the last frame and those
    /// before it.
    pub(super) async fn perform(
        &mut self,
        message: Option<Result<BytesMut, Fault>>,
        until: Option<Until<'_, C::Item>>,
    ) -> Result<(C::Item, Vec<C::Item>), StdioError> {
        let is_request = message.is_some();
        if let Some(message) = message
            && let Err(fault) = self.begin(message)
        {
            return Err(Box::pin(self.explain(fault)).await);
        }
        let frames = match until {
            None => (self.frame().await?, Vec::new()),
            Some(until) => self.frames(until).await?,
        };
        self.account.end_reply();
        if is_request {
            self.request_answered();
        }
        self.close_account();
        Ok(frames)
    }

    /// Sends a message that `replies` frames will answer, and returns when it is written.
    pub(super) async fn send<M>(&mut self, message: M, replies: u32) -> Result<(), StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        // The message of a send that was cancelled comes first.
        let mut outcome = poll_fn(|cx| self.poll_send(cx)).await;
        if outcome.is_ok() {
            outcome = self.put(message, replies);
        }
        if outcome.is_ok() {
            outcome = poll_fn(|cx| self.poll_send(cx)).await;
        }
        match outcome {
            Ok(()) => {
                self.close_account();
                Ok(())
            }
            Err(fault) => Err(Box::pin(self.explain(fault)).await),
        }
    }

    fn begin(&mut self, message: Result<BytesMut, Fault>) -> Result<(), Fault> {
        self.meters.request_begun();
        if self.account.is_broken() {
            return Err(Fault::Broken);
        }
        if self.is_owed() {
            return Err(Fault::Unanswered);
        }
        self.open_account()?;
        self.owe(message?, 1);
        Ok(())
    }

    fn put<M>(&mut self, message: M, replies: u32) -> Result<(), Fault>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        if self.account.is_broken() {
            return Err(Fault::Broken);
        }
        if !self.is_owed() {
            self.open_account()?;
        }
        let message = self.wire.encode(message).map_err(Fault::Encode)?;
        self.owe(message, replies);
        Ok(())
    }

    /// Makes sure that nothing waits to be read that could be taken for a reply.
    fn open_account(&mut self) -> Result<(), Fault> {
        // An earlier wait for output that nobody asked for has begun an account too.
        self.close_account();
        self.wire.clear_strays(self.settings.strays)
    }

    fn owe(&mut self, message: BytesMut, replies: u32) {
        // Order: dirty before the first byte can leave.
        self.account.owe(message.len(), replies);
        if self.meters.is_recorded() {
            self.account.began.get_or_insert_with(Instant::now);
        }
        self.wire.set_outgoing(message);
    }

    fn request_answered(&mut self) {
        *self.has_just_answered.get_mut() = true;
        if self.meters.is_recorded()
            && let Some(began) = self.account.began
        {
            self.meters.request_answered(Instant::now() - began);
        }
    }

    /// Starts afresh if nothing is owed any more.
    fn close_account(&mut self) {
        if !self.wire.has_unwritten() {
            self.account.close();
        }
    }

    fn is_owed(&self) -> bool {
        self.account.is_owed() || self.wire.has_unwritten()
    }

    async fn frame(&mut self) -> Result<C::Item, StdioError> {
        match poll_fn(|cx| self.poll_frame(cx)).await {
            Ok(frame) => Ok(frame),
            Err(fault) => Ok(Box::pin(self.recover(fault)).await?.0),
        }
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
            if until(&frame) {
                return Ok((frame, frames));
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

/// Failures. Nothing here runs while all is well.
impl<C: Codec> ExclusiveExchange<C> {
    /// What follows from a fault: an error, or a frame after all, if the child had answered before
    /// it stopped reading. The fault comes back with the frame, for the frames after it.
    async fn recover(&mut self, fault: Fault) -> Result<(C::Item, Fault), StdioError> {
        let is_partly_written = self.written_bytes() > 0;
        if matches!(fault, Fault::Write(_)) && is_partly_written {
            self.give_up_writing();
            let reply = poll_fn(|cx| self.poll_reply(cx));
            if let Ok(Ok(frame)) = timeout(REPLY_AFTER_WRITE_FAILED, reply).await {
                return Ok((frame, fault));
            }
        }
        Err(self.explain(fault).await)
    }

    /// The error for a fault, with how the child exited if it has, or does so in a moment.
    async fn explain(&mut self, fault: Fault) -> StdioError {
        // Cancel: what the fault means for later requests is noted before the wait.
        if !fault.is_refusal() {
            // A caller who is told that nothing was written may ask another child. So the rest
            // must never be written.
            self.give_up_writing();
        }
        if fault.may_be_an_exit() {
            // The exit is seen a moment after the end of the pipes.
            drop(timeout(EXIT_WAIT, &mut self.exited).await);
        }
        let error = fault.into_error(self.report(), self.settings.reply_bytes_max);
        self.meters.request_failed(&error);
        error
    }

    /// The error for a request that was cancelled when its time was over.
    pub(super) fn timed_out(&mut self, limit: Duration) -> StdioError {
        let report = self.report();
        if self.wire.has_unwritten() {
            // A caller who is told that nothing was written may ask another child. So the rest
            // must never be written.
            self.give_up_writing();
        }
        let error = StdioError::TimedOut { limit, report };
        self.meters.request_failed(&error);
        error
    }

    /// The rest of the request will not be written, and nothing after it.
    fn give_up_writing(&mut self) {
        self.account.lose(self.wire.unwritten_bytes());
        self.wire.give_up_writing();
    }

    fn written_bytes(&self) -> usize {
        self.account.written_bytes(self.wire.unwritten_bytes())
    }

    /// The circumstances, as they are now.
    pub(super) fn report(&self) -> Box<ChildReport> {
        let since = self.handshake_since.or(self.account.began);
        let report = ChildReport::of(&self.child, self.stage(), since);
        let report = report.with_request(self.account.request_bytes(), self.written_bytes());
        self.wire
            .with_partial(|begins| report.with_partial(begins, begins.len()))
    }

    fn stage(&self) -> Stage {
        if self.handshake_since.is_some() {
            Stage::Handshake
        } else if self.wire.has_unwritten() || self.account.has_lost() {
            Stage::Writing
        } else if self.account.is_owed() {
            Stage::Reading
        } else {
            Stage::Idle
        }
    }
}

/// What can be told without asking the child, and how it ends.
impl<C: Codec> ExclusiveExchange<C> {
    pub(super) fn is_dirty(&self) -> bool {
        self.account.is_broken() || self.is_owed()
    }

    /// Whether another caller may have it: it is not dirty, and has not said more than it was asked.
    pub(super) fn is_clean(&self) -> bool {
        !self.is_dirty() && self.wire.drop_strays(self.settings.strays)
    }

    /// Whether more was read than the handshake took, and that is not allowed.
    pub(super) fn has_strays(&self) -> bool {
        self.settings.strays == StrayPolicy::Reject && !self.wire.drop_strays(StrayPolicy::Reject)
    }

    pub(super) fn is_alive(&self) -> bool {
        match self.liveness() {
            Liveness::Quiet => true,
            Liveness::HasOutput => !self.is_stray(),
            Liveness::Eof | Liveness::Exited => false,
        }
    }

    /// As [`is_alive`](Self::is_alive), for a pool, which asks when a lease is returned and again
    /// before the next one begins. A reply that was just read is sign enough the first time: that
    /// saves a twentieth of a request. A child that dies in between is found the second time, or by
    /// the task that waits for its death.
    pub(super) fn gives_sign_of_life(&self) -> bool {
        if self.has_just_answered.swap(false, Ordering::Relaxed) && !self.has_exited {
            return true;
        }
        match self.liveness() {
            Liveness::HasOutput if self.is_stray() => {
                // Counted here, since a pool that is told of it does not ask again.
                self.meters.strayed(1);
                false
            }
            Liveness::Quiet | Liveness::HasOutput => true,
            Liveness::Eof | Liveness::Exited => false,
        }
    }

    fn liveness(&self) -> Liveness {
        self.child.liveness(Some(self.wire.stdout_fd()))
    }

    /// Whether output that waits to be read now is not allowed.
    fn is_stray(&self) -> bool {
        self.settings.strays == StrayPolicy::Reject && !self.is_owed()
    }

    /// Resolves when the child has exited or closed its stdout, with or without traffic.
    pub(super) fn died(&self) -> BoxFuture<'static, ()> {
        let mut exited = self.child.exit_wait();
        let mut end = Box::pin(self.wire.stdout_ended());
        Box::pin(poll_fn(move |cx| {
            let has_exited = Pin::new(&mut exited).poll(cx).is_ready();
            if has_exited || end.as_mut().poll(cx).is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }

    /// Begins the end of the child; the future resolves when it has ended.
    pub(super) fn terminate(
        self,
        stop: Stop,
    ) -> impl Future<Output = Termination> + Send + 'static + use<C> {
        self.child.terminate_with(stop, self.wire.into_handover())
    }
}

/// The exit of a child follows the end of its stdout within microseconds, unless it lives on.
const EXIT_WAIT: Duration = Duration::from_millis(50);
/// A child that does not read the rest of a request has usually answered before. One that lives on
/// and is silent must not keep its caller waiting for long.
const REPLY_AFTER_WRITE_FAILED: Duration = Duration::from_millis(50);
