//! What a fake counts: the truth that a pool's own numbers are compared with.

use std::sync::Arc;

use crate::Call;

use super::Shared;

/// How the calls of one method went.
///
/// # Examples
///
/// See [`FakeHandle`](super::FakeHandle).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls that began.
    pub started: usize,
    /// Calls that ended well.
    pub succeeded: usize,
    /// Calls that ended with an error.
    pub failed: usize,
    /// Calls that panicked.
    pub panicked: usize,
    /// Calls whose future was dropped before its end.
    pub aborted: usize,
}

impl CallCounts {
    /// Calls under way: begun and not ended in any manner.
    #[must_use]
    pub const fn running(&self) -> usize {
        self.started - self.succeeded - self.failed - self.panicked - self.aborted
    }
}

/// Everything a fake counts, at one moment.
///
/// # Examples
///
/// ```
/// let (_connector, fake) = pool_testkit::connector::pair();
/// assert_eq!(fake.counts().alive, 0);
/// assert_eq!(fake.counts().connect.started, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FakeCounts {
    /// Calls of `connect`.
    pub connect: CallCounts,
    /// Calls of `reset`.
    pub reset: CallCounts,
    /// Calls of `check`.
    pub check: CallCounts,
    /// Calls of `close`.
    pub close: CallCounts,
    /// Connections that were created and not dropped.
    pub alive: usize,
    /// The most there ever were of [`alive`](Self::alive).
    pub alive_peak: usize,
    /// The most connects there ever were under way.
    pub connecting_peak: usize,
    /// The most there ever were of connects under way and connections alive together: what a pool
    /// must keep at or below its limit.
    pub occupied_peak: usize,
    /// Connections dropped without a close that ran to its end: detached ones, those of a runtime
    /// that has gone, and those whose close panicked or was dropped.
    pub dropped_unclosed: usize,
    /// Futures of `died` that exist.
    pub watchers: usize,
}

impl FakeCounts {
    /// The counts of one method.
    #[must_use]
    pub const fn of(&self, call: Call) -> &CallCounts {
        match call {
            Call::Connect => &self.connect,
            Call::Reset => &self.reset,
            Call::Check => &self.check,
            Call::Close => &self.close,
        }
    }

    pub(super) const fn of_mut(&mut self, call: Call) -> &mut CallCounts {
        match call {
            Call::Connect => &mut self.connect,
            Call::Reset => &mut self.reset,
            Call::Check => &mut self.check,
            Call::Close => &mut self.close,
        }
    }

    /// Raises the peaks to the present numbers.
    pub(super) fn note_peaks(&mut self) {
        let connecting = self.connect.running();
        self.connecting_peak = self.connecting_peak.max(connecting);
        self.alive_peak = self.alive_peak.max(self.alive);
        self.occupied_peak = self.occupied_peak.max(self.alive + connecting);
    }
}

/// A call under way; how it ended is counted when this is dropped.
pub(super) struct Running {
    shared: Arc<Shared>,
    call: Call,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Succeeded,
    /// A connect succeeded: its connection counts as alive in the same step, so that no count ever
    /// shows it twice or not at all.
    Opened,
    Failed,
}

impl Running {
    pub(super) fn start(shared: &Arc<Shared>, call: Call) -> Self {
        shared.count(|counts| counts.of_mut(call).started += 1);
        Self {
            shared: Arc::clone(shared),
            call,
            end: None,
        }
    }

    pub(super) fn end(mut self, end: End) {
        self.end = Some(end);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        self.shared.count(|counts| {
            let calls = counts.of_mut(self.call);
            match self.end {
                Some(End::Succeeded) => calls.succeeded += 1,
                Some(End::Opened) => {
                    calls.succeeded += 1;
                    counts.alive += 1;
                }
                Some(End::Failed) => calls.failed += 1,
                None if panicking => calls.panicked += 1,
                None => calls.aborted += 1,
            }
        });
    }
}
