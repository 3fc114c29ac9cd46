//! Which start comes next, and which will not come.
//!
//! Starts are made by a few threads, because one can hang: a program on a file system that does not
//! answer, or one that somebody else has leased. One program can hold at most half of the threads. A
//! start that has to wait for threads that have hung for a while is refused.
//!
//! This file knows no thread and no clock.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Starts that wait or are under way.
#[derive(Debug)]
pub(crate) struct SpawnQueue<R> {
    waiting: VecDeque<Waiting<R>>,
    busy: Vec<Busy>,
    /// How many threads there are, busy or not.
    threads: usize,
}

#[derive(Debug)]
struct Waiting<R> {
    program: PathBuf,
    request: R,
}

#[derive(Debug)]
struct Busy {
    program: PathBuf,
    since: Instant,
}

/// What the caller of [`SpawnQueue::push`] owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// A thread waits for work.
    Wake,
    StartThread,
    /// All threads that may start it are busy: watch them.
    Wait,
}

/// Requests that are not started, and when to look again.
#[derive(Debug)]
pub(crate) struct Stalled<R> {
    pub(crate) requests: Vec<R>,
    /// The programs whose starts hang.
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) next_check: Option<Instant>,
}

impl<R> SpawnQueue<R> {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            busy: Vec::new(),
            threads: 0,
        }
    }

    /// # Errors
    ///
    /// The request, if too many wait. To be dropped after the queue is unlocked: a user's values are in
    /// it.
    pub(crate) fn push(&mut self, program: &Path, request: R) -> Result<Pushed, R> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(request);
        }
        let idle = self.threads.saturating_sub(self.busy.len());
        let pushed = if self.blockers(program).is_some() {
            Pushed::Wait
        } else if self.waiting.len() < idle {
            Pushed::Wake
        } else if self.threads < THREADS_MAX {
            Pushed::StartThread
        } else {
            Pushed::Wait
        };
        self.waiting.push_back(Waiting {
            program: program.to_owned(),
            request,
        });
        Ok(pushed)
    }

    pub(crate) const fn add_thread(&mut self) {
        self.threads += 1;
    }

    /// A thread that could not be started after all.
    pub(crate) const fn remove_thread(&mut self) {
        self.threads -= 1;
    }

    pub(crate) const fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a thread would get a request now.
    pub(crate) fn has_startable(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|waiting| self.blockers(&waiting.program).is_none())
    }

    /// The oldest request that may be started now.
    pub(crate) fn take(&mut self, now: Instant) -> Option<R> {
        let place = self
            .waiting
            .iter()
            .position(|waiting| self.blockers(&waiting.program).is_none())?;
        let Waiting { program, request } = self.waiting.remove(place)?;
        self.busy.push(Busy {
            program,
            since: now,
        });
        Some(request)
    }

    /// A start of this program is over.
    pub(crate) fn finish(&mut self, program: &Path) {
        let place = self.busy.iter().position(|busy| busy.program == program);
        if let Some(place) = place {
            self.busy.remove(place);
        }
    }

    /// Takes out what waits for threads that hang.
    pub(crate) fn take_stalled(&mut self, now: Instant) -> Stalled<R> {
        let mut stalled = Stalled {
            requests: Vec::new(),
            programs: Vec::new(),
            next_check: None,
        };
        for waiting in std::mem::take(&mut self.waiting) {
            let hangs_at = self
                .blockers(&waiting.program)
                .map(|since| since + STALL_AFTER);
            match hangs_at {
                Some(at) if at <= now => stalled.requests.push(waiting.request),
                Some(at) => {
                    let earliest = stalled.next_check.map_or(at, |other| other.min(at));
                    stalled.next_check = Some(earliest);
                    self.waiting.push_back(waiting);
                }
                None => self.waiting.push_back(waiting),
            }
        }
        let hang = self
            .busy
            .iter()
            .filter(|busy| busy.since + STALL_AFTER <= now);
        stalled.programs = hang.map(|busy| busy.program.clone()).collect();
        stalled.programs.sort();
        stalled.programs.dedup();
        stalled
    }

    /// If all threads that may start the program are busy, since when the last of them is.
    fn blockers(&self, program: &Path) -> Option<Instant> {
        let same = || self.busy.iter().filter(|busy| busy.program == program);
        let latest = |busy: &mut dyn Iterator<Item = &Busy>| busy.map(|one| one.since).max();
        if self.busy.len() >= THREADS_MAX {
            latest(&mut self.busy.iter())
        } else if same().count() >= SAME_PROGRAM_MAX {
            latest(&mut same())
        } else {
            None
        }
    }
}

