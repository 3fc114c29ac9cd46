//! A call that was begun and is not over.

use std::task::{Context, Poll};

use super::error::{Fate, RpcError};
use super::framing::Frame;
use super::link::Link;
use super::place::Place;
use super::reply::Reply;
use super::state::{CallDetails, GiveUp};
use super::table::CallId;

/// A call that was begun. Dropping it gives the call up.
pub(super) struct PendingCall<'a> {
    link: &'a Link,
    call: CallId,
    is_over: bool,
}

impl<'a> PendingCall<'a> {
    /// Queues the request in the place that was reserved for it.
    pub(super) fn begin(
        link: &'a Link,
        place: Place<'_>,
        call: CallId,
        frame: Frame,
        details: CallDetails,
    ) -> Result<Self, RpcError> {
        link.begin(place, call, frame, details)?;
        Ok(Self {
            link,
            call,
            is_over: false,
        })
    }

    /// Resolves to the reply, or to the reason why none can come any more.
    pub(super) fn poll_reply(&mut self, cx: &Context<'_>) -> Poll<Result<Reply, RpcError>> {
        let reply = self.link.poll_call(self.call, cx);
        self.is_over |= reply.is_ready();
        reply
    }

    /// Gives the call up because its deadline passed. Returns whether the child can have read the
    /// request.
    pub(super) fn miss_deadline(&mut self) -> Fate {
        self.is_over = true;
        self.link.abandon(self.call, GiveUp::Deadline)
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.link.abandon(self.call, GiveUp::Caller);
        }
    }
}
