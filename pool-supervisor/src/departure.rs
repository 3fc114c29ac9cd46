//! How this program leaves: all children are terminated first, and told as such.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use crate::limits::LAST_WORDS;
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
    /// is under way. Resolves when all were told as terminated, or cannot be.
    pub(crate) fn begin(
        &self,
        grace: Duration,
        reason: &str,
    ) -> impl Future<Output = ShutdownResult> + 'static + use<> {
        self.has_begun.set(true);
        let report = self.supervisor.children.terminate_all(grace);
        // Order: signalled before stdin is closed, or half a message could be taken for the whole.
        for entry in self.supervisor.entries() {
            self.supervisor.note_stop(&entry, reason);
        }
        let supervisor = Rc::clone(&self.supervisor);
        async move {
            let report = report.await;
            let told = supervisor.entries().into_iter();
            let drains = told.map(|entry| entry.settings.drain_timeout);
            let longest = drains.max().unwrap_or_default().min(LAST_WORDS);
            let emptied = async {
                loop {
                    // Order: registered before the look.
                    let emptied = supervisor.emptied.notified();
                    if supervisor.child_count() == 0 {
                        return;
                    }
                    emptied.await;
                }
            };
            // Who is left was reported.
            let (Ok(()) | Err(_)) = timeout(longest + LAST_WORDS, emptied).await;
            ShutdownResult {
                ended: report.ended as u64,
                left: report.left,
            }
        }
    }
}
