//! What a fault means: for the request that met it, for later ones, and for what was not written. Nothing here
//! runs while all is well.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;

use super::ExclusiveExchange;
use crate::codec::Codec;
use crate::error::{ChildReport, Stage, StdioError};
use crate::exclusive::fault::Fault;
use crate::launch::wait_for_exit;

impl<C: Codec> ExclusiveExchange<C> {
    /// What follows from a fault: an error, or a frame after all, if the child had answered before
    /// it stopped reading. The fault comes back with the frame, for the frames after it.
    pub(super) async fn recover(&mut self, fault: Fault) -> Result<(C::Item, Fault), StdioError> {
        let is_partly_written = self.written_bytes() > 0;
        if !(matches!(fault, Fault::Write(_)) && is_partly_written) {
            return Err(self.explain(fault).await);
        }
        self.give_up_writing();
        self.met = Some(fault);
        let reply = poll_fn(|cx| self.poll_reply(cx));
        let reply = timeout(REPLY_AFTER_WRITE_FAILED, reply).await;
        let fault = self
            .met
            .take()
            .expect("it is kept while a reply is awaited");
        match reply {
            Ok(Ok(frame)) => Ok((frame, fault)),
            Ok(Err(_)) | Err(_) => Err(self.explain(fault).await),
        }
    }

    /// The error for a fault, with how the child exited if it has, or does so in a moment.
    pub(super) async fn explain(&mut self, fault: Fault) -> StdioError {
        // Cancel: what the fault means for later requests is noted before the wait.
        if !fault.is_refusal() {
            // A caller who is told that nothing was written may ask another child. So the rest
            // must never be written.
            self.give_up_writing();
        }
        if !fault.may_be_an_exit() {
            return self.fail(fault);
        }
        // The exit is seen a moment after the end of the pipes.
        self.met = Some(fault);
        let record = self.child.record();
        wait_for_exit(&mut self.exited, || record.is_leaving()).await;
        let fault = self
            .met
            .take()
            .expect("it is kept while the exit is awaited");
        self.fail(fault)
    }

    fn fail(&self, fault: Fault) -> StdioError {
        let error = fault.into_error(self.report(), self.settings.reply_bytes_max);
        self.meters.request_failed(&error);
        error
    }

    /// The error for a request that was cancelled when its time was over.
    pub(in crate::exclusive) fn timed_out(&mut self, limit: Duration) -> StdioError {
        if let Some(fault) = self.met.take() {
            return self.fail(fault);
        }
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
    pub(in crate::exclusive) fn report(&self) -> Box<ChildReport> {
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
        } else if self.account.awaits_reply() {
            Stage::Reading
        } else {
            Stage::Idle
        }
    }
}

/// A child that does not read the rest of a request has usually answered before. One that lives on
/// and is silent must not keep its caller waiting for long.
const REPLY_AFTER_WRITE_FAILED: Duration = Duration::from_millis(50);
