//! This program's side of the guardian: starts it, tells it of children, and replaces it.
//!
//! # Invariants
//!
//! 1. Every guarded child is in `live` from before its start until its end. A guardian is told all of
//!    `live` when it is started. So one that was killed, or does not read, is replaced and nothing is
//!    lost.
//! 2. What was started and not yet told carries a mark that the guardian knows, since it was told of
//!    the start.
//! 3. A write to the pipe never blocks. If the pipe is full or broken the guardian is replaced.
//!
//! # Locking
//!
//! One mutex, held for a write that does not block. Guardians are started by a spawner, unlocked.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::guard_main;
use super::told::{Known, Told, steps};
use crate::process::cookie;
use crate::process::health::{self, Event};
use crate::process::host;
use crate::process::lock::lock;
use crate::process::notifier;
use crate::process::record::ChildId;
use crate::process::signal::Signal;
use crate::process::sys::{
    self, Mask, PidState, PipeEnd, Place, Root, Spawned, Start, StartError, StderrEnd, StdoutEnd,
};
use crate::process::terminate::KillScope;

#[derive(Debug)]
struct State {
    live: BTreeMap<ChildId, Known>,
    current: Option<Current>,
    /// A thread is starting one.
    is_starting: bool,
    /// When the last one was started, and how often in a row that was in vain.
    last_start: Option<Instant>,
    failures: u32,
    grace: Duration,
    /// Has another one started, by a thread that may block.
    replace: Option<fn()>,
}

/// The guardian that there is.
#[derive(Debug)]
struct Current {
    pipe: PipeEnd,
    root: Arc<Root>,
    /// It has the rights of this user.
    user: u32,
}

