//! Whether the children of a key answer pings.
//!
//! The protocol demands an answer, but some servers give none. A child that leaves a ping unanswered is closed, since
//! it may hang. When two in a row did that, pings say nothing about this server: its further children are not pinged,
//! or each would be closed when it was idle for a while. If one of them hangs, the first request that passes its
//! deadline shows it.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};

use pool_core::CheckError;
use pool_stdio::RpcError;

/// How the latest pings of a key's children went.
#[derive(Debug, Default)]
pub(super) struct PingRecord {
    unanswered_in_a_row: AtomicU32,
}

impl PingRecord {
    /// Whether a ping says nothing about a child.
    pub(super) fn is_useless(&self) -> bool {
        self.unanswered_in_a_row.load(Ordering::Relaxed) >= UNANSWERED_MAX
    }

    /// A child was checked by a ping. Returns whether pings have become useless by that.
    pub(super) fn note(&self, outcome: &Result<(), CheckError>) -> bool {
        match outcome {
            Ok(()) => self.unanswered_in_a_row.store(0, Ordering::Relaxed),
            Err(error) if is_unanswered(error) => {
                let before = self.unanswered_in_a_row.fetch_add(1, Ordering::Relaxed);
                return before + 1 == UNANSWERED_MAX;
            }
            // It has ended, which says nothing about pings.
            Err(_) => {}
        }
        false
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
    fn an_answer_begins_the_count_anew_and_another_failure_does_not_count() {
        let record = PingRecord::default();
        let ended = || {
            let error = RpcError::Cancelled {
                fate: pool_stdio::Fate::NotSent,
            };
            Err(CheckError::new(error))
        };
        for _ in 0..UNANSWERED_MAX {
            assert!(!record.note(&ended()));
        }
        assert!(!record.is_useless(), "they have ended");
        record.unanswered_in_a_row.store(1, Ordering::Relaxed);
        assert!(!record.note(&Ok(())));
        assert_eq!(record.unanswered_in_a_row.load(Ordering::Relaxed), 0);
    }
}
