//! The threads that start children, so that no other thread waits for a start: that takes 0.1 ms when
//! all is well, and as long as a file system hangs when it is not.

use std::collections::hash_map::RandomState;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::cgroup::{Cgroup, NewCgroup};
use super::child::Child;
use super::command::{Command, Guarding};
use super::cookie::Mark;
use super::custodian::{Alarm, AlarmKind, Custodian, Message};
use super::guardian::{self, GuardedStart, Started};
use super::line_feed::LineFeed;
use super::lock::lock;
use super::once::{Once, Take};
use super::outcome::Exit;
use super::record::{ChildId, ChildRecord, PipeEnds};
use super::roster::{Reservation, RosterState};
use super::spawn_attempt::SpawnGuard;
use super::spawn_error::SpawnError;
use super::spawn_queue::{Pushed, STALL_AFTER, SpawnQueue, THREADS_MAX, WAITING_MAX};
use super::stderr::{Ring, RingLimits, StderrPolicy};
use super::sys::{self, Life, PidState, Spawned};
use super::terminate::KillScope;
use super::ward::NewChild;
use super::{host, notifier, service};

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
    if let Err(error) = post(request) {
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

/// Starts what all children share now, rather than with the first child: three threads, which start
/// children, watch them, and wake the tasks that wait for them; and the guardian. Together they hold
/// four descriptors. Others start when they are first needed: up to three more threads that start
/// children, one that looks for processes that left their group or outlive their root, and one that
/// passes on lines of stderr.
///
/// # The guardian
///
/// The guardian is a small process that ends the children when this program has gone, however it went:
/// killed, crashed, or returned from `main`. They have [a grace](crate::set_host_death_grace) to act on
/// the end of their input. It is a shell script, or this program itself if its `main` calls
/// [`guard_main`](crate::guard_main) first. If there is neither a shell nor such a call, a warning is
/// logged, and [`health`](crate::health) says so. A child is not guarded if its command is
/// [`unguarded`](crate::CommandSpec::unguarded).
///
/// The guardian has the rights that this program has when it is started. After giving up rights, call
/// this again: it replaces a guardian that has more.
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
    let custodian = custodian()?;
    {
        let mut queue = lock(&SPAWNERS.queue);
        if queue.threads() == 0 {
            start_thread(&mut queue, &custodian)?;
        }
    }
    // By a thread that stays, so that the guardian is its child.
    let (done, is_done) = sync_channel(1);
    post_guardian(&custodian, Some(done));
    // If it takes long, the first child does not wait for it either.
    let (Ok(()) | Err(_)) = is_done.recv_timeout(Duration::from_secs(1));
    Ok(())
}

fn ensure_guardian(custodian: &Custodian) {
    match guardian::ensure() {
        Started::Guardian(root) => custodian.post(Message::Guard(root)),
        Started::No => {}
        Started::Later(at) => replace_guardian_at(custodian, at),
    }
}

fn replace_guardian_at(custodian: &Custodian, at: Instant) {
    custodian.post(Message::Alarm(Alarm {
        at,
        ring: |_| {
            replace_guardian();
            None
        },
        kind: AlarmKind::Guardian,
    }));
}

fn flush_guardian_at(at: Instant) {
    if let Ok(custodian) = Custodian::get() {
        custodian.post(Message::Alarm(Alarm {
            at,
            ring: guardian::flush,
            kind: AlarmKind::GuardianPipe,
        }));
    }
}

/// Has a guardian started by a thread that may block.
fn replace_guardian() {
    if let Ok(custodian) = Custodian::get() {
        post_guardian(&custodian, None);
    }
}

fn post_guardian(custodian: &Arc<Custodian>, done: Option<SyncSender<()>>) {
    let mut queue = lock(&SPAWNERS.queue);
    match queue.push(Path::new(GUARDIAN), Job::Guardian { done }) {
        Ok(Pushed::StartThread) => drop(start_thread(&mut queue, custodian)),
        Ok(Pushed::Wake | Pushed::Wait) => SPAWNERS.posted.notify_one(),
        Err(_) => replace_guardian_at(custodian, sys::clock_now() + STALL_AFTER),
    }
}

/// The threads and what they share. They never end, so that a child that asked for a signal at its
/// parent thread's death does not get it.
struct Spawners {
    queue: Mutex<SpawnQueue<Job>>,
    posted: Condvar,
}

enum Job {
    Spawn(SpawnRequest),
    /// There is none, or none any more.
    Guardian {
        done: Option<SyncSender<()>>,
    },
}

struct SpawnRequest {
    command: Command,
    reservation: Option<Reservation>,
    /// Dead once the future was dropped.
    wanted: Weak<Once<SpawnResult>>,
}

/// Starts the threads that are needed before the first child.
fn custodian() -> Result<Arc<Custodian>, SpawnError> {
    // Order: asked first. In a fork a lock of the other process may be held for ever.
    if host::is_fork() {
        return Err(SpawnError::Forked);
    }
    host::claim();
    guardian::set_hooks(guardian::Hooks {
        replace: replace_guardian,
        flush_at: flush_guardian_at,
    });
    Custodian::get().map_err(|source| SpawnError::Threads { source })
}

