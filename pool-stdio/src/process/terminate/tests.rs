//! The ladder against a made-up subject: no process, no pipe, no clock.

use super::*;

mod recording;

const SECOND: Duration = Duration::from_secs(1);

fn times() -> LadderTimes {
    LadderTimes {
        flush: SECOND,
        eof_grace: 2 * SECOND,
        term_grace: 3 * SECOND,
        force_grace: Duration::ZERO,
        kill_wait: 4 * SECOND,
        drain_timeout: 2 * SECOND,
        drain_idle: SECOND,
    }
}

/// When the root and its one descendant die, counted from what kills them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dies {
    Before,
    OnEof(Duration),
    OnTerm(Duration),
    OnKill,
    Never,
}

/// A subject that obeys the orders of a ladder, on a clock that jumps from wait to wait.
struct Play {
    now: Instant,
    start: Instant,
    ladder: Ladder,
    root: Dies,
    other: Option<Dies>,
    /// What a scan says instead of a count.
    blind: Option<Others>,
    flushed: bool,
    pipe_open: bool,
    chatty: bool,
    /// Scans are not answered.
    deaf: bool,
    /// When a root that never dies dies.
    dies_late: Option<Duration>,
    eof_at: Option<Instant>,
    term_at: Option<Instant>,
    kill_at: Option<Instant>,
    orders: Vec<(&'static str, Duration)>,
    /// When what lives was counted.
    scans: Vec<Duration>,
}

impl Play {
    fn new(start: Start, times: LadderTimes, root: Dies, other: Option<Dies>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant serves as the zero of a test"
        )]
        let now = Instant::now();
        let seen = if root == Dies::Before {
            RootSight::Exited
        } else {
            RootSight::Running
        };
        Self {
            now,
            start: now,
            ladder: Ladder::begin(now, start, KillScope::Group, times, seen),
            root,
            other,
            blind: None,
            flushed: true,
            pipe_open: false,
            chatty: false,
            deaf: false,
            dies_late: None,
            eof_at: None,
            term_at: None,
            kill_at: None,
            orders: Vec::new(),
            scans: Vec::new(),
        }
    }

    fn death(&self, dies: Dies) -> Option<Instant> {
        let own = match dies {
            Dies::Before => Some(self.start),
            Dies::OnEof(after) => self.eof_at.map(|at| at + after),
            Dies::OnTerm(after) => self.term_at.map(|at| at + after),
            Dies::OnKill => None,
            Dies::Never => return self.dies_late.map(|after| self.start + after),
        };
        [own, self.kill_at].into_iter().flatten().min()
    }

    fn is_dead(&self, dies: Dies) -> bool {
        self.death(dies).is_some_and(|at| at <= self.now)
    }

    fn sight(&self) -> Sight {
        Sight {
            root: if self.is_dead(self.root) {
                RootSight::Exited
            } else {
                RootSight::Running
            },
            stdin: if self.flushed {
                StdinSight::Flushed
            } else {
                StdinSight::Pending
            },
            pipes: if self.pipe_open {
                PipeSight::Open {
                    last_read: self.chatty.then_some(self.now),
                }
            } else {
                PipeSight::Ended
            },
        }
    }

    /// Runs until the ladder finishes or waits for what never comes.
    fn run(&mut self) -> Option<Ending> {
        for _ in 0..10_000 {
            let sight = self.sight();
            let order = self.ladder.step(self.now, &sight);
            let at = self.now - self.start;
            match order {
                Order::DropStdin => {
                    self.eof_at = Some(self.now);
                    self.orders.push(("eof", at));
                }
                Order::Terminate => {
                    self.term_at = Some(self.now);
                    self.orders.push(("term", at));
                }
                Order::Kill => {
                    self.kill_at = Some(self.now);
                    self.orders.push(("kill", at));
                }
                Order::Reap => self.orders.push(("reap", at)),
                Order::Scan(ScanFor::Record) => {
                    self.orders.push(("record", at));
                    if !self.deaf {
                        self.ladder.scanned(self.now, Others::Gone);
                    }
                }
                Order::Scan(ScanFor::Count | ScanFor::Kill) if self.deaf => self.scans.push(at),
                Order::Scan(ScanFor::Count | ScanFor::Kill) => {
                    self.scans.push(at);
                    assert_eq!(
                        sight.root,
                        RootSight::Exited,
                        "counted before the root was gone"
                    );
                    let others = match self.other {
                        _ if self.blind.is_some() => self.blind.unwrap(),
                        Some(dies) if !self.is_dead(dies) => Others::Alive(1),
                        _ => Others::Gone,
                    };
                    self.ladder.scanned(self.now, others);
                }
                Order::Wait(until) => self.now = self.next_event(until)?,
                Order::Finish(ending) => return Some(ending),
            }
        }
        panic!("no end after 10 000 steps: {:?}", self.orders)
    }

    fn next_event(&self, until: Option<Instant>) -> Option<Instant> {
        let tick = self.chatty.then(|| self.now + SECOND / 10);
        [
            until,
            self.death(self.root).filter(|at| *at > self.now),
            tick.and(until).and(tick),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn orders(&self) -> Vec<&'static str> {
        self.orders.iter().map(|(order, _)| *order).collect()
    }

    fn at(&self, wanted: &str) -> Duration {
        self.orders
            .iter()
            .find(|(order, _)| *order == wanted)
            .unwrap()
            .1
    }
}

