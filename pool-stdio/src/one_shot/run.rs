//! How one run of a one-shot child is put together.

use std::fmt;
use std::time::Duration;

use pool_core::BoxFuture;
use tokio::time::timeout;

use super::collector::Collector;
use super::output::Output;
use crate::error::StdioError;

/// A run that begins when it is awaited, from [`OneShot::run`](crate::OneShot::run); or the rest of
/// one, from [`OneShotStream::finish`](crate::OneShotStream::finish).
///
/// Without [`within`](Self::within) it waits as long as the child lives.
#[must_use = "nothing is written before it is awaited"]
pub struct Run<'c, I> {
    collector: &'c mut Collector,
    input: I,
    start: Start,
    limit: Option<Duration>,
}

/// Where a run is when it is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Fresh,
    /// It was begun as a stream.
    Streamed,
}

impl<'c> Run<'c, [u8; 0]> {
    /// What is left of a run that was begun as a stream.
    pub(super) const fn rest_of(collector: &'c mut Collector) -> Self {
        Self {
            collector,
            input: [],
            start: Start::Streamed,
            limit: None,
        }
    }
}

impl<'c, I: AsRef<[u8]> + Send> Run<'c, I> {
    pub(super) const fn new(collector: &'c mut Collector, input: I) -> Self {
        Self {
            collector,
            input,
            start: Start::Fresh,
            limit: None,
        }
    }

    /// Fails with [`TimedOut`](StdioError::TimedOut) if the child has not exited within this time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_stdio::{CommandSpec, OneShotConnector, StdioError};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let slow = CommandSpec::new("sh").args(["-c", "echo thinking; exec sleep 60"]);
    /// let pool = OneShotConnector::new(slow)?.pool().build()?;
    /// let mut child = pool.acquire().await?;
    /// let error = child.run("").within(Duration::from_millis(100)).await.unwrap_err();
    /// assert!(matches!(error, StdioError::TimedOut { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

impl<'c, I: AsRef<[u8]> + Send + 'c> IntoFuture for Run<'c, I> {
    type Output = Result<Output, StdioError>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let collector = self.collector;
            let input = self.input.as_ref();
            let running = async {
                match self.start {
                    Start::Fresh => collector.run(input).await,
                    Start::Streamed => collector.finish(input).await,
                }
            };
            match self.limit {
                None => running.await,
                Some(limit) => match timeout(limit, running).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(collector.timed_out(limit)),
                },
            }
        })
    }
}

impl<I> fmt::Debug for Run<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("pid", &self.collector.child().pid())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
