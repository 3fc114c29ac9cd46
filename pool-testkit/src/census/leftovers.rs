//! What is there when a test begins, and what is there more when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use pool_stdio::CommandSpec;
use tokio::runtime::{self, Handle};

use super::processes::{self, MARK_VARIABLE, Process};

/// What was there when a test began.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, Stop};
/// use pool_testkit::census::Census;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// let census = Census::begin();
/// runtime.block_on(async {
///     let command = census.mark(CommandSpec::new("cat")).build()?;
///     let child = command.spawn().await?;
///     assert_eq!(census.processes().len(), 1);
///
///     child.terminate(Stop::Orderly).await;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// census.assert_clean();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Census {
    mark: String,
    children: BTreeSet<u32>,
    descriptors: BTreeMap<i32, String>,
    threads: BTreeSet<u32>,
    /// Runtimes, and how many tasks each had.
    runtimes: Vec<(Handle, usize)>,
    /// Last, so that the next census begins when this one has cleaned up.
    _one_at_a_time: MutexGuard<'static, ()>,
}

/// Something that a test left behind. `Display` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// A living process that carries the mark.
    Process(Process),
    /// A child of this process that was not reaped, dead or alive.
    Child(Process),
    /// An open descriptor.
    Descriptor {
        /// Its number.
        number: i32,
        /// What it refers to, as `/proc/self/fd` shows it.
        target: String,
    },
    /// A thread of a runtime or of the process layer.
    Thread {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
    },
    /// Tasks of a runtime that is [watched](Census::watch_tasks).
    Tasks {
        /// How many more there are than when the watch began.
        count: usize,
    },
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(process) => write!(f, "process {process}"),
            Self::Child(process) => write!(f, "child {process}, not reaped"),
            Self::Descriptor { number, target } => write!(f, "descriptor {number} -> {target}"),
            Self::Thread { id, name } => write!(f, "thread {id} {name:?}"),
            Self::Tasks { count } => write!(f, "{count} tasks of a runtime"),
        }
    }
}

