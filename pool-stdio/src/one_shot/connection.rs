//! A child that serves one request.

use std::fmt;
use std::future::pending;
use std::sync::Arc;

use pool_core::{BoxError, BoxFuture, ConnectionId, Vitals};
use tokio::time::Instant;

use super::collector::{CollectLimits, Collector};
use super::run::Run;
use super::stream::OneShotStream;
use crate::error::StdioError;
use crate::launch::{ChildStdio, LaunchedChild, died, vitals};
use crate::metrics::ChildMeter;
use crate::process::{Child, Liveness, Stop, Termination};

/// A child that serves one request: it is given its input, and its output is collected.
///
/// Opened by a [`OneShotConnector`](crate::OneShotConnector), whose pool starts children before
/// they are needed. See there for when that helps.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, OneShotConnector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = OneShotConnector::new(CommandSpec::new("sort"))?.pool().min_idle(1).build()?;
/// let output = pool.acquire().await?.run("pear\napple\n").await?;
/// assert_eq!(output.stdout, "apple\npear\n");
/// assert_eq!(output.exit.status().and_then(|status| status.code()), Some(0));
/// # Ok(())
/// # }
/// ```
pub struct OneShot {
    collector: Collector,
    id: ConnectionId,
    requested_at: Instant,
    meter: ChildMeter,
}

impl OneShot {
    pub(super) fn new(launched: LaunchedChild, limits: CollectLimits) -> Self {
        let LaunchedChild {
            child,
            stdin,
            stdout,
            id,
            requested_at,
            meter,
        } = launched;
        let stdio = ChildStdio::new(stdin, stdout, meter.meters());
        Self {
            collector: Collector::new(child, stdio, meter.meters(), limits),
            id,
            requested_at,
            meter,
        }
    }

    /// Writes the input, closes stdin, and collects what the child writes until it has exited.
    ///
    /// Input and output are polled together, so neither can block the other, whatever their size. A
    /// child that had exited before it was given its input has an output as well, and has read
    /// nothing. A child that closes its stdout and lives on is waited for, unless there is a [time
    /// limit](Run::within).
    ///
    /// # Errors
    ///
    /// [`Broken`](StdioError::Broken) if it was run before, [`Read`](StdioError::Read) if its
    /// stdout cannot be read, [`TimedOut`](StdioError::TimedOut), with how the output begins.
    /// Neither a failed write nor an exit code is an error.
    ///
    /// # Cancel safety
    ///
    /// Once the future was polled the child cannot be run again, whether or not the future is
    /// dropped. A pool kills it when the lease is dropped.
    pub const fn run<I: AsRef<[u8]> + Send>(&mut self, input: I) -> Run<'_, I> {
        Run::new(&mut self.collector, input)
    }

    /// Begins a run whose input is written and whose output is read as a stream, for more than fits
    /// into memory, or for output that is wanted before the input is complete.
    ///
    /// # Errors
    ///
    /// [`Broken`](StdioError::Broken) if it was run before.
    pub fn stream(&mut self) -> Result<OneShotStream<'_>, StdioError> {
        self.collector.begin(0)?;
        Ok(OneShotStream::new(&mut self.collector))
    }

    /// The child itself: its process id, how it exited, what it wrote to stderr, signals. Its pipes are
    /// taken.
    #[must_use]
    pub const fn process(&self) -> &Child {
        self.collector.child()
    }

    pub(super) fn is_alive(&self) -> bool {
        // What it writes before it is run is a part of its output.
        self.collector.child().liveness(None) != Liveness::Exited
    }

    pub(super) const fn is_clean(&self) -> bool {
        self.collector.is_clean()
    }

    pub(super) fn vitals(&self) -> Option<Arc<dyn Vitals>> {
        vitals(self.collector.child())
    }

    /// Resolves when the child has exited, to the reason. What becomes of its stdout before is a
    /// part of its run.
    pub(super) fn died(&self) -> BoxFuture<'static, Option<BoxError>> {
        died(self.collector.child(), self.requested_at, pending())
    }

    pub(super) async fn terminate(self, stop: Stop) -> Termination {
        let termination = self.collector.terminate(stop).await;
        self.meter.end(&termination);
        termination
    }
}

impl fmt::Debug for OneShot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShot")
            .field("id", &self.id)
            .field("pid", &self.collector.child().pid())
            .finish_non_exhaustive()
    }
}
