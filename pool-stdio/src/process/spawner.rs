//! The thread that starts children, so that starting one never blocks anybody else: it takes
//! 0.1 ms when all is well, and as long as a file system hangs when it is not.
//!
//! A child is in a guard from the moment it exists: any failure or cancellation after that kills
//! and reaps it.
//!
//! Children inherit the signal mask of this thread, which is that of the thread that started the
//! first child. A program that blocks signals in all its threads, to wait for them, should start
//! its first child before it does.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::BuildHasher;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::process::child::Child;
use crate::process::children::{Admission, Opening};
use crate::process::command::{Command, DESCRIPTORS_PER_CHILD, open_text};
use crate::process::custodian::{Custodian, Message, WardId};
use crate::process::line_feed::LineFeed;
use crate::process::once::{Once, Wait, lock};
use crate::process::stderr::{Ring, RingLimits, StderrPolicy};
use crate::process::sys::{self, Number, Root, Spawned, Trouble};
use crate::process::terminate::KillScope;
use crate::process::ward::{Pipes, Record, Ward};

type Outcome = Result<Child, SpawnError>;

/// The future of [`Command::spawn`].
///
/// # Examples
///
/// See [`Command::spawn`].
#[derive(Debug)]
#[must_use = "a child whose future is dropped is killed"]
pub struct Spawning {
    wait: Wait<Outcome>,
}

impl Command {
    /// Starts a child, in a process group of its own, on a thread that may block.
    ///
    /// The future needs no runtime.
    ///
    /// # Errors
    ///
    /// The future fails with a [`SpawnError`], which says whether a later attempt
    /// [may succeed](SpawnError::is_transient).
    ///
    /// # Cancel safety
    ///
    /// A child that was started for a future that is gone is killed and reaped.
    ///
    /// # Examples
    ///
    /// See [`Child`].
    pub fn spawn(&self) -> Spawning {
        Spawning::begin(self, None)
    }
}

impl Spawning {
    pub(crate) fn begin(command: &Command, opening: Option<Opening>) -> Self {
        let outcome = Once::new();
        let wanted = Arc::downgrade(&outcome);
        let posted = Spawner::get().and_then(|queue| {
            let request = Request {
                command: command.clone(),
                opening,
                wanted,
            };
            queue.try_send(request).map_err(|refused| match refused {
                TrySendError::Full(_) => SpawnError::QueueFull { limit: QUEUE_MAX },
                TrySendError::Disconnected(_) => SpawnError::Threads {
                    source: io::Error::other("the spawning thread has gone"),
                },
            })
        });
        if let Err(error) = posted {
            outcome.set(Err(error));
        }
        Self {
            wait: Wait::new(outcome),
        }
    }

    pub(crate) fn failed(error: SpawnError) -> Self {
        let outcome = Once::new();
        outcome.set(Err(error));
        Self {
            wait: Wait::new(outcome),
        }
    }
}

impl Future for Spawning {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.wait.poll_with(cx, Option::take)
    }
}

/// Starts the permanent threads of this crate now, rather than with the first child: one that
/// starts children and one that watches them, which together hold two descriptors. A third, which
/// looks for escaped or surviving processes, and a fourth, which tells lines of stderr, are started
/// when they are first needed.
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
    requests: Receiver<Request>,
    custodian: Arc<Custodian>,
}

struct Request {
    command: Command,
    opening: Option<Opening>,
    wanted: Weak<Once<Outcome>>,
}

impl Spawner {
    /// The one of this process, started when it is first wanted. It never ends, so that a child
    /// which asked for a signal at its parent thread's death does not get it.
    fn get() -> Result<SyncSender<Request>, SpawnError> {
        static QUEUE: Mutex<Option<SyncSender<Request>>> = Mutex::new(None);
        let mut queue = lock(&QUEUE);
        if let Some(queue) = &*queue {
            return Ok(queue.clone());
        }
        let threads = |source| SpawnError::Threads { source };
        let custodian = Custodian::get().map_err(threads)?;
        let (sender, requests) = sync_channel(QUEUE_MAX);
        let spawner = Self {
            requests,
            custodian,
        };
        let thread = thread::Builder::new().name("stdio-spawner".into());
        thread.spawn(move || spawner.run()).map_err(threads)?;
        Ok(queue.insert(sender).clone())
    }

    fn run(self) {
        let chance = RandomState::new();
        for Request {
            command,
            opening,
            wanted,
        } in &self.requests
        {
            if wanted.strong_count() == 0 {
                continue;
            }
            let outcome = self.start(&command, opening, &chance);
            if let Some(wanted) = wanted.upgrade() {
                wanted.set(outcome);
            }
            // Otherwise the child is dropped, which ends it.
        }
    }

