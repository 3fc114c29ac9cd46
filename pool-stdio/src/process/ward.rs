//! One child in the custodian's care: watches it, drains its stderr, and carries out what the ladder
//! orders. Scans are not made here: the ward says which it wants.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::line_feed::LineFeed;
use super::lock::lock;
use super::outcome::{CountFailure, Exit, Survivors, Termination};
use super::proc_scan::{ScanAnswer, ScanKey, ScanPurpose, ScanRequest};
use super::record::{ChildRecord, PipeEnds};
use super::roster::Membership;
use super::signal::Signal;
use super::sys::{self, Life, PidState, ProcessId, Ready, Root};
use super::terminate::{
    Ending, KillScope, Ladder, LadderTimes, Order, Others, PipeSight, RootSight, ScanFor, Sight,
    Start, StdinSight,
};

/// A child in the custodian's care.
#[derive(Debug)]
pub(crate) struct Ward {
    pub(crate) record: Arc<ChildRecord>,
    pub(crate) root: Arc<Root>,
    pub(crate) scope: KillScope,
    pub(crate) times: LadderTimes,
    /// Descendants that left the group, if they are to be ended too, were started at this time or
    /// later.
    pub(crate) descendants_since: Option<u64>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) lines: Option<LineFeed>,
    pub(crate) membership: Option<Membership>,
    pub(crate) exit: Option<Exit>,
    pub(crate) stopping: Option<Stopping>,
}

/// The state of a termination that was begun.
#[derive(Debug)]
pub(crate) struct Stopping {
    ladder: Ladder,
    stdin: Option<OwnedFd>,
    unwritten: Vec<u8>,
    written: usize,
    stdout: Option<OwnedFd>,
    discarded_bytes: u64,
    last_read: Option<Instant>,
    /// The number of the last scan. Answers to earlier ones prove nothing.
    scan_number: u64,
    /// Those that the last scan saw alive, so that they are known when their parents are dead.
    seen: Vec<ProcessId>,
    due: Option<Instant>,
}

