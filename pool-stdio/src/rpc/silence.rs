//! When the silence of a child is no wonder, and when it hangs. Pure: it is told what happens.

use std::time::Duration;

use tokio::time::Instant;

/// Since when nothing was read, and what was given up meanwhile.
#[derive(Debug)]
pub(super) struct Silence {
    pub(super) since: Instant,
    /// Calls that may still be worked on, but for pings.
    owed: usize,
    /// Pings that were not answered.
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

    /// The reply to what was written will not be waited for.
    pub(super) const fn gave_up(&mut self, is_ping: bool) {
        if is_ping {
            self.pings = self.pings.saturating_add(1);
        } else {
            self.owed += 1;
        }
    }

    /// Whether it has lasted so long, and somebody was waited for in vain in it.
    pub(super) fn is_beyond(&self, limit: Duration) -> bool {
        self.owed > 0 && self.since.elapsed() >= limit
    }

    /// Whether the check of who cannot be pinged says nothing: it counts as a ping once others were waited for
    /// in vain.
    pub(super) const fn is_excused_unasked(&mut self, has_work: bool) -> bool {
        if self.owed == 0 {
            return true;
        }
        self.gave_up(true);
        self.is_excused(has_work)
    }

    /// Whether the last unanswered ping says nothing, given whether a call is pending that is no
    /// ping. Pings are no work, or each would excuse the silence that the next one meets. Work that
    /// nobody waits for excuses few of them, and not many if others were waited for in vain.
    pub(super) const fn is_excused(&self, has_work: bool) -> bool {
        match self.pings {
            0..PINGS_EXCUSED => has_work || self.owed > 0,
            PINGS_EXCUSED..PINGS_EXCUSED_AT_WORK => has_work,
            PINGS_EXCUSED_AT_WORK.. => has_work && self.owed == 0,
        }
    }
}

/// In a row, by work that was given up.
const PINGS_EXCUSED: u32 = 3;
/// In a row, by work that somebody waits for, while others have given up.
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
    fn work_excuses_silence_for_a_while_and_longer_if_it_is_waited_for() {
        assert_eq!(excused(0, false), 0);
        assert_eq!(excused(1, false), 2);
        assert_eq!(excused(1, true), 9);
        assert_eq!(excused(0, true), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_too_long_only_for_who_was_waited_for() {
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
    fn who_cannot_be_pinged_is_judged_by_what_others_asked() {
        let mut silence = Silence::new();
        for _ in 0..100 {
            assert!(silence.is_excused_unasked(false), "nobody has asked");
        }
        silence.gave_up(false);
        let checks = [(); 4].map(|()| silence.is_excused_unasked(false));
        assert_eq!(checks, [true, true, false, false]);
    }

    #[test]
    fn a_word_ends_the_silence_and_what_was_owed_in_it() {
        let mut silence = Silence::new();
        silence.gave_up(false);
        assert!(silence.is_excused(false));
        silence.end();
        assert!(!silence.is_excused(false));
    }
}