impl Drop for Current {
    fn drop(&mut self) {
        // Order: before the pipe is closed. Its number can be another descriptor's at once.
        sys::close_in_forks(None);
    }
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

/// Has `replace` called when a guardian must be started again.
pub(crate) fn on_loss(replace: fn()) {
    lock(&STATE).replace = Some(replace);
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

/// A start that the guardian knows of. Dropping it means that it has failed.
#[derive(Debug)]
pub(crate) struct GuardedStart {
    child: ChildId,
    is_done: bool,
}

impl GuardedStart {
    /// A start is about to be made.
    pub(crate) fn begin(child: ChildId) -> Self {
        let mut state = lock(&STATE);
        state.live.insert(child, Known::Starting);
        state.tell(&Told::Child(child, Known::Starting).line());
        Self {
            child,
            is_done: false,
        }
    }

    /// The child runs. From now on [`ended`] is to be called.
    pub(crate) fn succeed(mut self, scope: KillScope, pid: u32) {
        self.is_done = true;
        running(self.child, scope, pid);
    }
}

impl Drop for GuardedStart {
    fn drop(&mut self) {
        if !self.is_done {
            ended(self.child);
        }
    }
}

/// The child runs. Its pid is its own, and so is the group of that number.
pub(crate) fn running(child: ChildId, scope: KillScope, pid: u32) {
    let known = Known::Running { scope, pid };
    let mut state = lock(&STATE);
    state.live.insert(child, known);
    state.tell(&Told::Child(child, known).line());
}

/// The child's pid is about to be freed, or there was none.
pub(crate) fn ended(child: ChildId) {
    let mut state = lock(&STATE);
    if state.live.remove(&child).is_some() {
        state.tell(&Told::Ended(child).line());
    }
}

/// A guardian has exited, though this program has not.
pub(crate) fn exited(root: &Arc<Root>) {
    let mut state = lock(&STATE);
    let is_current = |current: &Current| Arc::ptr_eq(&current.root, root);
    if state.current.as_ref().is_some_and(is_current) {
        state.lose();
    }
}

/// Starts a guardian unless there is one that obeys this user. Can block.
pub(crate) fn ensure() -> Started {
    let user = sys::effective_user();
    let grace = {
        let mut state = lock(&STATE);
        if state.is_starting {
            return Started::No;
        }
        match &state.current {
            Some(current) if current.user == user && !current.root.is_stopped() => {
                return Started::No;
            }
            Some(current) if current.user == user => state.discard(),
            // One with more rights than this program must not obey it.
            Some(_) => {
                state.tell(&Told::Leave.line());
                state.current = None;
            }
            None => {
                if let Some(at) = state.not_before(sys::clock_now()) {
                    return Started::Later(at);
                }
            }
        }
        state.last_start = Some(sys::clock_now());
        state.is_starting = true;
        state.grace
    };
    let started = start(grace);
    let mut state = lock(&STATE);
    state.is_starting = false;
    match started {
        Ok((pipe, root)) => {
            let known = state.live.iter();
            let children = known.map(|(child, known)| Told::Child(*child, *known));
            // It may have changed while the guardian was being started.
            let told = [Told::Grace(state.grace)].into_iter().chain(children);
            let lines: String = told.map(Told::line).collect();
            sys::close_in_forks(Some(pipe.as_fd()));
            state.current = Some(Current {
                pipe,
                root: Arc::clone(&root),
                user,
            });
            state.tell(&lines);
            health::set_guardian(state.current.is_some());
            Event::GuardianStart.happened();
            Started::Guardian(root)
        }
        Err(error) => {
            state.failures += 1;
            if state.failures == 1 {
                notifier::run(move || {
                    tracing::warn!(
                        target: "pool_stdio",
                        %error,
                        "no guardian: children that ignore the end of their input outlive this program"
                    );
                });
            }
            Started::No
        }
    }
}

impl State {
    fn tell(&mut self, lines: &str) {
        let Some(current) = &self.current else {
            return;
        };
        let written = sys::write(current.pipe.as_fd(), lines.as_bytes());
        if !matches!(written, Ok(count) if count == lines.len()) {
            self.discard();
            self.lose();
        }
    }

    /// Ends a guardian that does not do its work.
    fn discard(&mut self) {
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
        if let Some(replace) = self.replace {
            replace();
        }
    }

    /// One that ends at once is not started again and again.
    fn not_before(&self, now: Instant) -> Option<Instant> {
        let gap = RESTART_GAP * self.failures.saturating_sub(1).min(60);
        self.last_start.map(|at| at + gap).filter(|at| *at > now)
    }
}

fn start(grace: Duration) -> io::Result<(PipeEnd, Arc<Root>)> {
    let own = guard_main::own_program();
    let host = cookie::host().into();
    let steps = steps(grace).to_string().into();
    let (program, args, environment) = match &own {
        Some(program) => {
            let inherited = env::vars_os().filter(|(name, _)| name != cookie::COOKIE_VARIABLE);
            let marked = inherited.chain([(guard_main::VARIABLE.into(), "1".into())]);
            (program.as_path(), vec![host, steps], marked.collect())
        }
        None => {
            let path = env::var("PATH").unwrap_or_default();
            let path = OsString::from(format!("{path}:/usr/bin:/bin:/usr/sbin:/sbin"));
            let script = ["-c", SCRIPT, "sh"].map(OsString::from);
            let args = script.into_iter().chain([host, steps]).collect();
            (
                Path::new("/bin/sh"),
                args,
                BTreeMap::from([("PATH".into(), path)]),
            )
        }
    };
    let spawned = sys::spawn(&Start {
        program,
        arg0: None,
        args: &args,
        environment: &environment,
        directory: None,
        stdout: StdoutEnd::Null,
        stderr: StderrEnd::Null,
        place: Place::Group,
        mask: Mask::All,
        scope: KillScope::Group,
        ends_with_host: false,
    });
    let spawned = match spawned {
        Ok(spawned) => spawned,
        Err(StartError::System(error) | StartError::Directory(error)) => return Err(error),
    };
    let root = spawned.unblock().and_then(|()| Root::of(&spawned));
    match root {
        Ok(root) => {
            let Spawned { stdin, .. } = spawned;
            sys::enlarge_pipe(stdin.as_fd(), PIPE_BYTES);
            Ok((stdin, Arc::new(root)))
        }
        Err(error) => {
            spawned.abandon();
            Err(error)
        }
    }
}

static STATE: Mutex<State> = Mutex::new(State {
    live: BTreeMap::new(),
    current: None,
    is_starting: false,
    last_start: None,
    failures: 0,
    grace: Duration::from_millis(700),
    replace: None,
});
const SCRIPT: &str = include_str!("guard.sh");
/// Room for what tens of thousands of children need to be told again.
const PIPE_BYTES: i32 = 1 << 20;
const RESTART_GAP: Duration = Duration::from_secs(1);
