//! This program's side of the guardian: starts it, tells it of children, and replaces it.
//!
//! # Invariants
//!
//! 1. Every guarded child is in `live` from before its start until its end. A guardian is told all of
//!    `live` when it is started. So one that was killed, or does not read, is replaced and nothing is
//!    lost.
//! 2. What was started and not yet told carries a mark that the guardian knows, since it was told of
//!    the start.
//! 3. A guardian that is stopped, does not read for a while, or has gone is replaced.
//! 4. A number is told as long as it is the child's for certain: until just before the root is reaped.
//!
//! # Locking
//!
//! One mutex, held for a write that does not block. Guardians are started by a spawner, unlocked.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::guardian_start::start_guardian;
use super::running_guardian::RunningGuardian;
use super::told::{CgroupPath, Known, Told};
use crate::process::health::{self, Event};
use crate::process::host;
use crate::process::lock::lock;
use crate::process::notifier;
use crate::process::outcome::Exit;
use crate::process::record::ChildId;
use crate::process::signal::Signal;
use crate::process::sys::{self, PidState, Root};
use crate::process::terminate::KillScope;

#[derive(Debug)]
struct State {
    live: BTreeMap<ChildId, Known>,
    /// Control groups that are to be removed. One can outlive its child.
    cgroups: BTreeMap<ChildId, CgroupPath>,
    current: Option<RunningGuardian>,
    /// A thread is starting one.
    is_starting: bool,
    /// When the last one was started, and how often in a row that was in vain.
    last_start: Option<Instant>,
    failures: u32,
    /// It was said that there is none.
    has_warned: bool,
    /// It has said that it cannot work here.
    is_hopeless: bool,
    grace: Duration,
    hooks: Option<Hooks>,
    /// Guardians that are to leave, and were not told all yet.
    leaving: Vec<RunningGuardian>,
}

/// What other parts do for the keeper.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hooks {
    /// Has another guardian started, by a thread that may block.
    pub(crate) replace: fn(),
    /// Has [`flush`] called at this time.
    pub(crate) flush_at: fn(Instant),
}

/// What a start of a guardian came to.
#[derive(Debug)]
pub(crate) enum Started {
    /// To be watched, and reaped when it has exited.
    Guardian(Arc<Root>),
    /// There is one, or there can be none.
    No,
    /// The last ones ended at once. It is to be tried again then.
    Later(Instant),
}

/// To be called before the first start.
pub(crate) fn set_hooks(hooks: Hooks) {
    lock(&STATE).hooks = Some(hooks);
}

/// Tells what did not fit into the pipe before. Returns when to try again.
pub(crate) fn flush(now: Instant) -> Option<Instant> {
    let mut state = lock(&STATE);
    state.leaving.retain_mut(|leaving| {
        let is_whole = leaving.write(now);
        is_whole && leaving.has_unsent()
    });
    state.write(now);
    state.next_flush(now)
}

/// How long children that outlive this program have to act on the end of their input, before a
/// guardian ends them. Default 700 ms. After two thirds of it they get SIGTERM.
///
/// It holds for all children of this program from now on. See [`prepare`](crate::prepare) for what a
/// guardian is.
pub fn set_host_death_grace(grace: Duration) {
    if host::is_fork() {
        return;
    }
    let mut state = lock(&STATE);
    state.grace = grace;
    state.tell(&Told::Grace(grace).line());
}

/// The child is about to get this control group.
pub(super) fn cgroup_made(child: ChildId, path: CgroupPath) {
    let mut state = lock(&STATE);
    state.cgroups.insert(child, path.clone());
    state.tell(&Told::Cgroup(child, path).line());
}

/// The child's pid is about to be freed, or is free. There may be others of its scope.
pub(crate) fn rootless(child: ChildId, scope: KillScope, pid: u32) {
    if scope == KillScope::Root {
        ended(child);
        return;
    }
    note(child, Known::Rootless { scope, pid });
}

/// This is known of the child from now on.
pub(super) fn note(child: ChildId, known: Known) {
    let mut state = lock(&STATE);
    state.live.insert(child, known);
    state.tell(&Told::Child(child, known).line());
}

/// Nothing of the child's scope is left, or is to be ended.
pub(crate) fn ended(child: ChildId) {
    let mut state = lock(&STATE);
    if state.live.remove(&child).is_some() {
        state.tell(&Told::Ended(child).line());
    }
}