fn post(request: SpawnRequest) -> Result<(), SpawnError> {
    let custodian = custodian()?;
    let program = request.command.path().to_owned();
    let mut queue = lock(&SPAWNERS.queue);
    match queue.push(&program, Job::Spawn(request)) {
        Ok(Pushed::Wake) => SPAWNERS.posted.notify_one(),
        Ok(Pushed::StartThread) => {
            let started = start_thread(&mut queue, &custodian);
            // With one thread at least it will be its turn.
            if queue.threads() == 0 {
                return started;
            }
        }
        Ok(Pushed::Wait) => {
            drop(queue);
            watch_stalled(&custodian);
        }
        Err(refused) => {
            drop(queue);
            drop(refused);
            return Err(SpawnError::QueueFull { limit: WAITING_MAX });
        }
    }
    Ok(())
}

fn start_thread(queue: &mut SpawnQueue<Job>, custodian: &Arc<Custodian>) -> Result<(), SpawnError> {
    let mut spawner = Spawner {
        custodian: Arc::clone(custodian),
        chance: RandomState::new(),
    };
    let name = THREAD_NAMES[queue.threads().min(THREADS_MAX - 1)];
    queue.add_thread();
    service::start(name, move || spawner.run()).map_err(|source| {
        queue.remove_thread();
        SpawnError::Threads { source }
    })
}

/// Sees to it that those that wait are answered when they have waited too long.
fn watch_stalled(custodian: &Custodian) {
    if let Some(at) = refuse_stalled(sys::clock_now()) {
        custodian.post(Message::Alarm(Alarm {
            at,
            ring: refuse_stalled,
            kind: AlarmKind::StalledStarts,
        }));
    }
}

/// Answers those that wait for starts that hang. Returns when to look again.
fn refuse_stalled(now: Instant) -> Option<Instant> {
    let stalled = lock(&SPAWNERS.queue).take_stalled(now);
    let programs = stalled.programs.iter();
    let programs: Vec<String> = programs
        .map(|program| program.display().to_string())
        .collect();
    for job in stalled.requests {
        let Job::Spawn(SpawnRequest {
            command, wanted, ..
        }) = job
        else {
            if let Ok(custodian) = Custodian::get() {
                replace_guardian_at(&custodian, now + STALL_AFTER);
            }
            continue;
        };
        if let Some(wanted) = wanted.upgrade() {
            wanted.publish(Err(SpawnError::Stalled {
                limit: STALL_AFTER,
                programs: programs.clone(),
            }));
        }
        notifier::drop_there(command);
    }
    stalled.next_check
}

/// One of the threads.
struct Spawner {
    custodian: Arc<Custodian>,
    chance: RandomState,
}

impl Spawner {
    fn run(&mut self) {
        sys::block_signals();
        loop {
            let (command, reservation, wanted) = match self.next() {
                Job::Spawn(request) => (request.command, request.reservation, request.wanted),
                Job::Guardian { done } => {
                    ensure_guardian(&self.custodian);
                    if let Some(done) = done {
                        // Whoever asked may have gone.
                        let (Ok(()) | Err(_)) = done.try_send(());
                    }
                    lock(&SPAWNERS.queue).finish(Path::new(GUARDIAN));
                    continue;
                }
            };
            let _busy = BusyWith { command: &command };
            if wanted.strong_count() > 0 {
                let result = self.start(&command, reservation);
                if let Some(wanted) = wanted.upgrade() {
                    wanted.publish(result);
                }
                // Otherwise the child is dropped, which ends it.
            }
        }
    }

