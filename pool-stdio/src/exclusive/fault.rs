//! What a failure on the wire means for the request, and what is known of the child by then.
//!
//! Off the hot path: nothing here runs while all is well.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::timeout;

use super::connection::StdioConnection;
use super::wire::Failure;
use crate::codec::Codec;
use crate::error::{ChildReport, Stage, StdioError};

impl<C: Codec> StdioConnection<C> {
    /// What to make of a failure to get a frame: an error, or the frame, if the child gives it
    /// though it has stopped to read. With the frame comes the failure, for the frames after it.
    pub(super) async fn recover(
        &mut self,
        failure: Failure,
    ) -> Result<(C::Item, Failure), StdioError> {
        let is_partly_written = self.written_bytes() > 0;
        if matches!(failure, Failure::Write(_)) && is_partly_written {
            self.give_up_writing();
            let reply = poll_fn(|cx| self.poll_reply(cx));
            if let Ok(Ok(frame)) = timeout(REPLY_AFTER_WRITE_FAILED, reply).await {
                return Ok((frame, failure));
            }
        }
        Err(self.explain(failure).await)
    }

    /// The error for a failure, with how the child exited if it has, or does so in a moment.
    pub(super) async fn explain(&mut self, failure: Failure) -> StdioError {
        // Cancel: what the failure means for later requests is settled before the wait.
        match &failure {
            Failure::Unanswered | Failure::Encode(_) => {}
            // Whoever is told that nothing was written may ask another child. So it never will be.
            Failure::Write(_)
            | Failure::Broken
            | Failure::Stray
            | Failure::End
            | Failure::Exit
            | Failure::Decode(_)
            | Failure::Read(_)
            | Failure::TooLong => self.give_up_writing(),
        }
        let may_have_exited = matches!(
            failure,
            Failure::End | Failure::Exit | Failure::Write(_) | Failure::Decode(_)
        );
        if may_have_exited {
            // Its exit is seen a moment after the end of its pipes.
            drop(timeout(EXIT_WAIT, &mut self.exited).await);
        }
        let report = self.report();
        let error = match failure {
            Failure::Unanswered => StdioError::Unanswered { report },
            Failure::Broken => StdioError::Broken { report },
            Failure::Stray => StdioError::StrayOutput { report },
            Failure::Encode(source) => StdioError::Encode { source, report },
            Failure::Decode(source) => StdioError::Decode { source, report },
            Failure::Read(source) => StdioError::Read { source, report },
            Failure::TooLong => StdioError::ReplyTooLong {
                limit_bytes: self.settings.reply_bytes_max,
                report,
            },
            Failure::End | Failure::Exit | Failure::Write(_) if report.exit.is_some() => {
                StdioError::Exited { report }
            }
            Failure::End => StdioError::OutputClosed { report },
            Failure::Exit => StdioError::Exited { report },
            Failure::Write(source) if source.kind() == ErrorKind::BrokenPipe => {
                StdioError::InputClosed { source, report }
            }
            Failure::Write(source) => StdioError::Write { source, report },
        };
        self.meters.request_failed(&error);
        error
    }

    /// The error for a request that was cancelled because the time was over.
    pub(super) fn timed_out(&mut self, limit: Duration) -> StdioError {
        let report = self.report();
        if self.wire.has_unwritten() {
            // Whoever is told that nothing was written may ask another child. So it never will be.
            self.give_up_writing();
        }
        let error = StdioError::TimedOut { limit, report };
        self.meters.request_failed(&error);
        error
    }

    /// The rest of the request will not be written, and nothing after it.
    fn give_up_writing(&mut self) {
        self.account.lost_bytes += self.wire.unwritten_bytes();
        self.account.is_broken = true;
        self.wire.give_up_writing();
    }

    fn written_bytes(&self) -> usize {
        let lost = self.account.lost_bytes + self.wire.unwritten_bytes();
        self.account.request_bytes.saturating_sub(lost)
    }

    /// The circumstances, as they are now.
    pub(crate) fn report(&self) -> Box<ChildReport> {
        let stage = self.stage();
        let since = match stage {
            Stage::Handshake => Some(self.wanted),
            Stage::Idle | Stage::Writing | Stage::Reading => self.account.began,
        };
        let report = ChildReport::of(&self.child, stage, since);
        let report = report.with_request(self.account.request_bytes, self.written_bytes());
        self.wire
            .with_partial(|begins| report.with_partial(begins, begins.len()))
    }

    fn stage(&self) -> Stage {
        let account = &self.account;
        if self.is_in_handshake {
            Stage::Handshake
        } else if self.wire.has_unwritten() || account.lost_bytes > 0 {
            Stage::Writing
        } else if account.unanswered > 0 || account.is_mid_reply {
            Stage::Reading
        } else {
            Stage::Idle
        }
    }
}

/// A child's exit follows the end of its stdout within microseconds, unless it lives on.
const EXIT_WAIT: Duration = Duration::from_millis(50);
/// A child that does not read the rest of a request has usually answered before; one that lives on
/// and is silent should not hold its caller for long.
const REPLY_AFTER_WRITE_FAILED: Duration = Duration::from_millis(50);
