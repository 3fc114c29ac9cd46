//! Decides how a child and everything it started is terminated.
//!
//! The ladder is a pure state machine: it takes the time and what can be seen, and returns what to
//! do next. It knows no process, no pipe and no clock, so each of its decisions can be tested
//! without any.
//!
//! ```text
//!  Flush ──► Eof ──► Term ──► Kill ──► Drain ──► Finish
//!    │         │       │        │        └ read on until end of file, or the drain's limits
//!    │         │       │        └ SIGKILL to the subject; found again and killed until none is left
//!    │         │       └ SIGTERM, then SIGCONT, to the subject; grace
//!    │         └ stdin is dropped; grace
//!    └ stdout is discarded, queued writes are flushed; bounded
//! ```
//!
//! A forced termination begins with the first two rungs, and usually the third, at length zero. A rung
//! of length zero is passed without acting on it: if all three are zero, stdin is dropped after
//! SIGKILL, so that the child does not take half a request for the whole.
//!
//! # Invariants
//!
//! 1. What is ended is the [scope](KillScope), not the root: no rung ends early because the root has
//!    exited while others of the scope live, and the ladder is walked even if the root had exited
//!    before it began.
//! 2. Once begun it ends in `Finish`: every stage has a deadline, except the wait for the root's death
//!    after SIGKILL, which ends when the kernel lets go of the process.
//! 3. SIGKILL is sent at most one stage after SIGTERM, never before the graces have passed.
//! 4. The drain's absolute deadline is set once, when the scope is gone. Output cannot move it.
//! 5. Where the others cannot be counted ([`Others::Unknown`]), an exited root ends the graces: the
//!    kill comes at once, while the root's number still holds the group.

mod plan;

use std::time::{Duration, Instant};

pub(crate) use self::plan::TIME_MAX;
pub use self::plan::{KillScope, LadderTimes, Stop};
use super::outcome::{Drain, Rung};

/// What is seen at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) root: RootSight,
    pub(crate) stdin: StdinSight,
    pub(crate) pipes: PipeSight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootSight {
    Running,
    Exited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdinSight {
    /// Bytes wait to be written.
    Pending,
    /// Nothing waits, or nothing can be written.
    Flushed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PipeSight {
    /// At least one pipe has not reached its end; the last bytes came at this time.
    Open { last_read: Option<Instant> },
    /// All have.
    Ended,
}

/// What lives of the scope besides the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    #[cfg_attr(
        all(not(test), any(not(target_os = "linux"), pool_stdio_portable)),
        expect(dead_code, reason = "only where they can be counted")
    )]
    Alive(usize),
    Gone,
    /// This system cannot tell.
    Unknown,
}

/// What the ladder wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Order {
    /// Close the child's stdin, written out or not.
    DropStdin,
    /// SIGTERM, then SIGCONT, to the scope.
    Terminate,
    /// SIGKILL to the scope.
    Kill,
    /// Count what lives besides the root (in the kill stage: and kill it), and tell
    /// [`Ladder::scanned`].
    Scan(ScanFor),
    /// Collect the root's status. The group may not be signalled by its number after this.
    Reap,
    /// Come back at this time, or when something else is seen.
    Wait(Option<Instant>),
    /// It is over.
    Finish(Ending),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanFor {
    Count,
    Kill,
}

/// The ladder's part of a [`Termination`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) rung: Rung,
    pub(crate) drain: Drain,
    pub(crate) survivors_found: usize,
    pub(crate) survivors_left: usize,
    pub(crate) elapsed: Duration,
}

/// Where a ladder begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Stop(Stop),
    /// [`Stop::Force`] without a grace. The handle has already sent SIGKILL to a root that lived.
    Killed,
    /// SIGTERM now, SIGKILL after this.
    Shutdown(Duration),
}

/// One walk down the rungs.
#[derive(Debug)]
pub(crate) struct Ladder {
    times: LadderTimes,
    scope: KillScope,
    begun: Instant,
    stage: Stage,
    stdin_dropped: bool,
    is_killed: bool,
    root_was_gone: bool,
    others: View,
    survivors_found: usize,
    survivors_now: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Flush {
        until: Instant,
    },
    Eof {
        until: Instant,
    },
    Term {
        until: Instant,
    },
    /// `until` is set when the root is seen dead. `rung` is what to report: not the kill, if the root
    /// had exited before and others were killed because they cannot be counted.
    Kill {
        rung: Rung,
        until: Option<Instant>,
    },
    Drain {
        since: Instant,
        rung: Rung,
        survivors_left: usize,
    },
}

/// What is known of the others, and when to scan again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Due { at: Instant, gap: Duration },
    Asked { at: Instant, gap: Duration },
    Gone,
    Unknown,
}

