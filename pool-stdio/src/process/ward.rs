//! One child under the custodian's care: watches it, drains its stderr, and carries out what the
//! ladder orders.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::process::children::Membership;
use crate::process::custodian::{Crew, WardId};
use crate::process::line_feed::LineFeed;
use crate::process::once::{Once, lock};
use crate::process::outcome::{Exit, Termination};
use crate::process::proc_scan::Sweep;
use crate::process::signal::Signal;
use crate::process::stderr::{Ring, StderrTail};
use crate::process::sys::{self, Life, Number, Ready, Root, Scanner};
use crate::process::terminate::{
    Ending, KillScope, Ladder, LadderTimes, Look, Order, Others, PipeSight, RootSight, Sight,
    Start, StdinSight,
};

/// What the custodian and the handle of a child both know.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: WardId,
    pub(crate) pid: u32,
    /// What a forced end kills without a grace, if it has none.
    pub(crate) killed_at_once: Option<KillScope>,
    /// Held while a signal is sent by number, and while the number is given free.
    pub(crate) number: Mutex<Number>,
    pub(crate) stderr: Mutex<Ring>,
    pub(crate) exit: Arc<Once<Exit>>,
    pub(crate) termination: Arc<Once<Termination>>,
}

impl Record {
    pub(crate) fn stderr_tail(&self) -> StderrTail {
        lock(&self.stderr).tail()
    }
}

/// Our ends of a child's stdin and stdout.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) unwritten: Vec<u8>,
    pub(crate) stdout: Option<OwnedFd>,
}

/// A child under care.
#[derive(Debug)]
pub(crate) struct Ward {
    pub(crate) record: Arc<Record>,
    pub(crate) root: Arc<Root>,
    pub(crate) scope: KillScope,
    pub(crate) times: LadderTimes,
    pub(crate) cookie: Option<OsString>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) lines: Option<LineFeed>,
    pub(crate) membership: Option<Membership>,
    pub(crate) exit: Option<Exit>,
    pub(crate) stopping: Option<Stopping>,
}

/// What is needed once the ladder is on.
#[derive(Debug)]
pub(crate) struct Stopping {
    ladder: Ladder,
    stdin: Option<OwnedFd>,
    unwritten: Vec<u8>,
    written: usize,
    stdout: Option<OwnedFd>,
    discarded_bytes: u64,
    last_read: Option<Instant>,
    /// Of the last look. Answers to earlier ones prove nothing.
    ticket: u64,
    due: Option<Instant>,
}

/// What of a ward can become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Exit,
    Stderr,
    Stdout,
    Stdin,
}

impl Ward {
    /// What to poll for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>, Ready)> {
        let exit = self.root.exit_fd().filter(|_| self.exit.is_none());
        let stdout = self
            .stopping
            .as_ref()
            .and_then(|stopping| stopping.stdout.as_ref());
        let stdin = self
            .stopping
            .as_ref()
            .filter(|stopping| stopping.has_unwritten())
            .and_then(|stopping| stopping.stdin.as_ref());
        let read = |source, fd| (source, fd, Ready::ToRead);
        [
            exit.map(|fd| read(Source::Exit, fd)),
            self.stderr
                .as_ref()
                .map(|fd| read(Source::Stderr, fd.as_fd())),
            stdout.map(|fd| read(Source::Stdout, fd.as_fd())),
            stdin.map(|fd| (Source::Stdin, fd.as_fd(), Ready::ToWrite)),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether its exit can only be seen by asking.
    pub(crate) fn must_be_asked(&self) -> bool {
        self.exit.is_none() && self.root.exit_fd().is_none()
    }

    /// When the ladder wants to go on, whatever happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.stopping.as_ref().and_then(|stopping| stopping.due)
    }

    /// Handles one readiness. Reads or writes once, so that no child can keep the thread.
    pub(crate) fn serve(&mut self, source: Source, now: Instant, scratch: &mut [u8]) {
        match source {
            Source::Exit => self.look_at_root(scratch),
            Source::Stderr => {
                if self.read_stderr(scratch) > 0
                    && let Some(stopping) = &mut self.stopping
                {
                    stopping.last_read = Some(now);
                }
            }
            Source::Stdout => {
                if let Some(stopping) = &mut self.stopping {
                    stopping.discard(now, scratch);
                }
            }
            Source::Stdin => {
                if let Some(stopping) = &mut self.stopping {
                    stopping.flush();
                }
            }
        }
    }