const ORDERLY: Start = Start::Stop(Stop::Orderly);
const FORCE: Start = Start::Stop(Stop::Force);

#[test]
fn a_child_that_leaves_at_end_of_input_is_never_signalled() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnEof(SECOND), None);
    let ending = play.run().unwrap();
    assert_eq!((ending.rung, ending.drain), (Rung::Eof, Drain::Complete));
    assert_eq!(play.orders(), ["eof", "reap"]);
}

#[test]
fn a_death_in_the_last_moment_of_a_grace_is_not_escalated() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnEof(2 * SECOND), None);
    assert_eq!(play.run().unwrap().rung, Rung::Eof);
    assert_eq!(play.orders(), ["eof", "reap"]);
}

#[test]
fn each_rung_waits_out_its_grace_and_is_climbed_once() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnKill, None);
    play.flushed = false;
    assert_eq!(play.run().unwrap().rung, Rung::Kill);
    assert_eq!(play.orders(), ["eof", "term", "kill", "reap"]);
    assert_eq!(play.at("eof"), SECOND);
    assert_eq!(play.at("term"), 3 * SECOND);
    assert_eq!(play.at("kill"), 6 * SECOND);
}

#[test]
fn nothing_queued_means_no_flush_time() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnEof(Duration::ZERO), None);
    assert_eq!(play.run().unwrap().elapsed, Duration::ZERO);
}

#[test]
fn force_kills_at_once() {
    let mut play = Play::new(FORCE, times(), Dies::OnKill, Some(Dies::OnKill));
    play.flushed = false;
    let ending = play.run().unwrap();
    assert_eq!((ending.rung, ending.elapsed), (Rung::Kill, Duration::ZERO));
    assert_eq!(play.orders(), ["kill", "eof", "reap"]);
}

#[test]
fn a_root_that_its_handle_has_killed_is_said_to_be_killed() {
    let mut play = Play::new(Start::Killed, times(), Dies::Before, Some(Dies::OnKill));
    let ending = play.run().unwrap();
    assert_eq!(ending.rung, Rung::Kill);
    assert_eq!(play.orders(), ["kill", "eof", "reap"]);
}

#[test]
fn a_root_that_is_killed_in_a_grace_is_said_to_be_killed() {
    let unhurried = LadderTimes {
        force_grace: SECOND,
        ..times()
    };
    // Where the graces are when it is killed: in the flush, after the end of input, after SIGTERM.
    for (flushed, steps) in [(false, 1), (true, 2), (true, 4)] {
        let mut play = Play::new(ORDERLY, unhurried, Dies::OnKill, None);
        play.flushed = flushed;
        for _ in 0..steps {
            if let Order::Wait(Some(until)) = play.ladder.step(play.now, &play.sight()) {
                play.now = until;
            }
        }
        play.kill_at = Some(play.now);
        play.ladder.hasten(play.now, Start::Killed);
        let ending = play.run().unwrap();
        assert_eq!(ending.rung, Rung::Kill, "{:?}", play.orders);
    }
}

