//! The thread that starts children, so that no other thread waits for it: a start takes 0.1 ms when
//! all is well, and as long as a file system hangs when it is not.
//!
//! A child is in a guard from the moment it exists: any failure or cancellation after that kills
//! and reaps it.
//!
//! Children inherit the signal mask of this thread, which is that of the thread that started the
//! first child. A program that blocks signals in all its threads, to wait for them, should start
//! its first child before it does.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::child::Child;
use super::command::Command;
use super::custodian::{Custodian, Message};
use super::line_feed::LineFeed;
use super::lock::lock;
use super::once::{Once, Take};
use super::record::{ChildId, ChildRecord, PipeEnds};
use super::roster::{Reservation, RosterState};
use super::spawn_error::SpawnError;
use super::stderr::{Ring, RingLimits, StderrPolicy};
use super::sys::{self, OsErrorKind, PidState, Root, Spawned};
use super::terminate::KillScope;
use super::ward::NewChild;
use super::{notifier, service};

type SpawnResult = Result<Child, SpawnError>;

impl Command {
    /// Starts a child, in a process group of its own, on a thread that may block.
    ///
    /// The start is asked for before this returns. The future needs no runtime.
    ///
    /// # Errors
    ///
    /// The future fails with a [`SpawnError`], which says whether a later attempt
    /// [may succeed](SpawnError::is_transient).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a child that was started for it is killed and reaped.
    #[must_use = "a child whose future is dropped is killed"]
    pub fn spawn(&self) -> impl Future<Output = SpawnResult> + Send + 'static + use<> {
        begin(self, None)
    }
}

/// Asks for a child to be started, as a member of a set if it has a place in one.
pub(crate) fn begin(command: &Command, reservation: Option<Reservation>) -> Take<SpawnResult> {
    let result = Once::new();
    let request = SpawnRequest {
        command: command.clone(),
        reservation,
        wanted: Arc::downgrade(&result),
    };
    let posted = Spawner::get().and_then(|queue| {
        queue.try_send(request).map_err(|refused| match refused {
            TrySendError::Full(_) => SpawnError::QueueFull { limit: QUEUE_MAX },
            TrySendError::Disconnected(_) => SpawnError::Threads {
                source: io::Error::other("the spawning thread has gone"),
            },
        })
    });
    if let Err(error) = posted {
        result.set(Err(error));
    }
    Take::new(result)
}

/// The future of a start that failed before it began.
pub(crate) fn failed(error: SpawnError) -> Take<SpawnResult> {
    let result = Once::new();
    result.set(Err(error));
    Take::new(result)
}

/// Starts the permanent threads of this crate now, rather than with the first child: one that starts
/// children, one that watches them, and one that wakes the tasks that wait for them. Together they hold
/// two descriptors. A fourth, which looks for processes that left their group or outlive their root,
/// and a fifth, which passes on lines of stderr, are started when they are first needed.
///
/// # Errors
///
/// [`SpawnError::Threads`] if the system has no room for them.
///
/// # Examples
///
/// ```
/// // Before descriptors or threads may run out, or privileges are given up.
/// pool_stdio::prepare()?;
/// # Ok::<(), pool_stdio::SpawnError>(())
/// ```
pub fn prepare() -> Result<(), SpawnError> {
    Spawner::get().map(drop)
}

struct Spawner {
    requests: Receiver<SpawnRequest>,
    custodian: Arc<Custodian>,
}

struct SpawnRequest {
    command: Command,
    reservation: Option<Reservation>,
    /// Dead once the future was dropped.
    wanted: Weak<Once<SpawnResult>>,
}

impl Spawner {
    /// The one of this process, started on first use. It never ends, so that a child that asked for
    /// a signal at its parent thread's death does not get it.
    fn get() -> Result<SyncSender<SpawnRequest>, SpawnError> {
        static QUEUE: Mutex<Option<SyncSender<SpawnRequest>>> = Mutex::new(None);
        let mut queue = lock(&QUEUE);
        if let Some(queue) = &*queue {
            return Ok(queue.clone());
        }
        let threads = |source| SpawnError::Threads { source };
        let custodian = Custodian::get().map_err(threads)?;
        let (sender, requests) = sync_channel(QUEUE_MAX);
        let mut spawner = Self {
            requests,
            custodian,
        };
        service::start("stdio-spawner", move || spawner.run()).map_err(threads)?;
        Ok(queue.insert(sender).clone())
    }

    fn run(&mut self) {
        let chance = RandomState::new();
        for SpawnRequest {
            command,
            reservation,
            wanted,
        } in &self.requests
        {
            if wanted.strong_count() > 0 {
                let result = self.start(&command, reservation, &chance);
                if let Some(wanted) = wanted.upgrade() {
                    wanted.publish(result);
                }
                // Otherwise the child is dropped, which ends it.
            }
            // It may hold the last sink of its kind, with a user's values in it.
            notifier::drop_there(command);
        }
    }