/// Which of a ward's descriptors became ready.
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

    /// Whether its exit can be seen only by asking.
    pub(crate) fn must_be_asked(&self) -> bool {
        self.exit.is_none() && self.root.exit_fd().is_none()
    }

    /// When the ladder wants to go on, even if nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.stopping.as_ref().and_then(|stopping| stopping.due)
    }

    /// Handles a descriptor that became ready. Reads or writes once, so that no child can keep the
    /// thread.
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

    /// If the root has exited, reads what it wrote to stderr before, then publishes the exit.
    pub(crate) fn look_at_root(&mut self, scratch: &mut [u8]) {
        if self.exit.is_some() {
            return;
        }
        // An interrupted or refused call is repeated: the descriptor stays readable.
        let Ok(Life::Over(exit)) = self.root.life() else {
            return;
        };
        for _ in 0..STDERR_READS_AT_EXIT {
            if self.read_stderr(scratch) == 0 {
                break;
            }
        }
        if exit == Exit::Lost {
            *lock(&self.record.pid_state) = PidState::Released;
        }
        self.exit = Some(exit);
        self.record.exit.set(exit);
    }

    /// Returns how many bytes were read.
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

    /// Begins the ladder, or hastens it, and takes the pipes that are handed over.
    pub(crate) fn stop(&mut self, now: Instant, start: Start, pipes: PipeEnds, scratch: &mut [u8]) {
        // Order: first look whether the root had exited before, so that no rung is reported for it.
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
                scan_number: 0,
                seen: Vec::new(),
                due: None,
            })
        };
        stopping.take(pipes);
    }

    /// Takes the answer to a scan.
    pub(crate) fn scanned(&mut self, now: Instant, answer: ScanAnswer) {
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        if stopping.scan_number != answer.key.number {
            return;
        }
        let pid_state = *lock(&self.record.pid_state);
        let group_is_empty = || self.root.group_is_empty(pid_state);
        let others = match answer.others {
            Others::Alive(_) if answer.outside.is_empty() && group_is_empty() => Others::Gone,
            // A member that was not shown, not even dead, can live.
            Others::Gone if !answer.has_dead_members && !group_is_empty() => {
                Others::Unknown(CountFailure::Unreadable)
            }
            Others::Unknown(why @ CountFailure::NoProc) if group_is_empty() => {
                Others::Uncountable(why)
            }
            Others::Alive(_) | Others::Gone | Others::Unknown(_) | Others::Uncountable(_) => {
                answer.others
            }
        };
        if !matches!(others, Others::Unknown(_) | Others::Uncountable(_)) {
            stopping.seen = answer.members;
            stopping.seen.extend(answer.outside);
        }
        stopping.ladder.scanned(now, others);
    }

    /// Does what the ladder orders until it waits or is over. Adds the scans that it wants.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        wanted: &mut Vec<ScanRequest>,
    ) -> Option<Ending> {
        loop {
            let sight = self.sight()?;
            let stopping = self.stopping.as_mut()?;
            match stopping.ladder.step(now, &sight) {
                Order::DropStdin => stopping.drop_stdin(),
                Order::Terminate => {
                    self.signal(Signal::Terminate);
                    // Order: a stopped process keeps SIGTERM pending until it is continued.
                    self.signal(Signal::Continue);
                    let signals = &[Signal::Terminate, Signal::Continue];
                    wanted.extend(self.signal_outside(signals));
                }
                Order::Kill => {
                    self.kill();
                    wanted.extend(self.signal_outside(&[Signal::Kill]));
                }
                Order::Scan(purpose) => wanted.extend(self.count(now, purpose)),
                Order::Reap => self.reap(),
                Order::Wait(until) => {
                    stopping.due = until;
                    return None;
                }
                Order::Finish(ending) => return Some(ending),
            }
        }
    }

    /// Closes every descriptor, then publishes how it ended.
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
            survivors: ending.survivors,
            survivor_pids: match ending.survivors {
                Survivors::Known(0) => Vec::new(),
                Survivors::Known(_) | Survivors::Unknown(_) => {
                    stopping.seen.iter().map(|process| process.pid).collect()
                }
            },
            stderr: record.stderr_tail(),
            elapsed: ending.elapsed,
        };
        // Order: a caller that sees the termination may count descriptors at once.
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

    fn kill(&self) {
        self.signal(Signal::Kill);
        if self.exit.is_none() {
            // The root may have left its group.
            drop(self.root.signal(Signal::Kill, self.pid_state()));
        }
    }

    /// To the group, or the root alone. A refused signal is ignored: the next rung follows.
    fn signal(&self, signal: Signal) {
        let delivery = match self.scope {
            KillScope::Root if self.exit.is_some() => return,
            KillScope::Root => self.root.signal(signal, self.pid_state()),
            KillScope::Group | KillScope::Tree => self.root.signal_group(signal, self.pid_state()),
        };
        drop(delivery);
    }

    /// Counts what lives besides the root: at once where that takes no scan.
    fn count(&mut self, now: Instant, purpose: ScanFor) -> Option<ScanRequest> {
        if purpose == ScanFor::Kill {
            self.signal(Signal::Kill);
        }
        if purpose != ScanFor::Record && self.root.outlives_its_pid() {
            // A dead root counts as a member of its group until it is reaped.
            self.reap();
        }
        let group_is_empty = purpose != ScanFor::Record
            && self.descendants_since.is_none()
            && self.root.group_is_empty(self.pid_state());
        let stopping = self.stopping.as_mut()?;
        stopping.scan_number += 1;
        if !sys::CAN_COUNT {
            let why = CountFailure::Unsupported;
            stopping.ladder.scanned(now, Others::Uncountable(why));
            return None;
        }
        if group_is_empty {
            stopping.ladder.scanned(now, Others::Gone);
            return None;
        }
        Some(self.request(match purpose {
            ScanFor::Record | ScanFor::Count => ScanPurpose::Count,
            ScanFor::Kill => ScanPurpose::Kill,
        }))
    }

    /// What it takes to send signals to descendants that have left the group, if they are to be ended.
    fn signal_outside(&self, signals: &'static [Signal]) -> Option<ScanRequest> {
        let is_possible = sys::CAN_COUNT && self.descendants_since.is_some();
        is_possible.then(|| self.request(ScanPurpose::Signal(signals)))
    }

    fn request(&self, purpose: ScanPurpose) -> ScanRequest {
        let pid = self.record.pid;
        let is_held = self.pid_state() == PidState::Held;
        let (number, recorded) = match &self.stopping {
            Some(stopping) => (stopping.scan_number, stopping.seen.clone()),
            None => (0, Vec::new()),
        };
        ScanRequest {
            key: ScanKey {
                child: self.record.id,
                number,
            },
            unreaped_root: is_held.then_some(pid),
            group: (is_held || self.root.outlives_its_pid()).then_some(pid),
            descendants_since: self.descendants_since,
            recorded,
            purpose,
        }
    }

    fn pid_state(&self) -> PidState {
        *lock(&self.record.pid_state)
    }

    fn reap(&self) {
        let mut pid_state = lock(&self.record.pid_state);
        if *pid_state == PidState::Held {
            // Its status is known already, whatever this returns.
            drop(self.root.reap());
            *pid_state = PidState::Released;
        }
    }
}

impl Stopping {
    fn take(&mut self, pipes: PipeEnds) {
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
