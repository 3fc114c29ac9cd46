//! How many shared connections were needed, and when.

use crate::time::Time;

/// The leases that are out, and for each number of connections, when that many were last needed.
#[derive(Debug, Default)]
pub(super) struct NeedHistory {
    leases: u32,
    /// Those that are not held for long.
    active: u32,
    /// The most active ones at a time since the last look.
    peak: u32,
    /// There may be spare connections; without them nothing has to be looked for.
    pub(super) may_have_spare: bool,
    /// The same of connections that are superseded or suspected.
    pub(super) may_have_outgoing: bool,
    /// At place n, when more than n connections were last needed.
    last: Vec<Time>,
}

impl NeedHistory {
    pub(super) fn begin_lease(&mut self) {
        self.leases += 1;
        self.active += 1;
        self.peak = self.peak.max(self.active);
    }

    pub(super) const fn end_lease(&mut self, is_held: bool) {
        self.leases -= 1;
        self.active -= if is_held { 0 } else { 1 };
    }

    /// So many leases are held for long from now on.
    pub(super) const fn hold(&mut self, leases: u32) {
        self.active -= leases;
    }

    pub(super) const fn leases(&self) -> u32 {
        self.leases
    }

    pub(super) const fn active(&self) -> u32 {
        self.active
    }

    /// The most active leases at a time since the last call.
    pub(super) const fn take_peak(&mut self) -> u32 {
        std::mem::replace(&mut self.peak, self.active)
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

#[cfg(test)]
mod tests {
    use super::NeedHistory;
    use crate::time::Time;

    #[test]
    fn held_leases_are_out_but_not_active() {
        let mut need = NeedHistory::default();
        for _ in 0..5 {
            need.begin_lease();
        }
        need.hold(2);
        assert_eq!((need.leases(), need.active()), (5, 3));
        need.end_lease(true);
        assert_eq!((need.leases(), need.active()), (4, 3));
        need.end_lease(false);
        assert_eq!((need.leases(), need.active()), (3, 2));
    }

    #[test]
    fn the_peak_is_the_most_active_ones_since_the_last_look() {
        let mut need = NeedHistory::default();
        for _ in 0..4 {
            need.begin_lease();
        }
        need.end_lease(false);
        need.end_lease(false);
        need.begin_lease();
        assert_eq!(need.take_peak(), 4);
        need.end_lease(false);
        assert_eq!(need.take_peak(), 3, "as many as there were at that look");
        assert_eq!(need.take_peak(), 2);
    }

    #[test]
    fn a_connection_is_surplus_since_it_was_last_needed() {
        let at = Time::from_millis;
        let mut need = NeedHistory::default();
        assert_eq!(need.surplus_since(0), None);
        need.note(1, 2, at(10));
        assert_eq!(need.surplus_since(2), Some(at(10)), "it is new");
        need.note(1, 2, at(20));
        assert_eq!(need.surplus_since(1), Some(at(20)));
        assert_eq!(need.surplus_since(2), Some(at(10)));
        need.note(2, 2, at(30));
        assert_eq!(need.surplus_since(2), Some(at(30)));
    }
}
