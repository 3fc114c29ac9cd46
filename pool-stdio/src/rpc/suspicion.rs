//! When a child is suspected to hang, and how long it is excused. Pure: it is told what happens, and
//! when.
//!
//! # The rule
//!
//! A child is *suspected* when a request that was written to it passed its deadline and nothing was read
//! since, or when its process has been stopped for `hang_after` while a call was pending. A call that
//! its caller gave up is no evidence. Whatever is read clears the suspicion.
//!
//! A suspected child is pinged. After `hang_after` of further silence it is ended. Calls that were begun
//! before the suspicion excuse it until the last of their deadlines, because the child may work on them;
//! a stopped process works on nothing, and is not excused.

use std::time::Duration;

use tokio::time::Instant;

use super::call_id::CallId;

/// What was read so far, and what was not answered since.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// How often something was read.
    reads: u64,
    /// When something was read last, or the connection was opened.
    last_read: Instant,
    /// Calls that were given up since, and that the child may still work on.
    given_up: usize,
    suspected: Option<Suspected>,
    /// How often a suspicion began or was cleared.
    changes: u64,
}

/// Since when a child is suspected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suspected {
    pub(super) since: Instant,
    /// Calls from this one on were begun later, and are no excuse.
    pub(super) first_later_call: CallId,
}

/// How long pending calls excuse a silent child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excuse {
    /// No call does.
    None,
    /// Until the last of their deadlines.
    Until(Instant),
    /// A call has no deadline.
    Always,
}

impl Suspicion {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            reads: 0,
            last_read: now,
            given_up: 0,
            suspected: None,
            changes: 0,
        }
    }

    pub(super) const fn reads(&self) -> u64 {
        self.reads
    }

    pub(super) const fn last_read(&self) -> Instant {
        self.last_read
    }

    pub(super) const fn suspected(&self) -> Option<Suspected> {
        self.suspected
    }

    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether a call was given up since the last read.
    pub(super) const fn has_given_up(&self) -> bool {
        self.given_up > 0
    }

    /// Something was read.
    pub(super) const fn note_read(&mut self, now: Instant) {
        self.reads += 1;
        self.last_read = now;
        self.given_up = 0;
        if self.suspected.is_some() {
            self.suspected = None;
            self.changes += 1;
        }
    }

    /// A call other than a ping was given up after its request was written.
    pub(super) const fn note_given_up(&mut self) {
        self.given_up += 1;
    }

    /// A request passed its deadline. When the call began, `reads_before` reads had happened.
    pub(super) fn note_missed_deadline(&mut self, reads_before: u64, now: Instant, next: CallId) {
        if reads_before == self.reads {
            self.suspect(now, next);
        }
    }

    /// The child is suspected from now on, unless it was before. `next` is the number of the next call.
    pub(super) fn suspect(&mut self, now: Instant, next: CallId) {
        if self.suspected.is_none() {
            self.changes += 1;
            self.suspected = Some(Suspected {
                since: now,
                first_later_call: next,
            });
        }
    }
}

/// Watches a child that has work or is suspected, in ticks.
#[derive(Debug)]
pub(super) struct Watchdog {
    hang_after: Duration,
    ticked: Instant,
    /// How many reads had happened at the last tick.
    reads: u64,
    /// The process is stopped at least since the end of the tick before this.
    stopped_since: Option<Instant>,
    has_pinged: bool,
}

/// What the watchdog sees of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    pub(super) reads: u64,
    /// A call other than a ping waits for its reply.
    pub(super) has_work: bool,
    pub(super) suspected_since: Option<Instant>,
    pub(super) excuse: Excuse,
}

/// What is to be done after a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    /// Nothing, until there is work again.
    Rest,
    /// Suspect the child, and tick again at once.
    Suspect,
    /// Ping the child, and tick again then.
    Ping(Instant),
    /// Tick again then.
    Wait(Instant),
    /// End the child.
    End,
}

impl Watchdog {
    /// Begins to watch a child that has been read from this often.
    pub(super) const fn start(hang_after: Duration, reads: u64, now: Instant) -> Self {
        Self {
            hang_after,
            ticked: now,
            reads,
            stopped_since: None,
            has_pinged: false,
        }
    }

    /// When the next tick is due.
    pub(super) fn next(&self) -> Instant {
        let interval = self.hang_after / TICKS_PER_HANG;
        self.ticked + interval.max(INTERVAL_MIN)
    }

    pub(super) fn tick(
        &mut self,
        now: Instant,
        seen: &Observation,
        is_stopped: impl FnOnce() -> bool,
    ) -> Tick {
        let ticked_before = std::mem::replace(&mut self.ticked, now);
        let is_silent = std::mem::replace(&mut self.reads, seen.reads) == seen.reads;
        if !seen.has_work && seen.suspected_since.is_none() {
            self.stopped_since = None;
            return if is_silent {
                Tick::Rest
            } else {
                Tick::Wait(self.next())
            };
        }
        self.stopped_since =
            (is_silent && is_stopped()).then(|| self.stopped_since.unwrap_or(ticked_before));
        let is_stopped = self
            .stopped_since
            .is_some_and(|since| now - since >= self.hang_after);
        let Some(suspected_since) = seen.suspected_since else {
            self.has_pinged = false;
            return if is_stopped && seen.has_work {
                Tick::Suspect
            } else {
                Tick::Wait(self.next())
            };
        };
        let due = suspected_since + self.hang_after;
        let until = match seen.excuse {
            _ if is_stopped => due,
            Excuse::None => due,
            Excuse::Until(deadline) => due.max(deadline),
            Excuse::Always => due.max(now + self.hang_after),
        };
        if now >= until {
            return Tick::End;
        }
        let next = self.next().min(until);
        if std::mem::replace(&mut self.has_pinged, true) {
            Tick::Wait(next)
        } else {
            Tick::Ping(next)
        }
    }
}

