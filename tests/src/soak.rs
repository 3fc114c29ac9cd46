//! The same over and over, and what is left of it: nothing.
//!
//! What is counted is counted before and after, by this process itself: its children and zombies,
//! its descriptors, its threads, the tasks of its runtime. A thousand children that each leave a
//! little behind are seen where one is not.

pub mod cancelled;
pub mod cycles;

use std::fmt;
use std::fs;
use std::time::Duration;

use pool_testkit::census::Census;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// What a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Living processes that were started by it, wherever in the tree.
    pub processes: usize,
    /// Its own children, zombies too.
    pub children: usize,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads of a runtime or of the process layer; a test harness has others, which come and go.
    pub threads: usize,
    /// Tasks of the runtime.
    pub tasks: usize,
}

impl Counts {
    /// Counts. Within a runtime.
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
            threads: threads.iter().filter(|thread| is_counted(thread)).count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
        }
    }

    /// Counts again until it is as before, or for too long. A pool's last task ends, and a reaped
    /// child's descriptor is closed, a moment after they are told to.
    pub async fn settle(self, census: &Census) -> Self {
        let until = Instant::now() + SETTLE_MAX;
        loop {
            let now = Self::now(census);
            if now == self || Instant::now() >= until {
                return now;
            }
            sleep(SETTLE_STEP).await;
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

fn is_counted(thread: &str) -> bool {
    let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
    name.is_ok_and(|name| ["stdio-", "tokio-"].iter().any(|one| name.starts_with(one)))
}

fn entries(directory: &str) -> Vec<String> {
    fs::read_dir(directory)
        .expect("Linux has it")
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

const SETTLE_MAX: Duration = Duration::from_secs(5);
const SETTLE_STEP: Duration = Duration::from_millis(1);