enum Subject {
    Gone,
    /// The root is dead and the rest cannot be counted.
    Uncountable,
    NeedsScan,
    /// `again` is when to scan; `patience` is until when to wait for the answer to a scan.
    Lives {
        again: Option<Instant>,
        patience: Instant,
    },
}

impl Ladder {
    pub(crate) fn begin(
        now: Instant,
        start: Start,
        scope: KillScope,
        mut times: LadderTimes,
        root: RootSight,
    ) -> Self {
        match start {
            Start::Stop(Stop::Orderly) => {}
            Start::Stop(Stop::Force) | Start::Killed => times = times.hastened(times.force_grace),
            Start::Shutdown(grace) => times = times.hastened(grace),
        }
        Self {
            times,
            scope,
            begun: now,
            stage: Stage::Flush {
                until: now + times.flush,
            },
            stdin_dropped: false,
            is_killed: start == Start::Killed,
            root_was_gone: root == RootSight::Exited && start != Start::Killed,
            others: View::fresh(now),
            survivors_found: 0,
            survivors_now: 0,
        }
    }

    /// Goes on from a rung that is at least as far down. Never slows a ladder that runs.
    pub(crate) fn hasten(&mut self, now: Instant, start: Start) {
        let grace = match start {
            Start::Stop(Stop::Orderly) => return,
            Start::Stop(Stop::Force) | Start::Killed => self.times.force_grace,
            Start::Shutdown(grace) => grace,
        };
        self.times = self.times.hastened(grace.min(self.times.term_grace));
        match &mut self.stage {
            Stage::Flush { until } | Stage::Eof { until } => *until = now,
            Stage::Term { until } => *until = (*until).min(now + grace),
            Stage::Kill { .. } | Stage::Drain { .. } => {}
        }
    }

    /// Whether stdin has not been ordered to be dropped.
    pub(crate) const fn takes_input(&self) -> bool {
        !self.stdin_dropped
    }

    /// Takes the answer to [`Order::Scan`].
    pub(crate) fn scanned(&mut self, now: Instant, others: Others) {
        let gap = match self.others {
            View::Due { gap, .. } | View::Asked { gap, .. } => gap,
            View::Gone | View::Unknown => SCAN_GAP_MIN,
        };
        self.others = match others {
            Others::Alive(count) => {
                self.survivors_now = count;
                self.survivors_found = self.survivors_found.max(count);
                View::Due {
                    at: now + gap,
                    gap: (gap * 2).min(SCAN_GAP_MAX),
                }
            }
            Others::Gone => View::Gone,
            Others::Unknown => View::Unknown,
        };
    }

    /// The next thing to do. To be called again until it is [`Order::Wait`] or [`Order::Finish`].
    pub(crate) fn step(&mut self, now: Instant, sight: &Sight) -> Order {
        match self.stage {
            Stage::Flush { until } => self.flush(now, until, sight),
            _ if !self.stdin_dropped => {
                self.stdin_dropped = true;
                Order::DropStdin
            }
            Stage::Eof { until } => self.eof(now, until, sight),
            Stage::Term { until } => self.term(now, until, sight),
            Stage::Kill { rung, until } => self.kill(now, rung, until, sight),
            Stage::Drain {
                since,
                rung,
                survivors_left,
            } => match self.drained(now, since, sight.pipes) {
                Ok(drain) => Order::Finish(Ending {
                    rung,
                    drain,
                    survivors_found: self.survivors_found,
                    survivors_left,
                    elapsed: now.saturating_duration_since(self.begun),
                }),
                Err(until) => Order::Wait(Some(until)),
            },
        }
    }

    fn flush(&mut self, now: Instant, until: Instant, sight: &Sight) -> Order {
        let over =
            now >= until || sight.stdin == StdinSight::Flushed || sight.root == RootSight::Exited;
        if !over {
            return Order::Wait(Some(until));
        }
        let is_immediate = self.times.eof_grace.is_zero() && self.times.term_grace.is_zero();
        if is_immediate && (sight.root == RootSight::Running || self.is_killed) {
            // Order: killed before its stdin is closed, or it would act on the half of a request
            // as if that were all.
            return self.enter_kill(Rung::Kill);
        }
        self.stage = Stage::Eof {
            until: now + self.times.eof_grace,
        };
        self.stdin_dropped = true;
        Order::DropStdin
    }

    fn eof(&mut self, now: Instant, until: Instant, sight: &Sight) -> Order {
        match self.subject(now, sight) {
            Subject::Gone => self.enter_drain(now, Rung::Eof, 0),
            Subject::NeedsScan => self.scan(now, ScanFor::Count),
            Subject::Uncountable => self.enter_kill(Rung::Eof),
            Subject::Lives { again, patience } if now < patience.max(until) => {
                wait_until(patience.max(until), again)
            }
            Subject::Lives { .. } if self.times.term_grace.is_zero() => self.enter_kill(Rung::Kill),
            Subject::Lives { .. } => {
                self.stage = Stage::Term {
                    until: now + self.times.term_grace,
                };
                self.others = View::fresh(now);
                Order::Terminate
            }
        }
    }