    fn start(&self, command: &Command, opening: Option<Opening>, chance: &RandomState) -> Outcome {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = WardId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let cookie = (command.scope() == KillScope::Tree).then(|| cookie(id, chance));
        let newborn = Newborn::start(command, cookie.as_ref(), chance)?;
        let root = Root::adopt(newborn.pid()).map_err(|error| spawn_error(command, error, 1))?;
        newborn
            .unblock()
            .map_err(|error| spawn_error(command, error, 1))?;
        let Spawned {
            pid,
            stdin,
            stdout,
            stderr,
        } = newborn.grow_up();

        let limits = match command.stderr_policy() {
            StderrPolicy::Ring(limits) => *limits,
            StderrPolicy::Inherit | StderrPolicy::Null => RingLimits {
                bytes_max: 0,
                lines_max: 0,
            },
        };
        let record = Arc::new(Record {
            id,
            pid,
            killed_at_once: (command.times().force_grace.is_zero()).then(|| command.scope()),
            number: Mutex::new(Number::Held),
            stderr: Mutex::new(Ring::new(limits)),
            exit: Once::new(),
            termination: Once::new(),
        });
        let root = Arc::new(root);
        let (membership, admission) = match opening.map(|opening| opening.admit(&record, &root)) {
            Some((membership, admission)) => (Some(membership), admission),
            None => (None, Admission::Granted),
        };
        let lines = command.line_sink().filter(|_| stderr.is_some());
        let ward = Ward {
            record: Arc::clone(&record),
            root: Arc::clone(&root),
            scope: command.scope(),
            times: command.times(),
            cookie,
            lines: lines.and_then(|sink| LineFeed::new(pid, sink.clone())),
            stderr,
            membership,
            exit: None,
            stopping: None,
        };
        // Order: in care before there is a handle that could ask for its end.
        self.custodian.post(Message::Adopt(Box::new(ward)));
        let pipes = Pipes {
            stdin,
            unwritten: Vec::new(),
            stdout,
        };
        let child = Child::new(record, root, pipes, Arc::clone(&self.custodian));
        match admission {
            Admission::Granted => Ok(child),
            Admission::Refused => Err(SpawnError::Closed),
        }
    }
}

/// A child that nobody knows yet. Dropping it kills and reaps it.
struct Newborn {
    spawned: Option<Spawned>,
}

impl Newborn {
    fn start(
        command: &Command,
        cookie: Option<&OsString>,
        chance: &RandomState,
    ) -> Result<Self, SpawnError> {
        let mut standard = command.to_std(cookie.map(OsString::as_os_str));
        let spawned = persist(chance, sys::pause, || {
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
            Err((error, attempts)) => Err(spawn_error(command, error, attempts)),
        }
    }

    fn pid(&self) -> u32 {
        self.spawned.as_ref().map_or(0, |spawned| spawned.pid)
    }

    fn unblock(&self) -> io::Result<()> {
        self.spawned.as_ref().map_or(Ok(()), Spawned::unblock)
    }

    fn grow_up(mut self) -> Spawned {
        self.spawned.take().expect("a newborn is taken once")
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if let Some(spawned) = &self.spawned {
            spawned.abandon();
        }
    }
}

/// Tries again, for about 30 ms, what may be over in a moment: the program is still being written by
/// somebody's fork, or the system has no process to give. A failure tells how often it was tried.
fn persist<T>(
    chance: &RandomState,
    pause: impl Fn(Duration),
    mut attempt: impl FnMut() -> io::Result<T>,
) -> Result<T, (io::Error, u32)> {
    let mut attempts = 1;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let is_brief = matches!(sys::trouble(&error), Trouble::Busy | Trouble::ProcessLimit);
        if !is_brief || attempts == ATTEMPTS_MAX {
            return Err((error, attempts));
        }
        let step = 1000 << (attempts - 1);
        let jitter = chance.hash_one(attempts) % step;
        pause(Duration::from_micros(step / 2 + jitter / 2));
        attempts += 1;
    }
}

/// What marks the descendants of one child, and nobody else's.
fn cookie(id: WardId, chance: &RandomState) -> OsString {
    let random = RandomState::new().hash_one((id.0, chance.hash_one(id.0)));
    format!("{}-{}-{random:016x}", std::process::id(), id.0).into()
}

