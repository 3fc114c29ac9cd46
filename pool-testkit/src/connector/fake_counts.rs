//! What a fake counts. A pool's own numbers are compared with these.

use crate::Call;

/// How the calls of one method went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls that began.
    pub started: usize,
    /// Calls that succeeded.
    pub succeeded: usize,
    /// Calls that returned an error.
    pub failed: usize,
    /// Calls that panicked.
    pub panicked: usize,
    /// Calls whose future was dropped before its end.
    pub aborted: usize,
}

impl CallCounts {
    /// Calls in flight: they began and have not ended in any way.
    #[must_use]
    pub const fn running(&self) -> usize {
        self.started - self.succeeded - self.failed - self.panicked - self.aborted
    }
}

/// Everything that a fake counts, at one moment.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (connector, fake) = pool_testkit::connector::pair();
/// let pool = ConnectionPool::builder(connector).max_size(4).build()?;
/// pool.warm_up(3).await?;
/// let counts = fake.counts();
/// assert_eq!((counts.connect.succeeded, counts.alive), (3, 3));
/// assert_eq!(counts.connect.running(), 0);
/// # Ok(())
/// # }
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
    /// Connections that exist: created and not dropped.
    pub alive: usize,
    /// The largest [`alive`](Self::alive) so far.
    pub alive_peak: usize,
    /// The most connects that were in flight together.
    pub connecting_peak: usize,
    /// The most connects in flight and connections together. A pool must keep this within its limit.
    pub occupied_peak: usize,
    /// Connections dropped without a close that ran to its end: detached ones, those of a runtime
    /// that has gone, and those whose close panicked or was dropped.
    pub dropped_unclosed: usize,
    /// Futures of `died` that exist.
    pub watchers: usize,
}

impl FakeCounts {
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
