//! What is known of the child when a connection ends.

use std::fmt;
use std::sync::Arc;

use crate::codec::Fragment;
use crate::process::{ChildRecord, Exit, StderrTail};

/// The state of the child when its connection ended.
///
/// [`RpcError`](crate::RpcError) has an example.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RpcReport {
    /// The child's process id.
    pub pid: u32,
    /// How the child exited, if it had. After the end of its stdout the connection waits up to 50 ms
    /// for that, and up to 1 s more if the system shows that the child is about to exit. A call whose
    /// limit ends meanwhile is told without it.
    pub exit: Option<Exit>,
    /// Why the pool killed the child, if it did: it weighed more than
    /// [`kill_weight`](pool_core::Builder::kill_weight).
    pub kill_cause: Option<String>,
    /// The end of its stderr.
    pub stderr: StderrTail,
    /// How the last few frames begin that were not JSON-RPC messages.
    pub strays: Vec<Fragment>,
}

impl fmt::Display for RpcReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if let Some(exit) = self.exit {
            write!(f, ", {exit}")?;
        }
        if let Some(cause) = &self.kill_cause {
            write!(f, ", killed by its pool: {cause}")?;
        }
        if let Some(last) = self.strays.last() {
            write!(f, ", not a message: {last}")?;
        }
        let stderr = self.stderr.text.trim_end();
        if let Some(last) = stderr.lines().next_back() {
            write!(f, ", stderr ends with {last:?}")?;
        }
        Ok(())
    }
}

/// What can be known of the process behind the pipes without owning it. A connection in memory has
/// no process.
#[derive(Debug, Clone, Default)]
pub(super) struct ChildFacts {
    pub(super) record: Option<Arc<ChildRecord>>,
}

impl ChildFacts {
    pub(super) fn report(&self, strays: Vec<Fragment>) -> Arc<RpcReport> {
        let record = self.record.as_deref();
        Arc::new(RpcReport {
            pid: record.map_or(0, ChildRecord::pid),
            exit: self.exit(),
            kill_cause: record.and_then(ChildRecord::kill_cause),
            stderr: record.map_or_else(StderrTail::default, ChildRecord::stderr_tail),
            strays,
        })
    }

    /// Whether the process is stopped, as by SIGSTOP. `false` where the system does not tell.
    pub(super) fn is_stopped(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.is_stopped())
    }

    /// Whether the process exits or has exited. `false` where the system does not tell.
    pub(super) fn is_leaving(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.is_leaving())
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        self.record.as_ref().and_then(|record| record.exit())
    }
}
