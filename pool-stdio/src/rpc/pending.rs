//! A call that is under way, for who waits for it, and how long that may take.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::{Fate, RpcError};
use super::link::Link;
use super::table::{CallId, Reply};

/// A call that was begun. Dropping it gives it up.
pub(super) struct PendingCall<'a> {
    link: &'a Link,
    call: CallId,
    /// It was begun with the waker of who awaits it, and nothing else was awaited since: there is
    /// no need to look yet.
    is_awaited: bool,
    is_over: bool,
}

impl<'a> PendingCall<'a> {
    /// Of a call that is in the table.
    pub(super) const fn new(link: &'a Link, call: CallId, is_awaited: bool) -> Self {
        Self {
            link,
            call,
            is_awaited,
            is_over: false,
        }
    }

    /// The reply, by the deadline if there is one.
    pub(super) async fn reply(mut self, limit: Option<Limit>) -> Result<Reply, RpcError> {
        let mut is_awaited = std::mem::take(&mut self.is_awaited);
        let waited = poll_fn(|cx| {
            if std::mem::take(&mut is_awaited) {
                return Poll::Pending;
            }
            self.link.poll_call(self.call, cx)
        });
        let outcome = match limit {
            None => waited.await,
            Some(limit) => match timeout_at(limit.until, waited).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    self.is_over = true;
                    let fate = self.link.abandon(self.call);
                    return Err(limit.error(self.link.settings.pid, fate));
                }
            },
        };
        self.is_over = true;
        outcome
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.link.abandon(self.call);
        }
    }
}

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) time: Duration,
    pub(super) until: Instant,
}

impl Limit {
    pub(super) fn of(time: Duration) -> Self {
        let until = Instant::now() + time.min(FAR);
        Self { time, until }
    }

    pub(super) const fn error(self, pid: u32, fate: Fate) -> RpcError {
        RpcError::Timeout {
            limit: self.time,
            pid,
            fate,
        }
    }
}

/// A limit beyond this is none. A clock cannot tell all that a duration can.
pub(super) const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