#[test]
fn force_with_a_grace_asks_first() {
    let times = LadderTimes {
        force_grace: SECOND,
        ..times()
    };
    let mut play = Play::new(FORCE, times, Dies::OnKill, None);
    assert_eq!(play.run().unwrap().rung, Rung::Kill);
    assert_eq!(play.orders(), ["eof", "term", "kill", "reap"]);
    assert_eq!(play.at("kill"), SECOND);
}

#[test]
fn without_a_grace_after_it_sigterm_is_not_sent() {
    let times = LadderTimes {
        term_grace: Duration::ZERO,
        ..times()
    };
    let mut play = Play::new(ORDERLY, times, Dies::OnKill, None);
    assert_eq!(play.run().unwrap().rung, Rung::Kill);
    assert_eq!(play.orders(), ["eof", "kill", "reap"]);
}

#[test]
fn survivors_of_the_root_get_the_rest_of_the_graces() {
    let mut play = Play::new(
        ORDERLY,
        times(),
        Dies::OnEof(SECOND),
        Some(Dies::OnTerm(SECOND)),
    );
    let ending = play.run().unwrap();
    assert_eq!((ending.rung, ending.survivors_found), (Rung::Term, 1));
    assert_eq!(play.orders(), ["eof", "term", "reap"]);
    assert_eq!(play.at("term"), 2 * SECOND);
}

#[test]
fn the_ladder_is_walked_for_survivors_of_a_root_that_had_exited_before() {
    let mut play = Play::new(ORDERLY, times(), Dies::Before, Some(Dies::OnKill));
    let ending = play.run().unwrap();
    assert_eq!(
        (ending.rung, ending.survivors_found, ending.survivors),
        (Rung::Kill, 1, Survivors::Known(0))
    );
    assert_eq!(play.orders(), ["eof", "term", "kill", "reap"]);
}

#[test]
fn nothing_is_signalled_when_all_had_gone_before() {
    for start in [ORDERLY, FORCE, Start::Shutdown(SECOND)] {
        let mut play = Play::new(start, times(), Dies::Before, None);
        assert_eq!(play.run().unwrap().rung, Rung::AlreadyGone);
        assert_eq!(play.orders(), ["eof", "reap"]);
    }
}

#[test]
fn scope_root_leaves_the_others_alone() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnEof(SECOND), Some(Dies::Never));
    play.ladder.scope = KillScope::Root;
    let ending = play.run().unwrap();
    assert_eq!((ending.rung, ending.survivors_found), (Rung::Eof, 0));
}

#[test]
fn where_others_cannot_be_counted_the_kill_comes_before_the_reap() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnEof(SECOND), Some(Dies::OnKill));
    play.blind = Some(Others::Uncountable(CountFailure::Unsupported));
    let ending = play.run().unwrap();
    let unknown = Survivors::Unknown(CountFailure::Unsupported);
    assert_eq!((ending.rung, ending.survivors), (Rung::Eof, unknown));
    assert_eq!(play.orders(), ["eof", "kill", "reap"]);
    assert_eq!(play.at("kill"), SECOND);
}

#[test]
fn others_that_could_not_be_counted_get_the_graces_and_are_never_said_to_be_gone() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnEof(SECOND), None);
    play.blind = Some(Others::Unknown(CountFailure::Refused));
    let ending = play.run().unwrap();
    let unknown = Survivors::Unknown(CountFailure::Refused);
    assert_eq!((ending.rung, ending.survivors), (Rung::Kill, unknown));
    assert_eq!(play.orders(), ["eof", "term", "kill", "reap"]);
    assert_eq!((play.at("term"), play.at("kill")), (2 * SECOND, 5 * SECOND));
    assert_eq!(ending.elapsed, 9 * SECOND);
}

#[test]
fn a_scan_without_an_answer_is_no_proof_that_all_have_gone() {
    let mut play = Play::new(FORCE, times(), Dies::Before, None);
    play.deaf = true;
    let ending = play.run().unwrap();
    let unknown = Survivors::Unknown(CountFailure::NoAnswer);
    assert_eq!(ending.survivors, unknown);
}