/// The control group of the child was removed.
pub(crate) fn cgroup_removed(child: ChildId) {
    let mut state = lock(&STATE);
    if state.cgroups.remove(&child).is_some() {
        state.tell(&Told::CgroupRemoved(child).line());
    }
}

/// A guardian has exited, though this program has not.
pub(crate) fn exited(root: &Arc<Root>, exit: Exit) {
    let mut state = lock(&STATE);
    state
        .leaving
        .retain(|leaving| !Arc::ptr_eq(&leaving.root, root));
    let is_current = |current: &RunningGuardian| Arc::ptr_eq(&current.root, root);
    if !state.current.as_ref().is_some_and(is_current) {
        return;
    }
    if matches!(exit, Exit::Status(status) if status.code() == Some(CANNOT_WORK)) {
        state.is_hopeless = true;
        state.current = None;
        health::set_guardian(false);
        state.warn("there is no `sleep` for its script");
        return;
    }
    state.lose();
}

/// Starts a guardian unless there is one that obeys this user. Can block.
pub(crate) fn ensure() -> Started {
    let user = sys::effective_user();
    let grace = {
        let mut state = start_of_another(lock(&STATE), &START_ENDED, START_PATIENCE);
        if state.is_starting || state.is_hopeless {
            return Started::No;
        }
        if state.check(user) {
            return Started::No;
        }
        if let Some(at) = state.not_before(sys::clock_now()) {
            return Started::Later(at);
        }
        state.last_start = Some(sys::clock_now());
        state.is_starting = true;
        state.grace
    };
    let started = start_guardian(grace);
    let mut state = lock(&STATE);
    state.is_starting = false;
    START_ENDED.notify_all();
    match started {
        Ok((pipe, root)) => {
            let lines = state.all_lines();
            let current = RunningGuardian::new(pipe, Arc::clone(&root), user, lines);
            state.current = Some(current);
            // Order: whoever sees that it is there sees its start counted.
            Event::GuardianStart.happened();
            state.write_or_wait();
            Started::Guardian(root)
        }
        Err(error) => {
            // The one that was there may have been discarded for this one.
            health::set_guardian(false);
            state.failures += 1;
            // Without a program for it there never is one.
            let is_lasting = is_lasting(&error);
            state.warn(error);
            if is_lasting {
                Started::No
            } else {
                Started::Later(sys::clock_now() + RESTART_GAP * state.failures.min(60))
            }
        }
    }
}

/// Waits while another thread starts a guardian and there is none: a child that was started meanwhile would
/// outlive this program if that is killed now. No longer than this, since a start can hang.
fn start_of_another<'s>(
    state: MutexGuard<'s, State>,
    ended: &Condvar,
    patience: Duration,
) -> MutexGuard<'s, State> {
    let is_needed = |state: &mut State| state.is_starting && state.current.is_none();
    let waited = ended.wait_timeout_while(state, patience, is_needed);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

impl State {
    const fn new() -> Self {
        Self {
            live: BTreeMap::new(),
            cgroups: BTreeMap::new(),
            current: None,
            is_starting: false,
            last_start: None,
            failures: 0,
            has_warned: false,
            is_hopeless: false,
            grace: Duration::from_millis(700),
            hooks: None,
            leaving: Vec::new(),
        }
    }

    /// What a new guardian is told.
    fn all_lines(&self) -> String {
        // It may have changed while the guardian was being started.
        let grace = [Told::Grace(self.grace)].into_iter();
        let children = self.live.iter();
        let children = children.map(|(child, known)| Told::Child(*child, *known));
        let cgroups = self.cgroups.iter();
        let cgroups = cgroups.map(|(child, path)| Told::Cgroup(*child, path.clone()));
        let told = grace.chain(children).chain(cgroups);
        told.map(Told::line).collect()
    }

    fn tell(&mut self, lines: &str) {
        if self.current.is_some() && !self.check(sys::effective_user()) {
            self.replace();
        }
        if let Some(current) = &mut self.current {
            current.tell(lines);
            self.write_or_wait();
        }
    }

    /// Whether there is a guardian that works and obeys this user. Gives up any other.
    fn check(&mut self, user: u32) -> bool {
        match self.current.take() {
            Some(current) if current.user != user => {
                // One with more rights than this program must not obey it.
                self.dismiss(current);
                false
            }
            Some(current) if current.root.is_stopped() => {
                self.current = Some(current);
                self.discard();
                false
            }
            other => {
                self.current = other;
                self.current.is_some()
            }
        }
    }

