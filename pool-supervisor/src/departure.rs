//! How this program leaves: all children are terminated first, and told as such.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pool_stdio::{Stop, TerminateAllReport};
use tokio::time::timeout;

use crate::entry::{Entry, StopCause};
use crate::limits::{LAST_WORDS, SHUTDOWN_WORDS};
use crate::protocol::ShutdownResult;
use crate::stdio_ends::deaf;
use crate::supervisor::Supervisor;

/// Why this program leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Its input has ended.
    InputEnded,
    /// Nobody reads its output any more.
    OutputBroken,
    /// The process that it was told to watch has ended.
    HostEnded,
    /// It got a signal.
    Signalled,
    /// It was asked to, and everything is done.
    ShutDown,
}

impl Gone {
    /// The reason that the host is told, if it can still listen.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::InputEnded => "inputEnded",
            Self::OutputBroken => "outputBroken",
            Self::HostEnded => "hostEnded",
            Self::Signalled => "signalled",
            Self::ShutDown => "shutdown",
        }
    }
}

/// The end of all children.
#[derive(Debug)]
pub(crate) struct Departure {
    supervisor: Rc<Supervisor>,
    has_begun: Cell<bool>,
}

impl Departure {
    pub(crate) const fn new(supervisor: Rc<Supervisor>) -> Self {
        Self {
            supervisor,
            has_begun: Cell::new(false),
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// Begins to terminate all children, and lets no more be started. A shorter grace hastens an end that
    /// is under way. Resolves when they have ended, or cannot be ended.
    pub(crate) fn begin(
        &self,
        grace: Duration,
        reason: &str,
    ) -> impl Future<Output = TerminateAllReport> + 'static + use<> {
        self.has_begun.set(true);
        let report = self.supervisor.children.terminate_all(grace);
        let stop = if grace.is_zero() {
            Stop::Force
        } else {
            Stop::Orderly
        };
        // Order: after its set has begun the termination of a child, that gets its stdin as well. It closes that
        // after SIGKILL if there is no grace, or half a message could be taken for the whole.
        for entry in self.supervisor.entries() {
            let cause = StopCause {
                reason: reason.to_owned(),
                stop,
            };
            self.supervisor.stop(&entry, stop, Some(cause));
        }
        report
    }

    /// The same, for a host that wants to be told of all ends first.
    pub(crate) fn shut_down(
        &self,
        grace: Duration,
    ) -> impl Future<Output = ShutdownResult> + 'static + use<> {
        let report = self.begin(grace, Gone::ShutDown.reason());
        let supervisor = Rc::clone(&self.supervisor);
        async move {
            let TerminateAllReport {
                ended, mut left, ..
            } = report.await;
            tell_all(&supervisor, &left).await;
            // On a loaded machine some have ended meanwhile.
            let entries = supervisor.entries();
            let late = left.len();
            left.retain(|pid| entries.iter().any(|entry| entry.state().pid == Some(*pid)));
            ShutdownResult {
                ended: (ended + late - left.len()) as u64,
                left,
            }
        }
    }
}

/// Resolves when the ends of all children were told. What the host neither grants nor reads is cut in the end,
/// and then these are not waited for any more: they may never end.
async fn tell_all(supervisor: &Supervisor, left: &[u32]) {
    if timeout(SHUTDOWN_WORDS, emptied(supervisor, &[]))
        .await
        .is_ok()
    {
        return;
    }
    supervisor.end_drains();
    // What has credit is still sent if the host reads.
    let is_told = tokio::select! {
        biased;
        told = timeout(LAST_WORDS, emptied(supervisor, left)) => told.is_ok(),
        () = deaf() => false,
    };
    if !is_told {
        supervisor.cut_kept();
        // No host delays that. A child that cannot be ended after all does.
        let (Ok(()) | Err(_)) = timeout(SHUTDOWN_WORDS, emptied(supervisor, left)).await;
    }
}

/// Resolves when every child was told as terminated, but for these.
pub(crate) async fn emptied(supervisor: &Supervisor, left: &[u32]) {
    loop {
        // Order: registered before the look.
        let emptied = supervisor.emptied.notified();
        let entries = supervisor.entries();
        let is_left = |entry: &Rc<Entry>| entry.state().pid.is_some_and(|pid| left.contains(&pid));
        if entries.iter().all(is_left) {
            return;
        }
        emptied.await;
    }
}