/// A stopped process is seen with this precision.
const TICKS_PER_HANG: u32 = 20;
const INTERVAL_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const HANG: Duration = Duration::from_secs(5);

    fn seen(suspected_since: Option<Instant>, excuse: Excuse) -> Observation {
        Observation {
            reads: 0,
            has_work: true,
            suspected_since,
            excuse,
        }
    }

    /// Ticks until the child is ended, or for so long. Returns when it was suspected and ended, counted
    /// from the start, and how often it was pinged.
    fn watch(
        start: Instant,
        mut seen: Observation,
        limit: Duration,
        is_stopped: impl Fn(Duration) -> bool,
    ) -> (Option<Duration>, Option<Duration>, usize) {
        let mut watchdog = Watchdog::start(HANG, seen.reads, start);
        let (mut now, mut pings) = (start, 0);
        let mut suspected = seen.suspected_since.map(|since| since - start);
        while now - start <= limit {
            match watchdog.tick(now, &seen, || is_stopped(now - start)) {
                Tick::Rest => return (suspected, None, pings),
                Tick::Suspect => {
                    seen.suspected_since = Some(now);
                    suspected = Some(now - start);
                }
                Tick::Ping(next) => {
                    pings += 1;
                    now = next;
                }
                Tick::Wait(next) => now = next,
                Tick::End => return (suspected, Some(now - start), pings),
            }
        }
        (suspected, None, pings)
    }

    #[test]
    fn a_suspected_child_is_pinged_once_and_ended_after_further_silence() {
        let now = Instant::now();
        let (_, ended, pings) = watch(now, seen(Some(now), Excuse::None), 10 * HANG, |_| false);
        assert_eq!(ended.map(|ended| ended.as_secs()), Some(5));
        assert_eq!(pings, 1);
    }

    #[test]
    fn a_call_whose_deadline_is_still_to_come_excuses_a_suspected_child() {
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let excuse = Excuse::Until(now + minute);
        let (_, ended, _) = watch(now, seen(Some(now), excuse), 10 * HANG, |_| false);
        assert_eq!(ended, None);
        let (_, ended, _) = watch(now, seen(Some(now), excuse), 2 * minute, |_| false);
        assert_eq!(ended.map(|ended| ended.as_secs()), Some(60));
        let (_, ended, _) = watch(now, seen(Some(now), Excuse::Always), 10 * minute, |_| false);
        assert_eq!(ended, None);
    }

    #[test]
    fn a_stopped_child_is_suspected_and_ended_whatever_is_pending() {
        let now = Instant::now();
        for excuse in [Excuse::None, Excuse::Always] {
            let (suspected, ended, _) = watch(now, seen(None, excuse), 10 * HANG, |_| true);
            assert_eq!(suspected, Some(HANG));
            assert_eq!(ended, Some(2 * HANG));
        }
        // It runs again in time.
        let stops = |time: Duration| time < Duration::from_secs(9);
        let (_, ended, _) = watch(now, seen(None, Excuse::Always), 10 * HANG, stops);
        assert_eq!(ended, None);
    }

    #[test]
    fn a_working_child_is_watched_and_an_idle_one_is_not() {
        let now = Instant::now();
        let (suspected, ended, _) = watch(now, seen(None, Excuse::None), 100 * HANG, |_| false);
        assert_eq!((suspected, ended), (None, None));
        let mut idle = seen(None, Excuse::None);
        idle.has_work = false;
        let mut watchdog = Watchdog::start(HANG, 0, now);
        assert_eq!(watchdog.tick(now, &idle, || true), Tick::Rest);
    }

    #[test]
    fn a_stopped_child_is_timed_from_its_last_read() {
        let start = Instant::now();
        let mut watchdog = Watchdog::start(HANG, 0, start);
        let mut seen = seen(None, Excuse::None);
        seen.reads = 1;
        let later = start + HANG;
        assert_eq!(
            watchdog.tick(later, &seen, || panic!("it is not silent")),
            Tick::Wait(later + HANG / TICKS_PER_HANG)
        );
        let next = watchdog.tick(later + HANG - INTERVAL_MIN, &seen, || true);
        assert!(matches!(next, Tick::Wait(_)));
        assert_eq!(watchdog.tick(later + HANG, &seen, || true), Tick::Suspect);
    }

    #[test]
    fn only_silence_since_the_request_is_evidence() {
        let now = Instant::now();
        let mut suspicion = Suspicion::new(now);
        suspicion.note_read(now);
        suspicion.note_missed_deadline(0, now, 1);
        assert!(suspicion.suspected().is_none(), "it was read since");
        suspicion.note_given_up();
        assert!(suspicion.suspected().is_none(), "its caller gave it up");
        suspicion.note_missed_deadline(1, now, 2);
        suspicion.note_missed_deadline(1, now + HANG, 9);
        let suspected = suspicion.suspected().unwrap();
        assert_eq!((suspected.since, suspected.first_later_call), (now, 2));
        suspicion.note_read(now);
        assert!(suspicion.suspected().is_none() && !suspicion.has_given_up());
    }
}
