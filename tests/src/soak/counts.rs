//! What this process has now, and whether it has the same later.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::time::Duration;

use pool_testkit::census::Census;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// The counts of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Living processes that carry the mark of the census, anywhere in the tree.
    pub processes: usize,
    /// Its own children, zombies too.
    pub children: usize,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads of a runtime, and those of the process layer that have the name of another one. It starts
    /// one thread of each name, when it is first needed. The threads of a test harness are not counted.
    pub threads: usize,
    /// Tasks of the runtime.
    pub tasks: usize,
}

impl Counts {
    /// The counts now. Call it on a runtime.
    #[must_use]
    pub fn now(census: &Census) -> Self {
        let threads = entries("/proc/self/task");
        let children = threads.iter().map(|thread| {
            let list = fs::read_to_string(format!("/proc/self/task/{thread}/children"));
            list.unwrap_or_default().split_ascii_whitespace().count()
        });
        Self {
            processes: census.processes().len(),
            children: children.sum(),
            // The directory itself is open while it is read.
            descriptors: entries("/proc/self/fd").len() - 1,
            threads: count_threads(&threads),
            tasks: Handle::current().metrics().num_alive_tasks(),
        }
    }

    /// Counts again until the counts are the same as these, or for five seconds at most. A pool's last task
    /// ends, and the descriptor of a reaped child is closed, a moment late.
    pub async fn wait_for_the_same(self, census: &Census) -> Self {
        let until = Instant::now() + WAIT_MAX;
        loop {
            let now = Self::now(census);
            if now == self || Instant::now() >= until {
                return now;
            }
            sleep(WAIT_STEP).await;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processes, {} children, {} descriptors, {} threads, {} tasks",
            self.processes, self.children, self.descriptors, self.threads, self.tasks
        )
    }
}

fn count_threads(threads: &[String]) -> usize {
    let name = |thread| fs::read_to_string(format!("/proc/self/task/{thread}/comm")).ok();
    let (ours, others): (Vec<_>, Vec<_>) = threads
        .iter()
        .filter_map(name)
        .partition(|name| name.starts_with("stdio-"));
    let names: BTreeSet<_> = ours.iter().collect();
    let of_runtimes = others.iter().filter(|name| name.starts_with("tokio-"));
    of_runtimes.count() + ours.len() - names.len()
}

fn entries(directory: &str) -> Vec<String> {
    fs::read_dir(directory)
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

const WAIT_MAX: Duration = Duration::from_secs(5);
/// Nothing tells of a task or descriptor that has gone, so they are counted again.
const WAIT_STEP: Duration = Duration::from_millis(1);