    fn term(&mut self, now: Instant, until: Instant, sight: &Sight) -> Order {
        match self.subject(now, sight) {
            Subject::Gone => self.enter_drain(now, Rung::Term, 0),
            Subject::NeedsScan => self.scan(now, ScanFor::Count),
            Subject::Lives { again, patience } if now < patience.max(until) => {
                wait_until(patience.max(until), again)
            }
            Subject::Uncountable => self.enter_kill(Rung::Term),
            Subject::Lives { .. } => self.enter_kill(Rung::Kill),
        }
    }

    fn enter_kill(&mut self, rung: Rung) -> Order {
        self.stage = Stage::Kill { rung, until: None };
        Order::Kill
    }

    fn kill(&mut self, now: Instant, rung: Rung, until: Option<Instant>, sight: &Sight) -> Order {
        if sight.root == RootSight::Running {
            return Order::Wait(None);
        }
        let until = until.unwrap_or_else(|| {
            // Order: what was seen before the root's death proves nothing, since it could fork.
            self.others = View::fresh(now);
            now + self.times.kill_wait
        });
        self.stage = Stage::Kill {
            rung,
            until: Some(until),
        };
        match self.subject(now, sight) {
            Subject::Gone | Subject::Uncountable => self.enter_drain(now, rung, 0),
            _ if now >= until => self.enter_drain(now, rung, self.survivors_now),
            Subject::NeedsScan => self.scan(now, ScanFor::Kill),
            Subject::Lives { again, .. } => wait_until(until, again),
        }
    }

    fn enter_drain(&mut self, now: Instant, rung: Rung, survivors_left: usize) -> Order {
        let untouched = self.root_was_gone && self.survivors_found == 0;
        let rung = if untouched && rung == Rung::Eof {
            Rung::AlreadyGone
        } else {
            rung
        };
        self.stage = Stage::Drain {
            since: now,
            rung,
            survivors_left,
        };
        Order::Reap
    }

    /// How the drain ended, or when it will.
    fn drained(&self, now: Instant, since: Instant, pipes: PipeSight) -> Result<Drain, Instant> {
        let PipeSight::Open { last_read } = pipes else {
            return Ok(Drain::Complete);
        };
        let timeout_at = since + self.times.drain_timeout;
        let idle_at = last_read.map_or(since, |at| at.max(since)) + self.times.drain_idle;
        if now >= timeout_at {
            Ok(Drain::TimedOut)
        } else if now >= idle_at {
            Ok(Drain::Idle)
        } else {
            Err(timeout_at.min(idle_at))
        }
    }

    fn subject(&self, now: Instant, sight: &Sight) -> Subject {
        if sight.root == RootSight::Running {
            return Subject::Lives {
                again: None,
                patience: now,
            };
        }
        if self.scope == KillScope::Root {
            return Subject::Gone;
        }
        match self.others {
            View::Gone => Subject::Gone,
            View::Unknown => Subject::Uncountable,
            View::Asked { at, .. } => Subject::Lives {
                again: None,
                patience: at + SCAN_PATIENCE,
            },
            View::Due { at, .. } if now >= at => Subject::NeedsScan,
            View::Due { at, .. } => Subject::Lives {
                again: Some(at),
                patience: now,
            },
        }
    }

    fn scan(&mut self, now: Instant, purpose: ScanFor) -> Order {
        if let View::Due { gap, .. } = self.others {
            self.others = View::Asked { at: now, gap };
        }
        Order::Scan(purpose)
    }
}

impl View {
    const fn fresh(now: Instant) -> Self {
        Self::Due {
            at: now,
            gap: SCAN_GAP_MIN,
        }
    }
}

fn wait_until(until: Instant, again: Option<Instant>) -> Order {
    Order::Wait(Some(again.map_or(until, |at| at.min(until))))
}

/// A rung that is over waits this long for the answer to a scan that was begun before, so that it does
/// not kill, and report as killed, what has exited. A scan takes milliseconds, and half a second on a
/// busy machine. Only a scan that is stuck makes this a delay.
const SCAN_PATIENCE: Duration = Duration::from_secs(1);
/// Between two scans for survivors: a killed process needs some 100 µs to exit.
const SCAN_GAP_MIN: Duration = Duration::from_millis(1);
/// A scan costs about 10 µs per process of the system, so it is not made more often than this.
const SCAN_GAP_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
