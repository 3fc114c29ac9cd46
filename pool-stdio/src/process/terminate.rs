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
//! 5. What could not be counted counts as alive ([`Others::Unknown`]): it gets the rest of the graces,
//!    and is reported as unknown, never as none.
//! 6. Where the others can never be counted ([`Others::Uncountable`]), an exited root ends the graces:
//!    the kill comes at once, while the root's pid still holds the group.

mod orders;
mod plan;

use std::time::{Duration, Instant};

pub(crate) use self::orders::{
    Ending, Order, Others, PipeSight, RootSight, ScanFor, Sight, Start, StdinSight,
};
pub(crate) use self::plan::TIME_MAX;
pub use self::plan::{KillScope, LadderTimes, Stop};
use super::outcome::{CountFailure, Drain, Rung, Survivors};

/// One walk down the rungs.
#[derive(Debug)]
pub(crate) struct Ladder {
    times: LadderTimes,
    scope: KillScope,
    begun: Instant,
    stage: Stage,
    stdin_dropped: bool,
    is_killed: bool,
    is_term_skipped: bool,
    root_was_gone: bool,
    record: Record,
    others: View,
    survivors_found: usize,
    /// By the last scan of this rung.
    survivors_now: Option<Survivors>,
}

/// Whether the descendants were recorded while the root lives: some can be found only by their
/// parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Wanted,
    Asked { until: Instant },
    Done,
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
    /// had exited before and others were killed because they cannot be counted. While the root lives
    /// it is killed again at `again`: the system may have refused the signal.
    Kill {
        rung: Rung,
        until: Option<Instant>,
        again: Again,
    },
    Drain {
        since: Instant,
        rung: Rung,
        survivors: Survivors,
    },
}

/// A thing that is done again and again, ever more rarely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Again {
    at: Instant,
    gap: Duration,
}

/// What is known of the others, and when to scan again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Due(Again),
    Asked(Again),
    Gone,
    Uncountable(CountFailure),
}