    fn start(
        &self,
        command: &Command,
        reservation: Option<Reservation>,
        chance: &RandomState,
    ) -> SpawnResult {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = ChildId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let finds_all = command.scope() == KillScope::Tree;
        let descendants_since = finds_all.then(sys::clock_ticks);
        let guard = SpawnGuard::start(command, finds_all.then_some(id), chance)?;
        let failed = |error| SpawnError::from_system(command, error, 1);
        let root = Arc::new(Root::adopt(guard.pid()).map_err(failed)?);
        guard.unblock().map_err(failed)?;
        let Spawned {
            pid,
            stdin,
            stdout,
            stderr,
        } = guard.release();

        let record = Arc::new(new_record(command, id, pid));
        let admission = reservation.map(|reservation| reservation.admit(&record, &root));
        let (membership, roster_state) = match admission {
            Some(admission) => (Some(admission.membership), admission.roster_state),
            None => (None, RosterState::Open),
        };
        let sink = command.line_sink().filter(|_| stderr.is_some());
        let new_child = NewChild {
            record: Arc::clone(&record),
            root: Arc::clone(&root),
            scope: command.scope(),
            times: command.times(),
            descendants_since,
            lines: sink.and_then(|sink| LineFeed::new(id, pid, sink.clone())),
            stderr,
            membership,
        };
        // Order: the custodian has the child before there is a handle that could ask for its end.
        self.custodian.post(Message::Adopt(Box::new(new_child)));
        let pipes = PipeEnds {
            stdin,
            unwritten: Vec::new(),
            stdout,
        };
        let child = Child::new(record, root, pipes, Arc::clone(&self.custodian));
        match roster_state {
            RosterState::Open => Ok(child),
            // The child is dropped, which ends it.
            RosterState::Closed => Err(SpawnError::Closed),
        }
    }
}

fn new_record(command: &Command, id: ChildId, pid: u32) -> ChildRecord {
    let limits = match command.stderr_policy() {
        StderrPolicy::Ring(limits) => *limits,
        StderrPolicy::Inherit | StderrPolicy::Null => RingLimits {
            bytes_max: 0,
            lines_max: 0,
        },
    };
    ChildRecord {
        id,
        pid,
        killed_at_once: (command.times().force_grace.is_zero()).then(|| command.scope()),
        pid_state: Mutex::new(PidState::Held),
        stderr: Mutex::new(Ring::new(limits)),
        exit: Once::new(),
        termination: Once::new(),
    }
}

/// A child that nothing else knows yet. Dropping it kills and reaps it.
struct SpawnGuard {
    spawned: Option<Spawned>,
}

impl SpawnGuard {
    fn start(
        command: &Command,
        marked_as: Option<ChildId>,
        chance: &RandomState,
    ) -> Result<Self, SpawnError> {
        let mut standard = command.to_std(marked_as);
        let spawned = retry_briefly(chance, sys::pause, || {
            let stderr = match command.stderr_policy() {
                StderrPolicy::Ring(_) => Stdio::piped(),
                StderrPolicy::Inherit => Stdio::inherit(),
                StderrPolicy::Null => Stdio::null(),
            };
            sys::spawn(&mut standard, stderr)
        });
        match spawned {
            Ok(spawned) => Ok(Self {
                spawned: Some(spawned),
            }),
            Err(failure) => {
                let Failure { error, attempts } = failure;
                Err(SpawnError::from_system(command, error, attempts))
            }
        }
    }

    fn pid(&self) -> u32 {
        self.spawned.as_ref().map_or(0, |spawned| spawned.pid)
    }

    fn unblock(&self) -> io::Result<()> {
        self.spawned.as_ref().map_or(Ok(()), Spawned::unblock)
    }

    fn release(mut self) -> Spawned {
        self.spawned
            .take()
            .expect("it is there until the guard is consumed")
    }
}

impl Drop for SpawnGuard {
    fn drop(&mut self) {
        if let Some(spawned) = &self.spawned {
            spawned.abandon();
        }
    }
}

/// What a system call said last, and how often it was made.
#[derive(Debug)]
struct Failure {
    error: io::Error,
    attempts: u32,
}

/// Retries, for about 30 ms, what may be over in a moment: another thread's fork still has the
/// program file open for writing, or the system has no process to give.
fn retry_briefly<T>(
    chance: &RandomState,
    pause: impl Fn(Duration),
    mut attempt: impl FnMut() -> io::Result<T>,
) -> Result<T, Failure> {
    let mut attempts = 1;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let kind = sys::os_error_kind(&error);
        let is_brief = matches!(kind, OsErrorKind::Busy | OsErrorKind::ProcessLimit);
        if !is_brief || attempts == ATTEMPTS_MAX {
            return Err(Failure { error, attempts });
        }
        let step = 1000 << (attempts - 1);
        let jitter = chance.hash_one(attempts) % step;
        pause(Duration::from_micros(step / 2 + jitter / 2));
        attempts += 1;
    }
}

/// How many children may wait to be started.
const QUEUE_MAX: usize = 1024;
/// With pauses of 1, 2, 4, 8 and 16 ms at most in between.
const ATTEMPTS_MAX: u32 = 6;

#[cfg(test)]
mod tests;
