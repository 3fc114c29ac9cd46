//! One guardian, and the pipe on which it is told: what does not fit waits, and when it does not read.
//!
//! # Invariants
//!
//! 1. A write never blocks. What does not fit waits, and is tried again every [`FLUSH_GAP`], and ever more
//!    rarely with one that is to leave and does not read.
//! 2. A fork of this program closes the pipe of the guardian that there is, as long as there is one.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::told::Told;
use crate::process::sys::{self, PipeEnd, Root};

/// A guardian that was started.
#[derive(Debug)]
pub(super) struct RunningGuardian {
    pipe: PipeEnd,
    pub(super) root: Arc<Root>,
    /// It has the rights of this user.
    pub(super) user: u32,
    /// What did not fit into the pipe.
    unsent: Vec<u8>,
    /// When it last made room.
    last_read: Instant,
    is_leaving: bool,
}

impl RunningGuardian {
    /// One that was just started, and what it is to be told.
    pub(super) fn new(pipe: PipeEnd, root: Arc<Root>, user: u32, lines: String) -> Self {
        sys::close_in_forks(Some(pipe.as_fd()));
        Self {
            pipe,
            root,
            user,
            unsent: lines.into_bytes(),
            last_read: sys::clock_now(),
            is_leaving: false,
        }
    }

    /// Adds lines to what is to be written.
    pub(super) fn tell(&mut self, lines: &str) {
        self.unsent.extend_from_slice(lines.as_bytes());
    }

    /// Another one takes over.
    pub(super) fn tell_to_leave(&mut self) {
        sys::close_in_forks(None);
        self.is_leaving = true;
        self.tell(&Told::Leave.line());
    }

    /// Writes what fits. Says whether the pipe is whole.
    pub(super) fn write(&mut self, now: Instant) -> bool {
        while !self.unsent.is_empty() {
            match sys::write(self.pipe.as_fd(), &self.unsent) {
                Ok(count) => {
                    self.unsent.drain(..count);
                    self.last_read = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        self.last_read = now;
        true
    }

    /// Whether something did not fit into the pipe.
    pub(super) const fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether it has read nothing for so long that it is not waited for.
    pub(super) fn does_not_read(&self, now: Instant) -> bool {
        self.has_unsent() && now >= self.last_read + STALL_AFTER
    }

    /// When to try again what did not fit.
    pub(super) fn next_flush(&self, now: Instant) -> Option<Instant> {
        self.has_unsent()
            .then(|| now + flush_gap(now - self.last_read))
    }
}

impl Drop for RunningGuardian {
    fn drop(&mut self) {
        // Order: before the pipe is closed. Its number can be another descriptor's at once.
        if !self.is_leaving {
            sys::close_in_forks(None);
        }
    }
}

/// When to try again with a guardian that has read nothing for so long. One that is to leave cannot be
/// given up, and may be stopped for ever.
fn flush_gap(silence: Duration) -> Duration {
    if silence < STALL_AFTER {
        FLUSH_GAP
    } else {
        silence.min(FLUSH_GAP_MAX)
    }
}

/// A pipe can have room for a few hundred lines only, which take the guardian a few milliseconds.
const FLUSH_GAP: Duration = Duration::from_millis(5);
const FLUSH_GAP_MAX: Duration = Duration::from_secs(60);
/// A guardian that reads nothing for so long is not waited for.
const STALL_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_read_is_tried_ever_more_rarely() {
        let (mut silence, mut tries) = (STALL_AFTER, 0);
        while silence < Duration::from_secs(3600) {
            silence += flush_gap(silence);
            tries += 1;
        }
        assert!(tries < 70, "{tries} in an hour");
        assert_eq!(flush_gap(Duration::ZERO), FLUSH_GAP);
    }
}
