//! Children that serve one request each, started before they are needed.

use pool_core::{
    BoxFuture, Builder, CheckError, CloseReason, ConnectContext, ConnectError, ConnectionPool,
    Connector, async_trait,
};

use super::collector::CollectLimits;
use super::connection::OneShot;
use crate::launch::{Launcher, stop_mode};
use crate::process::{Children, CommandError, CommandSpec, RingLimits, StderrPolicy};

/// Starts children that serve one request each, for a pool that keeps some of them ready.
///
/// A child that is not needed any more, and was never asked, is killed: the end of its input would
/// be a request to it.
///
/// # When this helps, and when it cannot
///
/// A tool that reads its input to the end, answers and exits cannot be used twice. What can be
/// saved is its start: with [`min_idle`](pool_core::Builder::min_idle) children waiting for their
/// input, a request costs what the tool itself costs, as long as requests come more slowly than
/// children start. It cannot help
///
/// * if requests come faster than that: then each waits for a start, pool or not;
/// * if the tool does nothing before it has read its input, and starts in a millisecond: there is
///   little to save;
/// * if the tool does not wait for input: it is gone before it is asked, and the pool starts
///   another, ever more rarely. Run it when it is needed, without a pool;
/// * if what it is to do is said by arguments: those are the same for all children of a pool;
/// * if the tool can serve many requests in some other mode (`--batch`, `--server`): use that, with
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
        let stderr = StderrPolicy::Ring(RingLimits {
            bytes_max: output_bytes_max,
            lines_max: usize::MAX,
        });
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

    /// The `connector` label of metrics. Default: the file name of the program.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.launcher.set_name(name);
        self
    }

    /// All children of this connector, to signal or end them together. Take it before the pool
    /// takes the connector.
    #[must_use]
    pub fn children(&self) -> Children {
        self.launcher.children()
    }

    /// A pool of such children, each lent once. Say with
    /// [`min_idle`](pool_core::Builder::min_idle) how many are to be kept ready.
    ///
    /// Leave [`max_uses`](pool_core::Builder::max_uses) at one: with more, the exit of a child that
    /// has done its duty is an early death to the pool, which then starts others ever more rarely.
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

    fn died(&self, child: &OneShot) -> Option<BoxFuture<'static, ()>> {
        Some(child.died())
    }

    async fn check(&self, _child: &mut OneShot) -> Result<(), CheckError> {
        Ok(())
    }

    async fn close(&self, child: OneShot, reason: CloseReason) {
        child.terminate(stop_mode(reason)).await;
    }
}

const OUTPUT_BYTES_MAX_DEFAULT: usize = 10 * 1024 * 1024;
