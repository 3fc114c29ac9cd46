//! What others ask of a link without changing it, but for one: to ask in vain counts.

use std::time::Duration;

use tokio::time::Instant;

use super::Link;
use crate::codec::Fragment;
use crate::process::lock;
use crate::rpc::counts::RpcCounts;
use crate::rpc::error::RpcError;

impl Link {
    /// What whoever begins a call now is told, if that cannot be done any more.
    pub(in crate::rpc) fn end(&self) -> Option<RpcError> {
        let state = lock(&self.state);
        let is_over = state.down.is_some() || state.input.is_some();
        is_over.then(|| self.refusal(&state))
    }

    /// Whether calls can be begun.
    pub(in crate::rpc) fn is_open(&self) -> bool {
        let state = lock(&self.state);
        state.down.is_none() && state.input.is_none()
    }

    /// Whether replies can come to new calls, as far as is known here; and whether the child owes
    /// one, and something was read from it no longer ago than that.
    pub(in crate::rpc) fn vital_signs(&self, lately: Duration) -> (bool, bool) {
        let state = lock(&self.state);
        let is_open = state.down.is_none() && state.input.is_none() && !state.has_ended;
        let is_at_work = state.table.is_awaited() && state.silence.since.elapsed() <= lately;
        (is_open, is_at_work)
    }

    pub(in crate::rpc) fn counts(&self) -> RpcCounts {
        lock(&self.state).counts
    }

    pub(in crate::rpc) fn strays(&self) -> Vec<Fragment> {
        lock(&self.state).strays.iter().cloned().collect()
    }

    pub(in crate::rpc) fn pending(&self) -> usize {
        lock(&self.state).table.pending()
    }

    /// Whether no call is pending, and none was given up that may still be worked on.
    pub(in crate::rpc) fn owes_nothing(&self) -> bool {
        let state = lock(&self.state);
        state.table.pending() == 0 && state.table.abandoned() == 0
    }

    /// Whether somebody waits for a reply.
    pub(in crate::rpc) fn is_awaited(&self) -> bool {
        lock(&self.state).table.is_awaited()
    }

    /// Whether nothing was read for so long, and a call was given up in that time.
    pub(in crate::rpc) fn is_silent_beyond(&self, limit: Duration) -> bool {
        lock(&self.state).silence.is_beyond(limit)
    }

    /// Whether a child that cannot be asked may be silent: that counts as no answer, if it let anybody
    /// wait in vain since its last word.
    pub(in crate::rpc) fn is_unasked_or_busy(&self) -> bool {
        let mut state = lock(&self.state);
        let has_work = state.table.has_work();
        state.silence.is_excused_unasked(has_work)
    }

    /// Whether it is no wonder that nothing comes.
    pub(in crate::rpc) fn is_busy(&self) -> bool {
        let state = lock(&self.state);
        state.silence.is_excused(state.table.has_work())
    }

    pub(in crate::rpc) fn last_read(&self) -> Instant {
        lock(&self.state).silence.since
    }

    #[cfg(test)]
    pub(in crate::rpc) fn places(&self) -> usize {
        self.room.available_permits()
    }
}