    fn next(&self) -> Job {
        let mut queue = lock(&SPAWNERS.queue);
        loop {
            let next = queue.take(sys::clock_now());
            // What is left may have to wait for this thread, or for others.
            if !queue.is_empty() {
                drop(queue);
                watch_stalled(&self.custodian);
                queue = lock(&SPAWNERS.queue);
            }
            if let Some(request) = next {
                return request;
            }
            let posted = SPAWNERS
                .posted
                .wait_while(queue, |queue| !queue.has_startable());
            queue = posted.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn start(&self, command: &Command, reservation: Option<Reservation>) -> SpawnResult {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = ChildId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let scope = command.scope();
        let descendants_since = (scope == KillScope::Tree).then(sys::clock_ticks);
        let mut guarded = (command.guarding() == Guarding::Guarded).then(|| {
            ensure_guardian(&self.custodian);
            GuardedStart::begin(id)
        });
        let mark = mark_of(command, id);
        // Order: it is dropped after the child, if the start fails: only an empty one can be removed.
        let cgroup = make_cgroup(command, id, guarded.as_mut())?;
        let guard = SpawnGuard::start(command, mark, cgroup.as_ref(), &self.chance)?;
        let failed = |error| SpawnError::from_system(command, error, 1);
        let root = guard.adopt_root().map_err(failed)?;
        // Other code of this program may reap any child.
        let pid_state = match root.life() {
            Ok(Life::Over(Exit::Lost)) => PidState::Released,
            Ok(_) | Err(_) => PidState::Held,
        };
        let root = Arc::new(root);
        guard.unblock().map_err(failed)?;
        let Spawned {
            pid,
            stdin,
            stdout,
            stderr,
            ..
        } = guard.release();
        // Either the custodian reads it, or whoever has the handle.
        let (stderr, handed_out) = match command.stderr_policy() {
            StderrPolicy::Pipe => (None, stderr),
            StderrPolicy::Ring { .. } | StderrPolicy::Inherit | StderrPolicy::Null => {
                (stderr, None)
            }
        };

        if let Some(guarded) = guarded {
            guarded.succeed(scope, pid, pid_state);
        }
        let cgroup = cgroup.map(NewCgroup::keep).map(Arc::new);
        let record = Arc::new(new_record(command, id, (pid, pid_state), cgroup));
        let admission = reservation.map(|reservation| reservation.admit(&record, &root));
        let (membership, roster_state) = match admission {
            Some(admission) => (Some(admission.membership), admission.roster_state),
            None => (None, RosterState::Open),
        };
        let sink = command.line_sink().filter(|_| stderr.is_some());
        let new_child = NewChild {
            record: Arc::clone(&record),
            root: Arc::clone(&root),
            scope,
            guarding: command.guarding(),
            times: command.times(),
            descendants_since,
            lines: sink.and_then(|sink| LineFeed::new(id, pid, sink.clone())),
            stderr,
            membership,
        };
        // Order: the custodian has the child before there is a handle that could ask for its end.
        self.custodian.post(Message::Adopt(Box::new(new_child)));
        let pipes = PipeEnds {
            stdin: Some(stdin),
            unwritten: Vec::new(),
            stdout,
            stderr: handed_out,
        };
        let child = Child::new(record, root, pipes, Arc::clone(&self.custodian));
        match roster_state {
            RosterState::Open => Ok(child),
            // The child is dropped, which ends it.
            RosterState::Closed => Err(SpawnError::Closed),
        }
    }
}

/// A thread that is at work for this command, until this is dropped.
struct BusyWith<'a> {
    command: &'a Command,
}

impl Drop for BusyWith<'_> {
    fn drop(&mut self) {
        // It may hold the last sink of its kind, with a user's values in it.
        notifier::drop_there(self.command.clone());
        lock(&SPAWNERS.queue).finish(self.command.path());
        // One of the same program may have waited for this.
        SPAWNERS.posted.notify_one();
    }
}

/// What the child is to carry. A termination finds a tree by it, the guardian whatever it is to end.
fn mark_of(command: &Command, child: ChildId) -> Option<Mark> {
    let scope = command.scope();
    let is_guarded = command.guarding() == Guarding::Guarded;
    let is_marked = is_guarded || scope == KillScope::Tree;
    is_marked.then_some(Mark {
        child,
        scope,
        is_guarded,
    })
}

fn make_cgroup(
    command: &Command,
    id: ChildId,
    guarded: Option<&mut GuardedStart>,
) -> Result<Option<NewCgroup>, SpawnError> {
    let Some(spec) = command.cgroup() else {
        return Ok(None);
    };
    let path = spec.path_of(id);
    if let Some(guarded) = guarded {
        // Order: told before it is made, so that it is never left behind.
        guarded.cgroup_made(&path);
    }
    let made = spec.make(path).map_err(|problem| SpawnError::Cgroup {
        path: spec.directory.display().to_string(),
        problem,
    });
    made.map(Some)
}

fn new_record(
    command: &Command,
    id: ChildId,
    (pid, pid_state): (u32, PidState),
    cgroup: Option<Arc<Cgroup>>,
) -> ChildRecord {
    let limits = match command.stderr_policy() {
        StderrPolicy::Ring {
            bytes_max,
            lines_max,
        } => RingLimits {
            bytes_max: *bytes_max,
            lines_max: *lines_max,
        },
        StderrPolicy::Pipe | StderrPolicy::Inherit | StderrPolicy::Null => RingLimits {
            bytes_max: 0,
            lines_max: 0,
        },
    };
    ChildRecord {
        id,
        pid,
        scope: command.scope(),
        cgroup,
        kill_cause: OnceLock::new(),
        is_killed_at_once: command.times().force_grace.is_zero(),
        pid_state: Mutex::new(pid_state),
        stderr: Mutex::new(Ring::new(limits)),
        exit: Once::new(),
        termination: Once::new(),
    }
}

static SPAWNERS: Spawners = Spawners {
    queue: Mutex::new(SpawnQueue::new()),
    posted: Condvar::new(),
};
/// In place of a program.
const GUARDIAN: &str = "a guardian";
const THREAD_NAMES: [&str; THREADS_MAX] = [
    "stdio-spawner-1",
    "stdio-spawner-2",
    "stdio-spawner-3",
    "stdio-spawner-4",
];