enum Subject {
    Gone,
    /// The root is dead and the rest can never be counted.
    Uncountable(CountFailure),
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
            Start::Stop(Stop::Force) => times = times.hastened(times.force_grace),
            Start::Killed => times = times.hastened(Duration::ZERO),
            Start::Shutdown(grace) => times = times.hastened(grace),
        }
        // A forced end does not wait for a scan.
        let is_recordable = scope == KillScope::Tree
            && root == RootSight::Running
            && !(times.eof_grace.is_zero() && times.term_grace.is_zero());
        Self {
            times,
            scope,
            begun: now,
            stage: Stage::Flush {
                until: now + times.flush,
            },
            stdin_dropped: false,
            is_killed: start == Start::Killed,
            is_term_skipped: false,
            root_was_gone: root == RootSight::Exited && start != Start::Killed,
            record: if is_recordable {
                Record::Wanted
            } else {
                Record::Done
            },
            others: View::fresh(now),
            survivors_found: 0,
            survivors_now: None,
        }
    }

    /// Goes on from a rung that is at least as far down. Never slows a ladder that runs.
    pub(crate) fn hasten(&mut self, now: Instant, start: Start) {
        let grace = match start {
            Start::Stop(Stop::Orderly) => return,
            Start::Stop(Stop::Force) => self.times.force_grace,
            Start::Killed => Duration::ZERO,
            Start::Shutdown(grace) => grace,
        };
        self.is_killed |= start == Start::Killed;
        self.times = self.times.hastened(grace.min(self.times.term_grace));
        match &mut self.stage {
            Stage::Flush { until } | Stage::Eof { until } => *until = now,
            Stage::Term { until } => *until = (*until).min(now + grace),
            Stage::Kill { .. } | Stage::Drain { .. } => {}
        }
    }

    /// No process could be asked to leave, so after [`Order::Terminate`] the kill is due at once.
    pub(crate) fn skip_term(&mut self, now: Instant) {
        if let Stage::Term { until } = &mut self.stage {
            *until = now;
            self.is_term_skipped = true;
        }
    }

    pub(crate) const fn is_term_skipped(&self) -> bool {
        self.is_term_skipped
    }

    /// Whether stdin has not been ordered to be dropped.
    pub(crate) const fn takes_input(&self) -> bool {
        !self.stdin_dropped
    }

    /// Takes the answer to [`Order::Scan`]. One that is not waited for any more is ignored.
    pub(crate) fn scanned(&mut self, now: Instant, others: Others) {
        if self.record != Record::Done {
            self.record = Record::Done;
            return;
        }
        // Order: only what was asked for. The root lived during a scan for the record, so what that
        // found proves nothing when it comes late.
        let View::Asked(Again { gap, .. }) = self.others else {
            return;
        };
        let again = Again {
            at: now + gap,
            gap: (gap * 2).min(SCAN_GAP_MAX),
        };
        self.others = match others {
            Others::Alive(count) => {
                self.survivors_now = Some(Survivors::Known(count));
                self.survivors_found = self.survivors_found.max(count);
                View::Due(again)
            }
            Others::Gone => {
                self.survivors_now = Some(Survivors::Known(0));
                View::Gone
            }
            Others::Unknown(why) => {
                self.survivors_now = Some(Survivors::Unknown(why));
                View::Due(again)
            }
            Others::Uncountable(why) => View::Uncountable(why),
        };
    }

    /// The next thing to do. To be called again until it is [`Order::Wait`] or [`Order::Finish`].
    pub(crate) fn step(&mut self, now: Instant, sight: &Sight) -> Order {
        if let Some(order) = self.record(now, sight) {
            return order;
        }
        match self.stage {
            Stage::Flush { until } => self.flush(now, until, sight),
            _ if !self.stdin_dropped => {
                self.stdin_dropped = true;
                Order::DropStdin
            }
            Stage::Eof { until } => self.eof(now, until, sight),
            Stage::Term { until } => self.term(now, until, sight),
            Stage::Kill { rung, until, again } => self.kill(now, rung, until, again, sight),
            Stage::Drain {
                since,
                rung,
                survivors,
            } => match self.drained(now, since, sight.pipes) {
                Ok(drain) => Order::Finish(Ending {
                    rung,
                    drain,
                    survivors_found: self.survivors_found,
                    survivors,
                    elapsed: now.saturating_duration_since(self.begun),
                }),
                Err(until) => Order::Wait(Some(until)),
            },
        }
    }

    /// What is to be done before anything else.
    fn record(&mut self, now: Instant, sight: &Sight) -> Option<Order> {
        match self.record {
            Record::Done => None,
            _ if sight.root == RootSight::Exited => {
                self.record = Record::Done;
                None
            }
            Record::Wanted => {
                let until = now + RECORD_WAIT;
                self.record = Record::Asked { until };
                Some(Order::Scan(ScanFor::Record))
            }
            Record::Asked { until } if now < until => Some(Order::Wait(Some(until))),
            Record::Asked { .. } => {
                self.record = Record::Done;
                None
            }
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
            return self.enter_kill(now, Rung::Kill);
        }
        self.stage = Stage::Eof {
            until: now + self.times.eof_grace,
        };
        self.stdin_dropped = true;
        Order::DropStdin
    }

    fn eof(&mut self, now: Instant, until: Instant, sight: &Sight) -> Order {
        if self.is_killed {
            return self.enter_kill(now, Rung::Kill);
        }
        match self.subject(now, sight) {
            Subject::Gone => self.enter_drain(now, Rung::Eof, Survivors::Known(0)),
            Subject::NeedsScan => self.scan(now, ScanFor::Count),
            Subject::Uncountable(_) => self.enter_kill(now, Rung::Eof),
            Subject::Lives { again, patience } if now < patience.max(until) => {
                wait_until(patience.max(until), again)
            }
            Subject::Lives { .. } if self.times.term_grace.is_zero() => {
                self.enter_kill(now, Rung::Kill)
            }
            Subject::Lives { .. } => {
                self.stage = Stage::Term {
                    until: now + self.times.term_grace,
                };
                self.look_afresh(now);
                Order::Terminate
            }
        }
    }

    fn term(&mut self, now: Instant, until: Instant, sight: &Sight) -> Order {
        if self.is_killed {
            return self.enter_kill(now, Rung::Kill);
        }
        match self.subject(now, sight) {
            Subject::Gone => self.enter_drain(now, Rung::Term, Survivors::Known(0)),
            Subject::NeedsScan => self.scan(now, ScanFor::Count),
            Subject::Lives { again, patience } if now < patience.max(until) => {
                wait_until(patience.max(until), again)
            }
            Subject::Uncountable(_) => self.enter_kill(now, Rung::Term),
            Subject::Lives { .. } => self.enter_kill(now, Rung::Kill),
        }
    }

    fn enter_kill(&mut self, now: Instant, rung: Rung) -> Order {
        self.stage = Stage::Kill {
            rung,
            until: None,
            again: Again::after(now, KILL_GAP_MIN),
        };
        Order::Kill
    }

    fn kill(
        &mut self,
        now: Instant,
        rung: Rung,
        until: Option<Instant>,
        again: Again,
        sight: &Sight,
    ) -> Order {
        if sight.root == RootSight::Running {
            if now < again.at {
                return Order::Wait(Some(again.at));
            }
            let again = Again::after(now, (again.gap * 2).min(KILL_GAP_MAX));
            self.stage = Stage::Kill { rung, until, again };
            return Order::Kill;
        }
        let until = until.unwrap_or_else(|| {
            // Order: what was seen before the root's death proves nothing, since it could fork.
            self.look_afresh(now);
            now + self.times.kill_wait
        });
        self.stage = Stage::Kill {
            rung,
            until: Some(until),
            again,
        };
        match self.subject(now, sight) {
            Subject::Gone => self.enter_drain(now, rung, Survivors::Known(0)),
            Subject::Uncountable(why) => self.enter_drain(now, rung, Survivors::Unknown(why)),
            _ if now >= until => {
                let no_answer = Survivors::Unknown(CountFailure::NoAnswer);
                self.enter_drain(now, rung, self.survivors_now.unwrap_or(no_answer))
            }
            Subject::NeedsScan => self.scan(now, ScanFor::Kill),
            Subject::Lives { again, .. } => wait_until(until, again),
        }
    }

    fn enter_drain(&mut self, now: Instant, rung: Rung, survivors: Survivors) -> Order {
        let untouched = self.root_was_gone && self.survivors_found == 0;
        let rung = if untouched && rung == Rung::Eof {
            Rung::AlreadyGone
        } else {
            rung
        };
        self.stage = Stage::Drain {
            since: now,
            rung,
            survivors,
        };
        Order::Reap
    }

    fn look_afresh(&mut self, now: Instant) {
        self.others = View::fresh(now);
        self.survivors_now = None;
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
            View::Uncountable(why) => Subject::Uncountable(why),
            View::Asked(Again { at, .. }) => Subject::Lives {
                again: None,
                patience: at + SCAN_PATIENCE,
            },
            View::Due(Again { at, .. }) if now >= at => Subject::NeedsScan,
            View::Due(Again { at, .. }) => Subject::Lives {
                again: Some(at),
                patience: now,
            },
        }
    }

    fn scan(&mut self, now: Instant, purpose: ScanFor) -> Order {
        if let View::Due(Again { gap, .. }) = self.others {
            self.others = View::Asked(Again { at: now, gap });
        }
        Order::Scan(purpose)
    }
}

