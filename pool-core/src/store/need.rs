//! How many shared connections were needed, and when.

use crate::time::Time;

/// For each number of connections, when that many were last needed.
#[derive(Debug, Default)]
pub(super) struct NeedHistory {
    /// Leases that are out.
    leases: u32,
    /// The most that were out at a time since the last look.
    peak: u32,
    /// At place n, when more than n connections were last needed.
    last: Vec<Time>,
}

impl NeedHistory {
    pub(super) fn begin_lease(&mut self) {
        self.leases += 1;
        self.peak = self.peak.max(self.leases);
    }

    pub(super) fn end_lease(&mut self) {
        self.leases -= 1;
    }

    pub(super) const fn leases(&self) -> u32 {
        self.leases
    }

    /// The most leases that were out at a time since the last call.
    pub(super) fn take_peak(&mut self) -> u32 {
        std::mem::replace(&mut self.peak, self.leases)
    }

    /// This many connections are needed, out of `count`.
    pub(super) fn note(&mut self, needed: usize, count: usize, now: Time) {
        // A connection that was opened a moment ago was needed then.
        self.last.resize(count, now);
        for last in self.last.iter_mut().take(needed) {
            *last = now;
        }
    }

    /// When the last of `count` connections was last needed.
    pub(super) fn surplus_since(&self, count: usize) -> Option<Time> {
        self.last.get(count.checked_sub(1)?).copied()
    }
}
