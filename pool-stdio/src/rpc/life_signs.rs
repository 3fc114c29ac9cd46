//! What can be seen of a connection without its lock.
//!
//! A shared pool asks at every lease and at every return whether the child lives. The lock is what all callers
//! and the driver need, so these signs are read without it. They are written under it: by [`LinkState`], and the
//! number of unanswered calls by its [`Table`]. A reader can find them a moment old, as it could once the lock was
//! released.
//!
//! [`LinkState`]: super::state::LinkState
//! [`Table`]: super::table::Table

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The signs that a child lives.
#[derive(Debug)]
pub(super) struct LifeSigns {
    opened: Instant,
    /// When something was read last, in nanoseconds after it was opened.
    heard_nanos: AtomicU64,
    /// Calls without a reply.
    unanswered: AtomicUsize,
    /// Nothing can be written or nothing can be read any more, or a fault is known that will end one of the two.
    is_lost: AtomicBool,
}

/// What they say now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LifeSign {
    /// No call can begin, or no reply can come.
    Lost,
    /// The child owes a reply, and something was read from it lately.
    AtWork,
    /// Nothing: the system must be asked.
    None,
}

impl LifeSigns {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            opened: now,
            heard_nanos: AtomicU64::new(0),
            unanswered: AtomicUsize::new(0),
            is_lost: AtomicBool::new(false),
        }
    }

    pub(super) fn note_read(&self, now: Instant) {
        self.heard_nanos.store(self.nanos(now), Ordering::Relaxed);
    }

    pub(super) fn note_unanswered(&self, calls: usize) {
        self.unanswered.store(calls, Ordering::Relaxed);
    }

    pub(super) fn note_lost(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// Reads no clock if the child owes nothing.
    pub(super) fn look(&self, lately: Duration) -> LifeSign {
        if self.is_lost.load(Ordering::Relaxed) {
            return LifeSign::Lost;
        }
        if self.unanswered.load(Ordering::Relaxed) == 0 {
            return LifeSign::None;
        }
        let heard = Duration::from_nanos(self.heard_nanos.load(Ordering::Relaxed));
        match self.opened.elapsed() <= heard + lately {
            true => LifeSign::AtWork,
            false => LifeSign::None,
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.opened);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATELY: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_child_that_owes_a_reply_and_was_heard_lately_is_at_work() {
        let signs = LifeSigns::new(Instant::now());
        assert_eq!(signs.look(LATELY), LifeSign::None, "it owes nothing");
        signs.note_unanswered(1);
        assert_eq!(signs.look(LATELY), LifeSign::AtWork);
        tokio::time::advance(2 * LATELY).await;
        assert_eq!(signs.look(LATELY), LifeSign::None, "it is silent");
        signs.note_read(Instant::now());
        assert_eq!(signs.look(LATELY), LifeSign::AtWork);
        signs.note_unanswered(0);
        assert_eq!(signs.look(LATELY), LifeSign::None);
        signs.note_unanswered(1);
        signs.note_lost();
        assert_eq!(signs.look(LATELY), LifeSign::Lost);
    }
}
