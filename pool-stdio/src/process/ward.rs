//! One child in the custodian's care: watches it, drains its stderr, and carries out what the ladder
//! orders. Scans are not made here: the ward says which it wants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::Guarding;
use super::guardian;
use super::headcount::GroupSight;
use super::health::Event;
use super::line_feed::LineFeed;
use super::lock::lock;
use super::notifier;
use super::outcome::{CountFailure, Exit, Survivors, Termination};
use super::proc_scan::{ScanAnswer, ScanKey, ScanPurpose, ScanRequest};
use super::record::{ChildId, ChildRecord, PipeEnds};
use super::roster::Membership;
use super::signal::Signal;
use super::stopping::{Stopping, read_once};
use super::sys::{
    self, Delivery, Life, PidState, PipeEnd, Poller, ProcessId, Ready, Root, WatchedExit,
    WatchedPipe,
};
use super::terminate::{
    Ending, KillScope, Ladder, LadderTimes, Order, Others, RootSight, ScanFor, Sight, Start,
};
use super::watched::{Source, Token};

/// A child that was just started, on its way to the custodian.
#[derive(Debug)]
pub(crate) struct NewChild {
    pub(crate) record: Arc<ChildRecord>,
    pub(crate) root: Arc<Root>,
    pub(crate) scope: KillScope,
    pub(crate) guarding: Guarding,
    pub(crate) times: LadderTimes,
    /// Descendants that left the group, if they are to be ended too, were started at this time or
    /// later.
    pub(crate) descendants_since: Option<u64>,
    pub(crate) stderr: Option<PipeEnd>,
    pub(crate) lines: Option<LineFeed>,
    pub(crate) membership: Option<Membership>,
}

/// A child in the custodian's care.
#[derive(Debug)]
pub(crate) struct Ward {
    record: Arc<ChildRecord>,
    root: Arc<Root>,
    scope: KillScope,
    guarding: Guarding,
    times: LadderTimes,
    descendants_since: Option<u64>,
    stderr: Option<WatchedPipe>,
    lines: Option<LineFeed>,
    membership: Option<Membership>,
    poller: Arc<Poller>,
    /// `None` if the exit must be asked for, or was seen.
    exit_watch: Option<WatchedExit>,
    exit: ExitState,
    stopping: Option<Stopping>,
}

/// What became of an order to signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Done,
    /// This system has no such signal for this child.
    Impossible,
}

/// What is known of the root's exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitState {
    Running,
    /// It is dead since this time or longer, but another process traces it and has its status.
    Withheld(Instant),
    Over(Exit),
}

impl Ward {
    pub(crate) fn adopt(child: NewChild, poller: &Arc<Poller>) -> Self {
        let NewChild {
            record,
            root,
            scope,
            guarding,
            times,
            descendants_since,
            stderr,
            lines,
            membership,
        } = child;
        let token = |source| {
            let child = record.id;
            Token { source, child }.to_number()
        };
        let stderr_token = token(Source::Stderr);
        Self {
            stderr: stderr.map(|end| WatchedPipe::new(end, poller, stderr_token, Ready::ToRead)),
            exit_watch: WatchedExit::new(&root, poller, token(Source::Exit)),
            record,
            root,
            scope,
            guarding,
            times,
            descendants_since,
            lines,
            membership,
            poller: Arc::clone(poller),
            exit: ExitState::Running,
            stopping: None,
        }
    }

    pub(crate) fn id(&self) -> ChildId {
        self.record.id
    }

    /// Whether something of it can be seen only by asking.
    pub(crate) fn must_be_asked(&self) -> bool {
        let exit_is_unseen = !matches!(self.exit, ExitState::Over(_)) && self.exit_watch.is_none();
        let stderr_is_refused = self.stderr.as_ref().is_some_and(|end| !end.is_polled());
        exit_is_unseen
            || stderr_is_refused
            || self.stopping.as_ref().is_some_and(Stopping::must_be_asked)
    }