impl View {
    const fn fresh(now: Instant) -> Self {
        Self::Due(Again {
            at: now,
            gap: SCAN_GAP_MIN,
        })
    }
}

impl Again {
    fn after(now: Instant, gap: Duration) -> Self {
        Self { at: now + gap, gap }
    }
}

fn wait_until(until: Instant, again: Option<Instant>) -> Order {
    Order::Wait(Some(again.map_or(until, |at| at.min(until))))
}

/// A rung that is over waits this long for the answer to a scan that was begun before, so that it does
/// not kill, and report as killed, what has exited. A scan takes milliseconds, and half a second on a
/// busy machine. Only a scan that is stuck makes this a delay.
const SCAN_PATIENCE: Duration = Duration::from_secs(1);
/// How long the ladder waits for descendants to be recorded. A scan takes milliseconds.
const RECORD_WAIT: Duration = Duration::from_millis(100);
/// Between two times SIGKILL is sent to a root that does not die: first, and at most.
const KILL_GAP_MIN: Duration = Duration::from_millis(100);
const KILL_GAP_MAX: Duration = Duration::from_secs(5);
/// Between two scans for survivors: a killed process needs some 100 µs to exit.
const SCAN_GAP_MIN: Duration = Duration::from_millis(1);
/// A scan costs about 10 µs per process of the system, so it is not made more often than this.
const SCAN_GAP_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