impl Census {
    /// Starts to count. Blocks until any other census of this process has ended.
    ///
    /// # Panics
    ///
    /// If the process layer cannot start its threads.
    #[must_use]
    pub fn begin() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        pool_stdio::prepare().expect("threads for the process layer can be started");
        FIRST_RUNTIME.call_once(make_a_runtime);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            mark: format!("{}-{number}", std::process::id()),
            children: processes::children()
                .into_iter()
                .map(|child| child.pid)
                .collect(),
            descriptors: descriptors(),
            threads: threads().into_keys().collect(),
            runtimes: Vec::new(),
            _one_at_a_time: one_at_a_time,
        }
    }

    /// Marks a command, so that its child and all descendants of it are counted.
    #[must_use]
    pub fn mark(&self, spec: CommandSpec) -> CommandSpec {
        spec.env(MARK_VARIABLE, &self.mark)
    }

    /// Counts the tasks of a runtime from now on.
    ///
    /// The census keeps a handle of the runtime, and with it the runtime's descriptors, until it
    /// ends. So make the runtime before the census. One that only the test uses need not be watched:
    /// drop it before you ask the census, and its threads and descriptors show whether it has gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_testkit::census::{Census, Leftover};
    ///
    /// # let mut builder = tokio::runtime::Builder::new_current_thread();
    /// # let runtime = builder.build().unwrap();
    /// let mut census = Census::begin();
    /// census.watch_tasks(runtime.handle());
    /// let task = runtime.spawn(std::future::pending::<()>());
    /// assert_eq!(census.leftovers(), [Leftover::Tasks { count: 1 }]);
    ///
    /// task.abort();
    /// runtime.block_on(async { task.await.unwrap_err() });
    /// census.assert_clean();
    /// ```
    pub fn watch_tasks(&mut self, runtime: &Handle) {
        let tasks = runtime.metrics().num_alive_tasks();
        self.runtimes.push((runtime.clone(), tasks));
    }

    /// The living processes that carry the [mark](Self::mark).
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        processes::marked(&self.mark)
    }

    /// What is there now and was not there when the census began.
    #[must_use]
    pub fn leftovers(&self) -> Vec<Leftover> {
        let processes = self.processes().into_iter().map(Leftover::Process);
        let children = processes::children()
            .into_iter()
            .filter(|child| !self.children.contains(&child.pid))
            .map(Leftover::Child);
        let descriptors = descriptors()
            .into_iter()
            .filter(|(number, target)| self.descriptors.get(number) != Some(target))
            .map(|(number, target)| Leftover::Descriptor { number, target });
        processes
            .chain(children)
            .chain(descriptors)
            .chain(self.new_threads())
            .chain(self.new_tasks())
            .collect()
    }

    /// New threads of a runtime or of the process layer. Each permanent thread of the process layer
    /// is excused once. Threads of other names are not counted: the test harness may have started
    /// them.
    fn new_threads(&self) -> Vec<Leftover> {
        let mut known = BTreeSet::new();
        threads()
            .into_iter()
            .filter(|(id, _)| !self.threads.contains(id))
            .filter(|(_, name)| {
                let is_permanent = PERMANENT_THREADS.contains(&name.as_str());
                let is_counted = COUNTED_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
                is_counted && !(is_permanent && known.insert(name.clone()))
            })
            .map(|(id, name)| Leftover::Thread { id, name })
            .collect()
    }

    fn new_tasks(&self) -> impl Iterator<Item = Leftover> {
        let more = self.runtimes.iter().map(|(runtime, before)| {
            let now = runtime.metrics().num_alive_tasks();
            now.saturating_sub(*before)
        });
        more.filter(|count| *count > 0)
            .map(|count| Leftover::Tasks { count })
    }

    /// Checks that nothing was left behind.
    ///
    /// # Panics
    ///
    /// If something was, with a list of it.
    #[track_caller]
    pub fn assert_clean(&self) {
        let leftovers = self.leftovers();
        let list: Vec<String> = leftovers.iter().map(ToString::to_string).collect();
        assert!(
            leftovers.is_empty(),
            "left behind:\n  {}",
            list.join("\n  ")
        );
    }
}

impl Drop for Census {
    /// Kills what a failed test left running.
    fn drop(&mut self) {
        for process in self.processes() {
            process.kill();
        }
    }
}

/// A runtime is made before the first count: the first one of a process opens sockets for signals,
/// which stay open for all later ones.
static FIRST_RUNTIME: Once = Once::new();

/// On a thread of its own, because this one may be inside a runtime, where no other runtime may be
/// dropped.
fn make_a_runtime() {
    let made = thread::spawn(|| drop(runtime::Builder::new_current_thread().enable_all().build()));
    made.join()
        .expect("neither `build` nor the drop of a runtime panics here");
}

fn descriptors() -> BTreeMap<i32, String> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return BTreeMap::new();
    };
    let open: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    // The directory itself was open while it was read. It is closed now, so it has no target.
    open.into_iter()
        .filter_map(|path| {
            let target = fs::read_link(&path).ok()?.display().to_string();
            Some((path.file_name()?.to_str()?.parse().ok()?, target))
        })
        .collect()
}

fn threads() -> BTreeMap<u32, String> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let id = entry.file_name().to_str()?.parse().ok()?;
            Some((id, name.trim_end().to_owned()))
        })
        .collect()
}

/// What the process layer starts at its first use and keeps.
const PERMANENT_THREADS: [&str; 8] = [
    "stdio-spawner-1",
    "stdio-spawner-2",
    "stdio-spawner-3",
    "stdio-spawner-4",
    "stdio-custodian",
    "stdio-scan",
    "stdio-notifier",
    "stdio-lines",
];
const COUNTED_PREFIXES: [&str; 2] = ["stdio-", "tokio-"];
