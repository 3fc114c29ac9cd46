//! Whether the children of a key answer pings.
//!
//! The protocol demands an answer, but some servers give none. A child that leaves a ping unanswered is closed, since
//! it may hang. When two did that, and none of the key ever answered one, pings say nothing about this server: its
//! further children are not pinged, or each would be closed when it was idle for a while. If one of them hangs, the
//! first request that passes its deadline shows it.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pool_core::CheckError;
use pool_stdio::RpcError;

/// How the pings of a key's children went.
#[derive(Debug, Default)]
pub(super) struct PingRecord {
    /// By any of them, ever: then one that gives no answer hangs.
    was_answered: AtomicBool,
    unanswered: AtomicU32,
}

impl PingRecord {
    /// Whether a ping says nothing about a child.
    pub(super) fn is_useless(&self) -> bool {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        unanswered >= UNANSWERED_MAX && !self.is_answered()
    }

    /// Whether a child ever answered one.
    pub(super) fn is_answered(&self) -> bool {
        self.was_answered.load(Ordering::Relaxed)
    }

    /// A child was checked by a ping. Returns whether pings have become useless by that.
    ///
    /// A child that is at work passes without an answer, and so does one to which the ping could not be written.
    pub(super) fn note(&self, outcome: &Result<(), CheckError>, has_answered: bool) -> bool {
        match outcome {
            Ok(()) if has_answered => self.was_answered.store(true, Ordering::Relaxed),
            Err(error) if is_unanswered(error) => return self.note_unanswered(),
            // It was not pinged, or has ended, which says nothing about pings.
            Ok(()) | Err(_) => {}
        }
        false
    }

    fn note_unanswered(&self) -> bool {
        let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
        before + 1 == UNANSWERED_MAX && self.is_useless()
    }
}

fn is_unanswered(error: &CheckError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(RpcError::Timeout { .. }))
}

const UNANSWERED_MAX: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_without_an_answer_make_pings_useless_and_an_ended_child_does_not_count() {
        let record = PingRecord::default();
        let ended = || {
            Err(CheckError::new(RpcError::Cancelled {
                fate: pool_stdio::Fate::NotSent,
            }))
        };
        for _ in 0..UNANSWERED_MAX {
            assert!(!record.note(&ended(), false));
        }
        assert!(!record.note_unanswered() && !record.is_useless());
        assert!(!record.note(&Ok(()), false), "it was at work");
        assert!(record.note_unanswered(), "it is told once");
        assert!(!record.note_unanswered());
        assert!(record.is_useless());
    }

    #[test]
    fn where_a_child_has_answered_once_those_that_do_not_hang() {
        let record = PingRecord::default();
        assert!(!record.note(&Ok(()), true));
        for _ in 0..=UNANSWERED_MAX {
            assert!(!record.note_unanswered());
        }
        assert!(!record.is_useless());
    }
}
