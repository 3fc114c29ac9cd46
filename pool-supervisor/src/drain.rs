//! How long a child's pipes are read after they could have reached their ends.

use std::time::Duration;

use tokio::time::Instant;

/// Measures the time that the child's side takes. Time in which the host has to act does not count, as
/// long as nobody has asked for the end of the child.
#[derive(Debug, Default)]
pub(crate) struct DrainClock {
    /// How long it has counted.
    counted: Duration,
    /// Since when it counts now.
    counting_since: Option<Instant>,
}

/// How long pipes are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrainLimits {
    pub(crate) timeout: Duration,
    pub(crate) idle: Duration,
}

/// What can be seen of the pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainSight {
    /// All were read to their ends, and what was read was sent.
    Done,
    /// At least one has not ended, and all that have not are read.
    Reading { last_read: Option<Instant> },
    /// The host must read or grant more first. That takes time of a cancelled child only as long as there is
    /// something to cut.
    HostIsDue { is_cuttable: bool },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainOrder {
    Finish,
    /// Until something changes, or until this time.
    Wait(Option<Instant>),
    /// The time is over.
    Cut(CutReason),
}

/// Which time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutReason {
    Idle,
    TimedOut,
    NoCredit,
}

impl DrainClock {
    /// Without limits it never cuts.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        limits: Option<DrainLimits>,
        sight: DrainSight,
    ) -> DrainOrder {
        let Some(limits) = limits else {
            return match sight {
                DrainSight::Done => DrainOrder::Finish,
                DrainSight::Reading { .. } | DrainSight::HostIsDue { .. } => DrainOrder::Wait(None),
            };
        };
        let counts = match sight {
            DrainSight::Done => return DrainOrder::Finish,
            DrainSight::Reading { .. } => true,
            DrainSight::HostIsDue { is_cuttable } => is_cuttable,
        };
        if !counts {
            if let Some(since) = self.counting_since.take() {
                self.counted += now - since;
            }
            return DrainOrder::Wait(None);
        }
        let since = *self.counting_since.get_or_insert(now);
        let until = since + limits.timeout.saturating_sub(self.counted);
        let (at, why) = match sight {
            DrainSight::Reading { last_read } => {
                let silent_since = last_read.map_or(since, |last| last.max(since));
                let idle_at = silent_since + limits.idle;
                if idle_at < until {
                    (idle_at, CutReason::Idle)
                } else {
                    (until, CutReason::TimedOut)
                }
            }
            DrainSight::HostIsDue { .. } | DrainSight::Done => (until, CutReason::NoCredit),
        };
        if now >= at {
            DrainOrder::Cut(why)
        } else {
            DrainOrder::Wait(Some(at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DrainLimits = DrainLimits {
        timeout: Duration::from_secs(2),
        idle: Duration::from_millis(500),
    };

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn silence_is_cut_sooner_than_chatter() {
        let begin = Instant::now();
        let mut clock = DrainClock::default();
        let silent = DrainSight::Reading { last_read: None };
        let wait = DrainOrder::Wait(Some(begin + millis(500)));
        assert_eq!(clock.look(begin, Some(LIMITS), silent), wait);
        let order = clock.look(begin + millis(500), Some(LIMITS), silent);
        assert_eq!(order, DrainOrder::Cut(CutReason::Idle));

        let mut clock = DrainClock::default();
        for step in 0..20 {
            let now = begin + millis(100 * step);
            let sight = DrainSight::Reading {
                last_read: Some(now),
            };
            assert!(matches!(
                clock.look(now, Some(LIMITS), sight),
                DrainOrder::Wait(Some(_))
            ));
        }
        let now = begin + millis(2000);
        let sight = DrainSight::Reading {
            last_read: Some(now),
        };
        assert_eq!(
            clock.look(now, Some(LIMITS), sight),
            DrainOrder::Cut(CutReason::TimedOut)
        );
    }

    #[test]
    fn the_host_may_take_its_time_unless_the_child_was_cancelled() {
        let begin = Instant::now();
        let mut clock = DrainClock::default();
        let host = |is_cuttable| DrainSight::HostIsDue { is_cuttable };
        let reading = DrainSight::Reading { last_read: None };
        clock.look(begin, Some(LIMITS), reading);
        let later = begin + millis(400);
        assert_eq!(
            clock.look(later, Some(LIMITS), host(false)),
            DrainOrder::Wait(None)
        );
        let much_later = begin + millis(60_000);
        assert_eq!(
            clock.look(much_later, Some(LIMITS), host(false)),
            DrainOrder::Wait(None)
        );
        let cancelled = clock.look(much_later, Some(LIMITS), host(true));
        assert_eq!(cancelled, DrainOrder::Wait(Some(much_later + millis(1600))));
        let order = clock.look(much_later + millis(1600), Some(LIMITS), host(true));
        assert_eq!(order, DrainOrder::Cut(CutReason::NoCredit));
    }

    #[test]
    fn without_limits_nothing_is_cut() {
        let begin = Instant::now();
        let mut clock = DrainClock::default();
        let reading = DrainSight::Reading { last_read: None };
        assert_eq!(clock.look(begin, None, reading), DrainOrder::Wait(None));
        assert_eq!(
            clock.look(begin + millis(9999), None, reading),
            DrainOrder::Wait(None)
        );
        assert_eq!(
            clock.look(begin, None, DrainSight::Done),
            DrainOrder::Finish
        );
    }
}