/// How many starts are made at once.
pub(crate) const THREADS_MAX: usize = 4;
/// How many of one program.
const SAME_PROGRAM_MAX: usize = THREADS_MAX / 2;
/// A start takes 0.1 ms, and on a busy machine some more.
pub(crate) const STALL_AFTER: Duration = Duration::from_secs(5);
/// How many may wait.
pub(crate) const WAITING_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    struct Play {
        queue: SpawnQueue<u32>,
        now: Instant,
    }

    impl Play {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant serves as the zero of a test"
        )]
        fn new(threads: usize) -> Self {
            let mut queue = SpawnQueue::new();
            (0..threads).for_each(|_| queue.add_thread());
            Self {
                queue,
                now: Instant::now(),
            }
        }

        fn push(&mut self, program: &str, request: u32) -> Pushed {
            let pushed = self.queue.push(Path::new(program), request);
            pushed.expect("there is room")
        }

        fn take(&mut self) -> Option<u32> {
            self.queue.take(self.now)
        }

        fn stalled(&mut self) -> (Vec<u32>, Option<Duration>) {
            let stalled = self.queue.take_stalled(self.now);
            let next = stalled.next_check.map(|at| at - self.now);
            (stalled.requests, next)
        }
    }

    #[test]
    fn threads_are_started_while_there_is_work_for_more() {
        let mut play = Play::new(0);
        assert_eq!(play.push("a", 1), Pushed::StartThread);
        play.queue.add_thread();
        // The thread has not come for it yet.
        assert_eq!(play.push("a", 2), Pushed::StartThread);
        play.queue.add_thread();
        assert_eq!((play.take(), play.take()), (Some(1), Some(2)));
        play.queue.finish(Path::new("a"));
        assert_eq!(play.push("a", 3), Pushed::Wake);
    }

    #[test]
    fn one_program_holds_at_most_half_of_the_threads() {
        let mut play = Play::new(THREADS_MAX);
        for request in 1..=3 {
            let (Pushed::Wake | Pushed::Wait) = play.push("a", request) else {
                panic!()
            };
        }
        assert_eq!(
            (play.take(), play.take(), play.take()),
            (Some(1), Some(2), None)
        );
        assert_eq!(play.push("a", 4), Pushed::Wait);
        assert_eq!(play.push("b", 5), Pushed::Wait);
        assert_eq!(
            play.take(),
            Some(5),
            "it overtakes those that may not start"
        );
        play.queue.finish(Path::new("a"));
        assert_eq!((play.take(), play.take()), (Some(3), None));
    }

    #[test]
    fn what_waits_for_a_hanging_program_is_refused_and_others_are_not() {
        let mut play = Play::new(THREADS_MAX);
        for request in 1..=3 {
            let (Pushed::StartThread | Pushed::Wake | Pushed::Wait) = play.push("hangs", request);
        }
        assert_eq!((play.take(), play.take()), (Some(1), Some(2)));
        assert_eq!(play.stalled(), (vec![], Some(STALL_AFTER)));
        play.now += STALL_AFTER;
        let (Pushed::StartThread | Pushed::Wake | Pushed::Wait) = play.push("works", 4);
        let stalled = play.queue.take_stalled(play.now);
        assert_eq!(stalled.requests, [3]);
        assert_eq!(stalled.programs, [PathBuf::from("hangs")]);
        assert_eq!(play.take(), Some(4));
    }

    #[test]
    fn when_all_threads_hang_everything_is_refused_until_one_is_back() {
        let mut play = Play::new(THREADS_MAX);
        for (program, request) in [("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
            let (Pushed::StartThread | Pushed::Wake | Pushed::Wait) = play.push(program, request);
            assert_eq!(play.take(), Some(request));
            play.now += Duration::from_secs(1);
        }
        assert_eq!(play.push("c", 5), Pushed::Wait);
        // The last of them began a second ago.
        assert_eq!(
            play.stalled(),
            (vec![], Some(STALL_AFTER - Duration::from_secs(1)))
        );
        play.now += STALL_AFTER;
        assert_eq!(play.stalled(), (vec![5], None));
        play.queue.finish(Path::new("b"));
        assert_eq!(play.push("c", 6), Pushed::Wake);
        assert_eq!(play.take(), Some(6));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut play = Play::new(0);
        for request in 0..1024 {
            let (Pushed::StartThread | Pushed::Wake | Pushed::Wait) = play.push("a", request);
        }
        assert_eq!(play.queue.push(Path::new("a"), 1024), Err(1024));
        assert_eq!(play.take(), Some(0));
        assert_eq!(
            play.queue.push(Path::new("a"), 1024),
            Ok(Pushed::StartThread)
        );
    }
}