    /// Publishes the root's exit if it has happened, after what it wrote to stderr before.
    pub(crate) fn look_at_root(&mut self, scratch: &mut [u8]) {
        if self.exit.is_some() {
            return;
        }
        // An interrupted or refused look is repeated: the descriptor stays readable.
        let Ok(Life::Over(exit)) = self.root.look() else {
            return;
        };
        for _ in 0..STDERR_READS_AT_EXIT {
            if self.read_stderr(scratch) == 0 {
                break;
            }
        }
        if exit == Exit::Lost {
            *lock(&self.record.number) = Number::Released;
        }
        self.exit = Some(exit);
        self.record.exit.set(exit);
    }

    /// How many bytes came.
    fn read_stderr(&mut self, scratch: &mut [u8]) -> usize {
        let count = read_once(&mut self.stderr, scratch);
        lock(&self.record.stderr).push(&scratch[..count]);
        if let Some(lines) = &mut self.lines {
            lines.push(&scratch[..count]);
            if self.stderr.is_none() {
                lines.finish();
            }
        }
        count
    }

    /// Begins the ladder, or hastens it, and takes what pipes are handed over.
    pub(crate) fn stop(&mut self, now: Instant, start: Start, pipes: Pipes, scratch: &mut [u8]) {
        // Order: first seen whether the root had gone before, so that it is not said to have been
        // ended by a rung.
        self.look_at_root(scratch);
        let root = self.root_sight();
        let stopping = if let Some(stopping) = &mut self.stopping {
            stopping.ladder.hasten(now, start);
            stopping
        } else {
            self.stopping.insert(Stopping {
                ladder: Ladder::begin(now, start, self.scope, self.times, root),
                stdin: None,
                unwritten: Vec::new(),
                written: 0,
                stdout: None,
                discarded_bytes: 0,
                last_read: None,
                ticket: 0,
                due: None,
            })
        };
        stopping.take(pipes);
    }

    /// Takes an answer of the sweeper.
    pub(crate) fn seen(&mut self, now: Instant, ticket: u64, others: Others) {
        if let Some(stopping) = &mut self.stopping
            && stopping.ticket == ticket
        {
            stopping.ladder.seen(now, others);
        }
    }

    /// Does what the ladder orders until it waits or is over.
    pub(crate) fn climb(&mut self, now: Instant, crew: &Crew) -> Option<Ending> {
        loop {
            let sight = self.sight()?;
            let stopping = self.stopping.as_mut()?;
            match stopping.ladder.step(now, &sight) {
                Order::DropStdin => stopping.drop_stdin(),
                Order::Ask => self.ask(crew),
                Order::Kill => {
                    self.kill();
                    self.sweep(crew, &[Signal::Kill], None);
                }
                Order::Look(look) => self.look_at_others(now, look, crew),
                Order::Reap => self.reap(),
                Order::Wait(until) => {
                    stopping.due = until;
                    return None;
                }
                Order::Finish(ending) => return Some(ending),
            }
        }
    }

    /// Lets go of everything, then says how it ended.
    pub(crate) fn finish(self, ending: Ending) {
        let Self {
            record,
            root,
            stderr,
            stopping,
            membership,
            exit,
            lines,
            ..
        } = self;
        let Some(stopping) = stopping else { return };
        if let Some(mut lines) = lines {
            lines.finish();
        }
        let pipe_held = stderr.is_some() || stopping.stdout.is_some();
        let termination = Termination {
            pid: record.pid,
            rung: ending.rung,
            exit: exit.unwrap_or(Exit::Lost),
            drain: ending.drain,
            discarded_bytes: stopping.discarded_bytes,
            unwritten_bytes: stopping.unwritten.len() - stopping.written,
            pipe_held,
            survivors_found: ending.survivors_found,
            survivors_left: ending.survivors_left,
            stderr: record.stderr_tail(),
            elapsed: ending.elapsed,
        };
        // Order: who hears of the end may count descriptors at once.
        drop((root, stderr, stopping));
        drop(membership);
        record.termination.set(termination);
    }

    fn root_sight(&self) -> RootSight {
        if self.exit.is_some() {
            RootSight::Exited
        } else {
            RootSight::Running
        }
    }

    fn sight(&self) -> Option<Sight> {
        let stopping = self.stopping.as_ref()?;
        let flushed = stopping.stdin.is_none() || !stopping.has_unwritten();
        let ended = self.stderr.is_none() && stopping.stdout.is_none();
        Some(Sight {
            root: self.root_sight(),
            stdin: if flushed {
                StdinSight::Flushed
            } else {
                StdinSight::Pending
            },
            pipes: if ended {
                PipeSight::Ended
            } else {
                PipeSight::Open {
                    last_read: stopping.last_read,
                }
            },
        })
    }