fn spawn_error(command: &Command, source: io::Error, attempts: u32) -> SpawnError {
    let program = command.path().display().to_string();
    let open = sys::descriptors_open();
    match sys::trouble(&source) {
        Trouble::Busy => SpawnError::Busy {
            program,
            attempts,
            source,
        },
        Trouble::ProcessLimit => SpawnError::ProcessLimit {
            attempts,
            limit: sys::process_limit(),
            source,
        },
        Trouble::ProcessDescriptors => SpawnError::Descriptors {
            whose: "process",
            needed: DESCRIPTORS_PER_CHILD,
            open,
            limit: sys::descriptor_limit(),
            source,
        },
        Trouble::SystemDescriptors => SpawnError::Descriptors {
            whose: "system",
            needed: DESCRIPTORS_PER_CHILD,
            open,
            limit: None,
            source,
        },
        Trouble::Memory => SpawnError::Memory {
            resident_bytes: sys::resident_bytes(),
            source,
        },
        Trouble::NotFound => SpawnError::NotFound { program, source },
        Trouble::NotExecutable => SpawnError::NotExecutable { program, source },
        Trouble::ArgumentsTooLong => SpawnError::ArgumentsTooLong { program, source },
        Trouble::Other => SpawnError::Other { program, source },
    }
}

/// Why a child was not started. Nothing is left of the attempt.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, SpawnError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let arguments = std::iter::repeat_n("a word", 1_000_000);
/// let command = CommandSpec::new("echo").args(arguments).build()?;
/// let error = command.spawn().await.unwrap_err();
/// assert!(matches!(error, SpawnError::ArgumentsTooLong { .. }));
/// assert!(!error.is_transient(), "they will not be shorter the next time");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program file was being written in each attempt.
    #[error("program {program} is being written, seen in {attempts} attempts")]
    Busy {
        /// The file.
        program: String,
        /// How often it was tried.
        attempts: u32,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no process to give in any attempt.
    #[error("no process to be had in {attempts} attempts{}", limit_text(*.limit))]
    ProcessLimit {
        /// How often it was tried.
        attempts: u32,
        /// This user's limit (`RLIMIT_NPROC`), if there is one.
        limit: Option<u64>,
        /// What the system says.
        source: io::Error,
    },
    /// Descriptors have run out.
    #[error(
        "the {whose} has too few descriptors for the {needed} of a child{}{}{}",
        open_text(*.open), limit_text(*.limit), limit.map_or("", |_| RAISE)
    )]
    Descriptors {
        /// The process or the system.
        whose: &'static str,
        /// What a child needs.
        needed: u64,
        /// How many this process has open, where the system tells.
        open: Option<u64>,
        /// How many this process may have, if that limit is the one that was met.
        limit: Option<u64>,
        /// What the system says.
        source: io::Error,
    },
    /// Memory has run out.
    #[error("no memory to start a child{}", resident_text(*.resident_bytes))]
    Memory {
        /// How much this program has resident, where the system tells.
        resident_bytes: Option<u64>,
        /// What the system says.
        source: io::Error,
    },
    /// The program, or the interpreter that its first line names, is not there (any more).
    #[error("program {program} or its interpreter not found")]
    NotFound {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The program may not be executed, or is no program.
    #[error("program {program} cannot be executed")]
    NotExecutable {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Arguments and environment together are longer than the system takes.
    #[error("arguments and environment of {program} are too long")]
    ArgumentsTooLong {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Something else.
    #[error("program {program} could not be started")]
    Other {
        /// The file.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Too many children wait to be started.
    #[error("{limit} children wait to be started")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The threads that start and watch children could not be started.
    #[error("no thread to be had for starting and watching children")]
    Threads {
        /// What the system says.
        source: io::Error,
    },
    /// [`Children::terminate_all`](crate::Children::terminate_all) was called.
    #[error("the set of children is closed")]
    Closed,
}

impl SpawnError {
    /// Whether the same attempt may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::ProcessLimit { .. }
            | Self::Descriptors { .. }
            | Self::Memory { .. }
            | Self::QueueFull { .. }
            | Self::Threads { .. } => true,
            Self::NotFound { .. }
            | Self::NotExecutable { .. }
            | Self::ArgumentsTooLong { .. }
            | Self::Other { .. }
            | Self::Closed => false,
        }
    }
}

const RAISE: &str = "; raise it with `ulimit -n`, or lower the pool's max_size";

fn limit_text(limit: Option<u64>) -> String {
    limit
        .map(|limit| format!(", the limit is {limit}"))
        .unwrap_or_default()
}

fn resident_text(bytes: Option<u64>) -> String {
    bytes
        .map(|bytes| format!(", {} MiB of this program are resident", bytes >> 20))
        .unwrap_or_default()
}

/// How many children may wait to be started.
const QUEUE_MAX: usize = 1024;
/// With pauses of 1, 2, 4, 8 and 16 ms at most in between.
const ATTEMPTS_MAX: u32 = 6;

#[cfg(test)]
mod tests;