#[test]
fn a_root_that_does_not_die_is_killed_again() {
    let mut play = Play::new(FORCE, times(), Dies::Never, None);
    play.dies_late = Some(20 * SECOND);
    play.run().unwrap();
    let kills = play.orders.iter().filter(|(order, _)| *order == "kill");
    let at: Vec<_> = kills.map(|(_, at)| at.as_millis()).collect();
    // Ever more rarely, every 5 s at last.
    let doubled = [0, 100, 300, 700, 1_500, 3_100, 6_300];
    assert_eq!(at, [&doubled[..], &[11_300, 16_300]].concat());
}

#[test]
fn survivors_are_counted_ever_more_rarely_and_every_50_ms_at_last() {
    let mut play = Play::new(
        ORDERLY,
        times(),
        Dies::OnEof(Duration::ZERO),
        Some(Dies::OnTerm(Duration::ZERO)),
    );
    play.run().unwrap();
    let at: Vec<_> = play.scans.iter().map(Duration::as_millis).collect();
    assert_eq!(at[..9], [0, 1, 3, 7, 15, 31, 63, 113, 163]);
    // After SIGTERM as soon as at first.
    let term = play.at("term").as_millis();
    assert_eq!(at.iter().filter(|at| **at >= term).count(), 1);
    assert_eq!(play.at("reap"), 2 * SECOND);
}

#[test]
fn an_answer_to_a_scan_is_waited_for_a_second_beyond_the_grace() {
    let almost = 2 * SECOND - SECOND / 10;
    let mut play = Play::new(ORDERLY, times(), Dies::OnEof(almost), None);
    play.deaf = true;
    let ending = play.run().unwrap();
    assert_eq!(play.at("term"), almost + SECOND);
    assert_eq!(play.at("kill"), almost + 4 * SECOND);
    assert_eq!(ending.rung, Rung::Kill);
}

#[test]
fn survivors_beyond_the_reach_of_sigkill_are_reported_after_a_bounded_wait() {
    let mut play = Play::new(FORCE, times(), Dies::OnKill, Some(Dies::Never));
    // The made-up descendant obeys a kill unless it dies never.
    let ending = play.run().unwrap();
    let left = Survivors::Known(1);
    assert_eq!((ending.survivors_found, ending.survivors), (1, left));
    assert_eq!(ending.elapsed, 4 * SECOND);
}

#[test]
fn a_root_that_the_kernel_does_not_let_go_is_waited_for() {
    let mut play = Play::new(FORCE, times(), Dies::Never, None);
    play.dies_late = Some(600 * SECOND);
    assert_eq!(play.run().unwrap().elapsed, 600 * SECOND);
    assert_eq!(play.orders()[..2], ["kill", "eof"]);
}

#[test]
fn a_silent_holder_of_the_pipe_ends_the_drain_by_idleness() {
    let mut play = Play::new(FORCE, times(), Dies::OnKill, None);
    play.pipe_open = true;
    let ending = play.run().unwrap();
    assert_eq!((ending.drain, ending.elapsed), (Drain::Idle, SECOND));
}

#[test]
fn a_chatty_holder_of_the_pipe_cannot_extend_the_drain() {
    let mut play = Play::new(FORCE, times(), Dies::OnKill, None);
    (play.pipe_open, play.chatty) = (true, true);
    let ending = play.run().unwrap();
    assert_eq!(
        (ending.drain, ending.elapsed),
        (Drain::TimedOut, 2 * SECOND)
    );
}

#[test]
fn hastening_shortens_a_ladder_and_never_lengthens_one() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnKill, None);
    play.ladder.hasten(play.now, Start::Shutdown(SECOND));
    play.ladder.hasten(play.now, Start::Shutdown(9 * SECOND));
    play.ladder.hasten(play.now, ORDERLY);
    assert_eq!(play.run().unwrap().rung, Rung::Kill);
    assert_eq!((play.at("term"), play.at("kill")), (Duration::ZERO, SECOND));
}

