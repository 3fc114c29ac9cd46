//! How this program leaves: all children are terminated first, and told as such.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pool_stdio::TerminateAllReport;
use tokio::time::timeout;

use crate::limits::SHUTDOWN_WORDS;
use crate::protocol::ShutdownResult;
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
        // Order: signalled before stdin is closed, or half a message could be taken for the whole.
        for entry in self.supervisor.entries() {
            self.supervisor.note_stop(&entry, reason);
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
            let report = report.await;
            // What is left then was reported.
            let (Ok(()) | Err(_)) = timeout(SHUTDOWN_WORDS, emptied(&supervisor)).await;
            ShutdownResult {
                ended: report.ended as u64,
                left: report.left,
            }
        }
    }
}

/// Resolves when every child was told as terminated.
pub(crate) async fn emptied(supervisor: &Supervisor) {
    loop {
        // Order: registered before the look.
        let emptied = supervisor.emptied.notified();
        if supervisor.child_count() == 0 {
            return;
        }
        emptied.await;
    }
}