    /// When the ladder wants to go on, even if nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.stopping.as_ref().and_then(|stopping| stopping.due)
    }

    /// Handles a descriptor that became ready. Reads or writes once, so that no child can keep the
    /// thread. Returns how many bytes were read.
    pub(crate) fn serve(&mut self, source: Source, now: Instant, scratch: &mut [u8]) -> usize {
        match (source, &mut self.stopping) {
            (Source::Exit, _) => self.look_at_root(now, scratch),
            (Source::Stderr, _) => {
                let count = self.read_stderr(scratch);
                if count > 0
                    && let Some(stopping) = &mut self.stopping
                {
                    stopping.last_read = Some(now);
                }
                return count;
            }
            (Source::Stdout, Some(stopping)) => {
                let before = stopping.discarded_bytes;
                stopping.discard(now, scratch);
                let count = stopping.discarded_bytes - before;
                return usize::try_from(count).unwrap_or(usize::MAX);
            }
            (Source::Stdin, Some(stopping)) => stopping.flush(),
            (Source::Stdout | Source::Stdin, None) => {}
        }
        0
    }

    /// Tries all that the system does not tell of.
    pub(crate) fn ask(&mut self, now: Instant, scratch: &mut [u8]) {
        for source in [Source::Exit, Source::Stdin, Source::Stdout, Source::Stderr] {
            self.serve(source, now, scratch);
        }
    }

    /// If the root has exited, reads what it wrote to stderr before, then publishes the exit.
    fn look_at_root(&mut self, now: Instant, scratch: &mut [u8]) {
        let exit = match (self.exit, self.root.life()) {
            (ExitState::Over(_), _) => return,
            (_, Ok(Life::Over(exit))) => {
                if exit == Exit::Lost {
                    *lock(&self.record.pid_state) = PidState::Released;
                    self.forget_number();
                }
                exit
            }
            (ExitState::Withheld(since), _) if now >= since + WITHHELD_MAX => Exit::Lost,
            (ExitState::Running, Ok(Life::Running)) if self.root.is_dead() => {
                self.exit = ExitState::Withheld(now);
                // Order: it stays readable. From now on it is asked.
                self.exit_watch = None;
                return;
            }
            // An interrupted or refused call is repeated: the descriptor stays readable.
            _ => return,
        };
        for _ in 0..STDERR_READS_AT_EXIT {
            if self.read_stderr(scratch) == 0 {
                break;
            }
        }
        self.exit = ExitState::Over(exit);
        self.exit_watch = None;
        self.record.exit.publish(exit);
    }

    /// Returns how many bytes were read.
    fn read_stderr(&mut self, scratch: &mut [u8]) -> usize {
        let count = read_once(&mut self.stderr, scratch);
        lock(&self.record.stderr).push(&scratch[..count]);
        if let Some(lines) = &mut self.lines {
            lines.push(&scratch[..count]);
            if self.stderr.is_none() {
                self.lines = None;
            }
        }
        count
    }

    /// Begins the ladder, or hastens it, and takes the pipes that are handed over.
    pub(crate) fn stop(&mut self, now: Instant, start: Start, pipes: PipeEnds, scratch: &mut [u8]) {
        // Order: first look whether the root had exited before, so that no rung is reported for it.
        self.look_at_root(now, scratch);
        let root = self.root_sight();
        let stopping = if let Some(stopping) = &mut self.stopping {
            stopping.ladder.hasten(now, start);
            stopping
        } else {
            let ladder = Ladder::begin(now, start, self.scope, self.times, root);
            let was_gone = root == RootSight::Exited && start != Start::Killed;
            self.stopping.insert(Stopping::new(ladder, was_gone))
        };
        let stderr = stopping.take(pipes, &self.poller, self.record.id);
        // It is read, and nothing of it is kept: a child that says something at its end is not killed by it.
        self.stderr = self.stderr.take().or(stderr);
    }

    /// Takes the answer to a scan. Returns the next one if that is not enough.
    #[must_use]
    pub(crate) fn scanned(&mut self, now: Instant, answer: ScanAnswer) -> Option<ScanRequest> {
        self.reap_adopted_members();
        for process in &answer.adopted {
            if sys::reap_adopted(process.pid) {
                Event::AdoptedZombie.happened();
            }
        }
        let stopping = self.stopping.as_mut()?;
        if stopping.headcount.number() != answer.key.number {
            return None;
        }
        let group = Group {
            root: &self.root,
            pid_state: *lock(&self.record.pid_state),
        };
        if stopping.headcount.must_hold(&answer, &group) {
            drop(self.root.signal_group(Signal::Stop, group.pid_state));
            return Some(self.request(ScanPurpose::Count));
        }
        if stopping.headcount.release() {
            group.let_go();
        }
        let others = stopping.headcount.conclude(answer, &group);
        stopping.ladder.scanned(now, others);
        None
    }

    /// Lets the members of the group run again.
    fn let_go(&mut self) {
        let pid_state = self.pid_state();
        if let Some(stopping) = &mut self.stopping
            && stopping.headcount.release()
        {
            let root = &self.root;
            Group { root, pid_state }.let_go();
        }
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
                    if let Asked::Impossible = self.signal(Signal::Terminate) {
                        self.skip_term(now);
                        continue;
                    }
                    // Order: a stopped process keeps SIGTERM pending until it is continued.
                    let (Asked::Done | Asked::Impossible) = self.signal(Signal::Continue);
                    let signals = &[Signal::Terminate, Signal::Continue];
                    wanted.extend(self.signal_outside(signals));
                }
                Order::Kill => {
                    self.kill();
                    wanted.extend(self.signal_outside(&[Signal::Kill]));
                }
                Order::Scan(purpose) => wanted.extend(self.count(now, purpose)),
                Order::Reap => {
                    self.reap();
                    self.reap_adopted_members();
                }
                Order::Wait(until) => {
                    stopping.due = until;
                    return None;
                }
                Order::Finish(ending) => return Some(ending),
            }
        }
    }

    /// Closes every descriptor, then publishes how it ended. Returns the root if it could not be
    /// reaped.
    pub(crate) fn finish(self, ending: Ending) -> Option<Arc<Root>> {
        self.forget();
        let Self {
            record,
            root,
            stderr,
            stopping,
            membership,
            exit,
            exit_watch,
            lines,
            ..
        } = self;
        let stopping = stopping?;
        let termination = Termination {
            pid: record.pid,
            rung: ending.rung,
            exit: match exit {
                ExitState::Over(exit) => exit,
                ExitState::Running | ExitState::Withheld(_) => Exit::Lost,
            },
            exited_by_itself: stopping.root_was_gone,
            drain: ending.drain,
            discarded_bytes: stopping.discarded_bytes,
            unwritten_bytes: stopping.unwritten_bytes(),
            pipe_held: stderr.is_some() || stopping.is_stdout_open(),
            is_term_skipped: stopping.ladder.is_term_skipped(),
            survivors_found: ending.survivors_found,
            survivors: ending.survivors,
            survivor_pids: match ending.survivors {
                Survivors::Known(0) => Vec::new(),
                Survivors::Known(_) | Survivors::Unknown(_) => {
                    let seen = stopping.headcount.seen().iter();
                    seen.map(|process| process.pid).collect()
                }
            },
            stderr: record.stderr_tail(),
            elapsed: ending.elapsed,
        };
        let is_reaped = *lock(&record.pid_state) == PidState::Released;
        // Order: a caller that sees the termination may count descriptors at once.
        drop((exit_watch, stderr, stopping, lines));
        let unreaped = (!is_reaped).then_some(root);
        drop(membership);
        if let Some(cgroup) = record.cgroup.clone() {
            // Order: before the wakers of those who wait for the termination.
            let child = record.id;
            notifier::run(move || {
                if cgroup.remove() {
                    guardian::cgroup_removed(child);
                }
            });
        }
        record.termination.publish(termination);
        unreaped
    }

    const fn root_sight(&self) -> RootSight {
        match self.exit {
            ExitState::Over(_) => RootSight::Exited,
            ExitState::Running | ExitState::Withheld(_) => RootSight::Running,
        }
    }

    fn sight(&self) -> Option<Sight> {
        let stopping = self.stopping.as_ref()?;
        Some(Sight {
            root: self.root_sight(),
            stdin: stopping.stdin_sight(),
            pipes: stopping.pipe_sight(self.stderr.is_some()),
        })
    }

    fn kill(&mut self) {
        let (Asked::Done | Asked::Impossible) = self.signal(Signal::Kill);
        if self.root_sight() == RootSight::Running {
            // The root may have left its group.
            let delivery = self.root.signal(Signal::Kill, self.pid_state());
            let (Asked::Done | Asked::Impossible) = self.note(delivery);
        }
    }

    /// To the group, or the root alone. A refused signal is counted, and the ladder goes on.
    fn signal(&mut self, signal: Signal) -> Asked {
        let delivery = match self.scope {
            KillScope::Root if self.root_sight() == RootSight::Exited => return Asked::Done,
            KillScope::Root => self.root.signal(signal, self.pid_state()),
            KillScope::Group | KillScope::Tree => self.root.signal_group(signal, self.pid_state()),
        };
        self.note(delivery)
    }

    /// The system has no way to ask this child to leave.
    fn skip_term(&mut self, now: Instant) {
        if let Some(stopping) = &mut self.stopping {
            stopping.ladder.skip_term(now);
        }
        let pid = self.record.pid;
        notifier::run(move || {
            tracing::debug!(
                target: "pool_stdio", pid, "a child cannot be asked to leave here; it is killed"
            );
        });
    }

    /// A signal that the system refuses is told once for each termination.
    fn note(&mut self, delivery: Delivery) -> Asked {
        let error = match delivery {
            Delivery::Refused(error) => error,
            Delivery::NoCounterpart => return Asked::Impossible,
            Delivery::Sent | Delivery::NoReceiver => return Asked::Done,
        };
        Event::RefusedSignal.happened();
        if let Some(stopping) = &mut self.stopping
            && !std::mem::replace(&mut stopping.is_refusal_told, true)
        {
            let pid = self.record.pid;
            notifier::run(move || {
                tracing::warn!(
                    target: "pool_stdio", pid, %error, "a child cannot be signalled; it is tried again"
                );
            });
        }
        Asked::Done
    }

    /// Counts what lives besides the root: at once where that takes no scan.
    fn count(&mut self, now: Instant, purpose: ScanFor) -> Option<ScanRequest> {
        self.let_go();
        if purpose == ScanFor::Kill {
            let (Asked::Done | Asked::Impossible) = self.signal(Signal::Kill);
        }
        if purpose != ScanFor::Record && self.root.outlives_its_pid() {
            // A dead root counts as a member of its group until it is reaped.
            self.reap();
            self.reap_adopted_members();
        }
        let group_is_empty = purpose != ScanFor::Record
            && self.descendants_since.is_none()
            && self.root.group_is_empty(self.pid_state());
        let members = self.root.members();
        let stopping = self.stopping.as_mut()?;
        stopping.headcount.begin(purpose);
        if let Some(members) = members {
            stopping.ladder.scanned(now, others_of(members.as_ref()));
            stopping.headcount.counted(members.unwrap_or_default());
            return None;
        }
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
        let pid_state = self.pid_state();
        let (number, recorded) = match &self.stopping {
            Some(Stopping { headcount, .. }) => (headcount.number(), headcount.seen().to_vec()),
            None => (0, Vec::new()),
        };
        ScanRequest {
            key: ScanKey {
                child: self.record.id,
                number,
            },
            unreaped_root: (pid_state == PidState::Held).then_some(pid),
            group: sys::holds_group(&self.root, pid_state).then_some(pid),
            descendants_since: self.descendants_since,
            cgroup: self.record.cgroup.clone(),
            recorded,
            purpose,
        }
    }

    fn pid_state(&self) -> PidState {
        *lock(&self.record.pid_state)
    }

    fn reap(&self) {
        let mut pid_state = lock(&self.record.pid_state);
        if *pid_state == PidState::Released {
            return;
        }
        // Order: forgotten before the pid is free, or another process could be ended in its place.
        self.forget_number();
        // Its status is known already. If a tracer has it, it cannot be reaped yet.
        if matches!(self.root.reap(), Ok(Life::Over(_))) {
            *pid_state = PidState::Released;
        }
        // Of a tree there can be others anywhere, until a scan finds none.
        let is_group = self.descendants_since.is_none();
        if is_group && self.root.outlives_its_pid() && self.root.group_is_empty(*pid_state) {
            self.forget();
        }
    }

    /// Members that lost their parent are our children if this program is the first process of a
    /// container, or a subreaper.
    fn reap_adopted_members(&self) {
        // Order: only while the number is the group's, which it is as long as there are members.
        while self.root.outlives_its_pid()
            && self.pid_state() == PidState::Released
            && !self.root.group_is_empty(PidState::Released)
            && self.root.reap_member()
        {
            Event::AdoptedZombie.happened();
        }
    }

    /// The root's number can be another's soon. What is left of the child is known by its mark.
    fn forget_number(&self) {
        if self.guarding == Guarding::Guarded {
            guardian::rootless(self.record.id, self.scope, self.record.pid);
        }
    }

    fn forget(&self) {
        if self.guarding == Guarding::Guarded {
            guardian::ended(self.record.id);
        }
    }
}

/// The process group of a child.
struct Group<'a> {
    root: &'a Root,
    pid_state: PidState,
}

impl Group<'_> {
    /// Its members run again.
    fn let_go(&self) {
        drop(self.root.signal_group(Signal::Continue, self.pid_state));
    }
}

impl GroupSight for Group<'_> {
    fn is_empty(&self) -> bool {
        self.root.group_is_empty(self.pid_state)
    }

    fn holds_number(&self) -> bool {
        sys::holds_group(self.root, self.pid_state)
    }
}

/// What lives of a scope, where the system says so at once.
fn others_of(members: Result<&Vec<ProcessId>, &CountFailure>) -> Others {
    match members {
        Ok(members) if members.is_empty() => Others::Gone,
        Ok(members) => Others::Alive(members.len()),
        Err(why) => Others::Unknown(*why),
    }
}

/// How long a tracer may keep the status of a dead root to itself. One that works passes it on within
/// microseconds.
const WITHHELD_MAX: Duration = Duration::from_secs(1);
/// With the custodian's buffer of 64 KiB this reads 1 MiB, as much as a pipe can hold.
const STDERR_READS_AT_EXIT: usize = 16;