#[test]
fn hastening_after_sigterm_brings_the_kill_forward_and_never_puts_it_off() {
    for (grace, kill_at) in [(SECOND, 5 * SECOND), (9 * SECOND, 6 * SECOND)] {
        let mut play = Play::new(ORDERLY, times(), Dies::OnKill, None);
        play.flushed = false;
        while play.term_at.is_none() {
            let (now, sight) = (play.now, play.sight());
            match play.ladder.step(now, &sight) {
                Order::Terminate => play.term_at = Some(now),
                Order::Wait(until) => play.now = until.unwrap(),
                Order::DropStdin
                | Order::Kill
                | Order::Reap
                | Order::Scan(_)
                | Order::Finish(_) => {}
            }
        }
        play.now += SECOND;
        play.ladder.hasten(play.now, Start::Shutdown(grace));
        play.run().unwrap();
        assert_eq!(play.at("kill"), kill_at, "{grace:?}");
    }
}

#[test]
fn input_is_taken_until_its_end_is_ordered() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnKill, None);
    play.flushed = false;
    let (now, sight) = (play.now, play.sight());
    assert!(matches!(play.ladder.step(now, &sight), Order::Wait(_)));
    assert!(play.ladder.takes_input());
    let flushed = now + times().flush;
    assert_eq!(play.ladder.step(flushed, &sight), Order::DropStdin);
    assert!(!play.ladder.takes_input());
}

#[test]
fn times_beyond_thirty_years_count_as_thirty_years() {
    let thirty_years = Duration::from_secs(946_080_000);
    let forever = LadderTimes {
        flush: Duration::MAX,
        eof_grace: Duration::MAX,
        term_grace: Duration::MAX,
        force_grace: Duration::MAX,
        kill_wait: Duration::MAX,
        drain_timeout: Duration::MAX,
        drain_idle: Duration::MAX,
    };
    let expected = LadderTimes {
        flush: thirty_years,
        eof_grace: thirty_years,
        term_grace: thirty_years,
        force_grace: thirty_years,
        kill_wait: thirty_years,
        drain_timeout: thirty_years,
        drain_idle: thirty_years,
    };
    assert_eq!(forever.clamped(), expected);
    assert_eq!(times().clamped(), times());
}

/// Invariants 1, 2 and 3 over every combination of how two processes die.
#[test]
fn every_subject_that_can_be_killed_is_gone_at_the_end_within_the_sum_of_the_times() {
    let deaths = [
        Dies::Before,
        Dies::OnEof(Duration::ZERO),
        Dies::OnEof(2 * SECOND),
        Dies::OnEof(9 * SECOND),
        Dies::OnTerm(Duration::ZERO),
        Dies::OnTerm(3 * SECOND),
        Dies::OnTerm(9 * SECOND),
        Dies::OnKill,
    ];
    let others = deaths.into_iter().map(Some).chain([None]);
    for (root, other) in deaths
        .into_iter()
        .flat_map(|root| others.clone().map(move |o| (root, o)))
    {
        for (start, bound) in [(ORDERLY, 6), (FORCE, 0), (Start::Shutdown(SECOND), 1)] {
            for (flushed, pipe_open) in [(false, false), (false, true), (true, false), (true, true)]
            {
                let mut play = Play::new(start, times(), root, other);
                (play.flushed, play.pipe_open) = (flushed, pipe_open);
                let ending = play.run().unwrap();
                let case = format!("{root:?} {other:?} {start:?} {:?}", play.orders);
                assert!(play.is_dead(root), "{case}");
                assert!(other.is_none_or(|other| play.is_dead(other)), "{case}");
                assert!(ending.elapsed <= bound * SECOND + 2 * SECOND, "{case}");
                let killed = play.orders().contains(&"kill");
                assert_eq!(ending.rung == Rung::Kill, killed, "{case}");
            }
        }
    }
}

#[test]
fn a_kill_is_due_at_once_where_nobody_can_be_asked_to_leave() {
    let mut play = Play::new(Start::Stop(Stop::Orderly), times(), Dies::OnKill, None);
    let (mut now, sight) = (play.now, play.sight());
    assert_eq!(play.ladder.step(now, &sight), Order::DropStdin);
    now += times().eof_grace;
    assert_eq!(play.ladder.step(now, &sight), Order::Terminate);
    assert!(!play.ladder.is_term_skipped());
    play.ladder.skip_term(now);
    assert_eq!(play.ladder.step(now, &sight), Order::Kill);
    assert!(play.ladder.is_term_skipped());
}