    /// Tells a guardian to leave.
    fn dismiss(&mut self, mut current: RunningGuardian) {
        health::set_guardian(false);
        current.tell_to_leave();
        // Order: its pipe stays open until it has read that, or it would end the children.
        if current.write(sys::clock_now()) && current.has_unsent() {
            self.leaving.push(current);
            self.flush_later();
        }
    }

    fn write_or_wait(&mut self) {
        self.write(sys::clock_now());
        self.flush_later();
    }

    fn write(&mut self, now: Instant) {
        let Some(current) = &mut self.current else {
            return;
        };
        if !current.write(now) || current.does_not_read(now) {
            self.discard();
            self.lose();
        } else if !current.has_unsent() && !health::has_guardian() {
            // It knows all children.
            health::set_guardian(true);
        }
    }

    /// When to try again what did not fit into a pipe.
    fn next_flush(&self, now: Instant) -> Option<Instant> {
        let all = self.leaving.iter().chain(&self.current);
        all.filter_map(|one| one.next_flush(now)).min()
    }

    fn flush_later(&self) {
        if let (Some(at), Some(hooks)) = (self.next_flush(sys::clock_now()), self.hooks) {
            (hooks.flush_at)(at);
        }
    }

    /// Ends a guardian that does not do its work.
    fn discard(&mut self) {
        health::set_guardian(false);
        if let Some(current) = self.current.take() {
            // It is reaped by the custodian, so its pid is still held.
            drop(current.root.signal(Signal::Kill, PidState::Held));
        }
    }

    fn lose(&mut self) {
        self.current = None;
        health::set_guardian(false);
        let lived = self.last_start.map(|at| sys::clock_now() - at);
        self.failures = match lived {
            Some(lived) if lived > RESTART_GAP => 0,
            _ => self.failures + 1,
        };
        self.replace();
    }

    fn replace(&self) {
        if let Some(hooks) = self.hooks
            && !self.is_starting
        {
            (hooks.replace)();
        }
    }

    /// Says once that there is none.
    fn warn(&mut self, error: impl Display + Send + 'static) {
        if std::mem::replace(&mut self.has_warned, true) {
            return;
        }
        notifier::run(move || {
            tracing::warn!(
                target: "pool_stdio",
                %error,
                "no guardian: children that ignore the end of their input outlive this program"
            );
        });
    }

    /// One that ends at once is not started again and again.
    fn not_before(&self, now: Instant) -> Option<Instant> {
        let gap = RESTART_GAP * self.failures.saturating_sub(1).min(60);
        self.last_start.map(|at| at + gap).filter(|at| *at > now)
    }
}

static STATE: Mutex<State> = Mutex::new(State::new());
/// A thread has started a guardian, or could not.
static START_ENDED: Condvar = Condvar::new();
const START_PATIENCE: Duration = Duration::from_secs(1);
const RESTART_GAP: Duration = Duration::from_secs(1);
/// The script's status if it cannot do its work.
const CANNOT_WORK: i32 = 3;

/// Whether the guardian is to know of the child, and of its control group.
#[cfg(test)]
pub(super) fn knows(child: ChildId) -> (bool, bool) {
    let state = lock(&STATE);
    (
        state.live.contains_key(&child),
        state.cgroups.contains_key(&child),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use super::*;

    #[test]
    fn a_start_waits_for_the_first_guardian_and_not_for_ever() {
        let (state, ended) = (Mutex::new(State::new()), Condvar::new());
        lock(&state).is_starting = true;
        let left = start_of_another(lock(&state), &ended, Duration::ZERO);
        assert!(left.is_starting, "the one under way may hang");
        drop(left);
        thread::scope(|scope| {
            let (begin, begun) = sync_channel(1);
            let (state, ended) = (&state, &ended);
            let waits = scope.spawn(move || {
                let held = lock(state);
                begin.send(()).unwrap();
                start_of_another(held, ended, Duration::from_secs(60)).is_starting
            });
            begun.recv().unwrap();
            // It is had as soon as the other one waits.
            lock(state).is_starting = false;
            ended.notify_all();
            assert!(!waits.join().unwrap(), "it went on when there was one");
        });
    }
}
