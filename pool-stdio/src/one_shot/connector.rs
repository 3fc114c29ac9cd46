//! Children that serve one request each, started before they are needed.

use std::sync::Arc;

use pool_core::{
    BoxError, BoxFuture, Builder, CheckError, CloseReason, ConnectContext, ConnectError,
    ConnectionPool, Connector, Vitals, async_trait,
};

use super::collector::CollectLimits;
use super::connection::OneShot;
use crate::launch::{Launcher, stop_mode};
use crate::process::{Children, CommandError, CommandSpec, StderrPolicy};

/// Starts children that serve one request each, for a pool that keeps some of them ready.
///
/// A child that is no longer needed and was never run is killed: to such a child the end of its
/// input would be an empty request.
///
/// # When this helps, and when it cannot
///
/// A tool that reads its input to the end, answers and exits cannot be used twice, but its start can
/// be done in advance: with [`min_idle`](pool_core::Builder::min_idle) children waiting for their
/// input, a request costs no more than the tool's own work, as long as requests come more slowly
/// than children start. It does not help
///
/// * if requests come faster than that: then each waits for a start, pool or not;
/// * if the tool starts in a millisecond and does nothing before it has read its input: there is
///   little to save;
/// * if the tool does not wait for input: it exits before it is used, and the pool starts another
///   after ever longer delays. Run it when you need it, without a pool;
/// * if requests differ in the tool's arguments: all children of a pool have the same arguments;
/// * if the tool has a mode that serves many requests (`--batch`, `--server`): use that mode with a
///   [`StdioConnector`](crate::StdioConnector). It is ten to a thousand times as fast.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, OneShotConnector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let grep = OneShotConnector::new(CommandSpec::new("grep").arg("needle"))?;
/// let pool = grep.pool().name("grep").max_size(4).min_idle(2).build()?;
///
/// let output = pool.acquire().await?.run("hay\nneedle\n").await?;
/// assert_eq!(output.stdout, "needle\n");
///
/// // Not found is an answer too.
/// let output = pool.acquire().await?.run("hay\n").await?;
/// assert_eq!(output.exit.status().and_then(|status| status.code()), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OneShotConnector {
    launcher: Launcher,
    limits: CollectLimits,
}

impl OneShotConnector {
    /// Keeps up to 10 MiB of stdout, and as much of stderr.
    ///
    /// The command's policy for stderr is replaced: it is collected.
    ///
    /// # Errors
    ///
    /// As [`CommandSpec::build`].
    pub fn new(spec: CommandSpec) -> Result<Self, CommandError> {
        Self::with_output_bytes_max(spec, OUTPUT_BYTES_MAX_DEFAULT)
    }

    /// Keeps this many bytes of stdout, and as many of stderr.
    ///
    /// Worst-case cost: three times as many bytes per child while it runs, since the buffer of
    /// stdout may grow to twice its content.
    ///
    /// # Errors
    ///
    /// As [`CommandSpec::build`].
    pub fn with_output_bytes_max(
        spec: CommandSpec,
        output_bytes_max: usize,
    ) -> Result<Self, CommandError> {
        let stderr = StderrPolicy::Ring {
            bytes_max: output_bytes_max,
            lines_max: usize::MAX,
        };
        let launcher = Launcher::new(spec.stderr(stderr))?;
        let times = launcher.ladder_times();
        Ok(Self {
            launcher,
            limits: CollectLimits {
                output_bytes_max,
                times,
            },
        })
    }

    /// All children of this connector, to signal or end them together. Call it before you give the
    /// connector to a pool.
    #[must_use]
    pub fn children(&self) -> Children {
        self.launcher.children()
    }

    /// A pool of such children, each lent once.
    /// [`min_idle`](pool_core::Builder::min_idle) sets how many are kept ready.
    ///
    /// Leave [`max_uses`](pool_core::Builder::max_uses) at one: with more, the pool takes the exit of
    /// a child that has served its request for a crash, and starts others after ever longer delays.
    pub fn pool(self) -> Builder<OneShot> {
        ConnectionPool::builder(self).max_uses(1)
    }
}

#[async_trait]
impl Connector for OneShotConnector {
    type Connection = OneShot;

    async fn connect(&self, cx: &ConnectContext) -> Result<OneShot, ConnectError> {
        let launched = self.launcher.launch(cx).await?;
        Ok(OneShot::new(launched, self.limits))
    }

    fn is_alive(&self, child: &OneShot) -> bool {
        child.is_alive()
    }

    fn is_clean(&self, child: &OneShot) -> bool {
        child.is_clean()
    }

    fn died(&self, child: &OneShot) -> Option<BoxFuture<'static, Option<BoxError>>> {
        Some(child.died())
    }

    fn vitals(&self, child: &OneShot) -> Option<Arc<dyn Vitals>> {
        child.vitals()
    }

    async fn check(&self, _child: &mut OneShot) -> Result<(), CheckError> {
        Ok(())
    }

    async fn close(&self, child: OneShot, reason: CloseReason) {
        child.terminate(stop_mode(reason)).await;
    }
}

const OUTPUT_BYTES_MAX_DEFAULT: usize = 10 * 1024 * 1024;
