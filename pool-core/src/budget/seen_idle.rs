//! What a look at all members for idle connections has found, so that it serves more than one reclaim.
//!
//! # Invariants
//!
//! What was found is in order for as long as the time of a use is known exactly: a tick. In that time a
//! connection can be lent or given up, so its member is looked at once more before one is taken from it. A
//! connection that becomes idle meanwhile was used later than all that were found.

use std::time::Duration;

use crate::time::Time;

/// What a look has found, until it is used up or out of date. `K` names a member.
#[derive(Debug)]
pub(super) struct SeenIdle<K> {
    /// When the oldest idle connection of each member was used, the oldest last.
    members: Vec<(Time, K)>,
    valid_until: Time,
}

impl<K: Copy + Ord> SeenIdle<K> {
    pub(super) const fn new() -> Self {
        Self {
            members: Vec::new(),
            valid_until: Time::from_nanos(0),
        }
    }

    /// Keeps what a look has found just now.
    pub(super) fn note_all(&mut self, mut seen: Vec<(Time, K)>, now: Time) {
        seen.sort_unstable_by(|one, other| other.cmp(one));
        self.members = seen;
        self.valid_until = now.after(SEEN_IDLE_VALID);
    }

    /// Keeps what a look at one member has found; it had the oldest before.
    pub(super) fn note(&mut self, seen: (Time, K)) {
        let place = self.members.partition_point(|other| *other > seen);
        self.members.insert(place, seen);
    }

    /// Takes out the oldest of what was found, unless that is long ago.
    pub(super) fn take(&mut self, now: Time) -> Option<(Time, K)> {
        if self.valid_until <= now {
            self.members.clear();
        }
        self.members.pop()
    }
}

/// For how long it is in order.
pub(super) const SEEN_IDLE_VALID: Duration = Duration::from_millis(100);