    fn ask(&self, crew: &Crew) {
        self.signal(Signal::Terminate);
        // Order: a stopped process keeps SIGTERM pending until it is continued.
        self.signal(Signal::Continue);
        self.sweep(crew, &[Signal::Terminate, Signal::Continue], None);
    }

    fn kill(&self) {
        self.signal(Signal::Kill);
        if self.exit.is_none() {
            // The root may have left its group.
            drop(self.root.signal(Signal::Kill, self.number()));
        }
    }

    /// To the group, or the root alone. A refused signal is no failure: the next rung follows.
    fn signal(&self, signal: Signal) {
        let delivery = match self.scope {
            KillScope::Root if self.exit.is_some() => return,
            KillScope::Root => self.root.signal(signal, self.number()),
            KillScope::Group | KillScope::Tree => self.root.signal_group(signal, self.number()),
        };
        drop(delivery);
    }

    fn look_at_others(&mut self, now: Instant, look: Look, crew: &Crew) {
        if look == Look::Kill {
            self.signal(Signal::Kill);
        }
        if self.root.outlives_its_number() {
            // A dead root counts as a member of its group until it is reaped.
            self.reap();
        }
        let number = self.number();
        let signals: &'static [Signal] = match look {
            Look::Count => &[],
            Look::Kill => &[Signal::Kill],
        };
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        stopping.ticket += 1;
        let ticket = stopping.ticket;
        if !Scanner::can_count() {
            stopping.ladder.seen(now, Others::Unknown);
        } else if self.cookie.is_none() && self.root.group_is_empty(number) {
            stopping.ladder.seen(now, Others::Gone);
        } else if !self.sweep(crew, signals, Some(ticket))
            && let Some(stopping) = &mut self.stopping
        {
            stopping.ladder.seen(now, Others::Unknown);
        }
    }

    /// Asks for a look, if there is anything to find: an answer, or what left the group.
    fn sweep(&self, crew: &Crew, signals: &'static [Signal], ticket: Option<u64>) -> bool {
        if self.cookie.is_none() && ticket.is_none() {
            return true;
        }
        crew.sweep(Sweep {
            root: Arc::clone(&self.root),
            number: self.number(),
            cookie: self.cookie.clone(),
            signals,
            answer: ticket.map(|ticket| (self.record.id, ticket)),
        })
    }

    fn number(&self) -> Number {
        *lock(&self.record.number)
    }

    fn reap(&self) {
        let mut number = lock(&self.record.number);
        if *number == Number::Held {
            // Its status is known, whoever collects it.
            drop(self.root.reap());
            *number = Number::Released;
        }
    }
}

impl Stopping {
    fn take(&mut self, pipes: Pipes) {
        self.stdin = self.stdin.take().or(pipes.stdin);
        self.unwritten.extend(pipes.unwritten);
        self.stdout = self.stdout.take().or(pipes.stdout);
        if !self.ladder.takes_input() {
            self.drop_stdin();
        }
    }

    fn has_unwritten(&self) -> bool {
        self.written < self.unwritten.len()
    }

    fn drop_stdin(&mut self) {
        self.stdin = None;
    }

    fn flush(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        match sys::write(stdin.as_fd(), &self.unwritten[self.written..]) {
            Ok(count) => self.written += count,
            Err(error) if is_not_now(&error) => {}
            Err(_) => self.drop_stdin(),
        }
    }

    fn discard(&mut self, now: Instant, scratch: &mut [u8]) {
        let count = read_once(&mut self.stdout, scratch);
        if count > 0 {
            self.discarded_bytes = self.discarded_bytes.saturating_add(count as u64);
            self.last_read = Some(now);
        }
    }
}

/// Reads once. At the end of the stream, or a failure, the pipe is closed.
fn read_once(pipe: &mut Option<OwnedFd>, scratch: &mut [u8]) -> usize {
    let Some(fd) = pipe else { return 0 };
    match sys::read(fd.as_fd(), scratch) {
        Ok(count) if count > 0 => count,
        Err(error) if is_not_now(&error) => 0,
        Ok(_) | Err(_) => {
            *pipe = None;
            0
        }
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// With the custodian's buffer of 64 KiB this reads 1 MiB, as much as a pipe can hold.
const STDERR_READS_AT_EXIT: usize = 16;
