//! When the silence of a child is excused by its work, and when the child hangs. Pure: it is told what
//! happens.

use std::time::Duration;

use tokio::time::Instant;

/// Since when nothing was read, and how many calls were given up since then.
#[derive(Debug)]
pub(super) struct Silence {
    pub(super) since: Instant,
    /// Calls that the child may still work on, without pings.
    owed: usize,
    /// Unanswered pings.
    pings: u32,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            owed: 0,
            pings: 0,
        }
    }

    /// Something was read.
    pub(super) fn end(&mut self) {
        *self = Self::new();
    }

    /// A call was given up after its request was written.
    pub(super) const fn gave_up(&mut self, is_ping: bool) {
        if is_ping {
            self.pings = self.pings.saturating_add(1);
        } else {
            self.owed += 1;
        }
    }

    /// Whether the silence has lasted this long, and a call was given up in it.
    pub(super) fn is_beyond(&self, limit: Duration) -> bool {
        self.owed > 0 && self.since.elapsed() >= limit
    }

    /// Whether the silence of a child without a ping is excused. Once a call was given up, each check
    /// counts as an unanswered ping.
    pub(super) const fn is_excused_without_ping(&mut self, has_work: bool) -> bool {
        if self.owed == 0 {
            return true;
        }
        self.gave_up(true);
        self.is_excused(has_work)
    }

    /// Whether work excuses the last unanswered ping. `has_work` says whether a call other than a ping is
    /// pending; if pings counted as work, each would excuse the next one. Calls that were given up
    /// excuse two pings. Pending calls excuse nine if others were given up, and otherwise any number.
    pub(super) const fn is_excused(&self, has_work: bool) -> bool {
        match self.pings {
            0..PINGS_EXCUSED => has_work || self.owed > 0,
            PINGS_EXCUSED..PINGS_EXCUSED_AT_WORK => has_work,
            PINGS_EXCUSED_AT_WORK.. => has_work && self.owed == 0,
        }
    }
}

/// From this unanswered ping in a row on, calls that were given up are no excuse.
const PINGS_EXCUSED: u32 = 3;
/// From this unanswered ping in a row on, pending calls are no excuse if others were given up.
const PINGS_EXCUSED_AT_WORK: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pings in a row are excused.
    fn excused(owed: usize, has_work: bool) -> usize {
        let mut silence = Silence::new();
        for _ in 0..owed {
            silence.gave_up(false);
        }
        let ping = || {
            silence.gave_up(true);
            silence.is_excused(has_work)
        };
        std::iter::repeat_with(ping)
            .take(100)
            .take_while(|it| *it)
            .count()
    }

    #[test]
    fn calls_given_up_excuse_two_pings_and_pending_calls_nine() {
        assert_eq!(excused(0, false), 0);
        assert_eq!(excused(1, false), 2);
        assert_eq!(excused(1, true), 9);
        assert_eq!(excused(0, true), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_too_long_only_if_a_call_was_given_up() {
        let limit = Duration::from_secs(60);
        let mut silence = Silence::new();
        tokio::time::advance(2 * limit).await;
        assert!(!silence.is_beyond(limit));
        silence.gave_up(false);
        assert!(silence.is_beyond(limit));
        silence.end();
        silence.gave_up(false);
        assert!(!silence.is_beyond(limit));
    }

    #[test]
    fn a_child_without_a_ping_is_judged_by_its_calls() {
        let mut silence = Silence::new();
        for _ in 0..100 {
            assert!(
                silence.is_excused_without_ping(false),
                "no call was given up"
            );
        }
        silence.gave_up(false);
        let checks = [(); 4].map(|()| silence.is_excused_without_ping(false));
        assert_eq!(checks, [true, true, false, false]);
    }

    #[test]
    fn a_read_ends_the_silence_and_forgets_the_calls_given_up() {
        let mut silence = Silence::new();
        silence.gave_up(false);
        assert!(silence.is_excused(false));
        silence.end();
        assert!(!silence.is_excused(false));
    }
}
