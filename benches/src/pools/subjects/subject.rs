//! What a pool must offer to be measured.

use std::time::Duration;

use tokio::time::timeout;

use super::{Factory, Refused};

/// An asynchronous pool under test.
pub(in crate::pools) trait AsyncSubject: Clone + Send + Sync + 'static {
    /// Its name in the tables.
    const NAME: &'static str;
    /// How it takes part in a comparison.
    const COMPARED_AS: ComparedAs;

    /// A connection on loan; dropping it gives it back.
    type Lease<'a>: Send
    where
        Self: 'a;

    /// Builds a pool of at most `size` connections on the current runtime.
    fn build(size: usize, factory: Factory) -> impl Future<Output = Self> + Send;

    /// Borrows a connection, and waits for one if all are lent.
    ///
    /// # Errors
    ///
    /// What the pool answers instead of a connection, for example its own timeout.
    fn acquire(&self) -> impl Future<Output = Result<Self::Lease<'_>, Refused>> + Send;

    /// The same, but gives up after this time.
    ///
    /// # Errors
    ///
    /// What the pool answers instead of a connection, or that the time is over.
    fn acquire_within(
        &self,
        time: Duration,
    ) -> impl Future<Output = Result<Self::Lease<'_>, Refused>> + Send {
        async move { timeout(time, self.acquire()).await.map_err(Refused::new)? }
    }
}

/// A pool under test whose callers are threads that block.
pub(in crate::pools) trait BlockingSubject: Clone + Send + Sync + 'static {
    /// Its name in the tables.
    const NAME: &'static str;

    /// A connection on loan; dropping it gives it back.
    type Lease;

    /// Builds a pool of at most `size` connections.
    fn build(size: usize, factory: Factory) -> Self;

    /// Borrows a connection, blocking the thread until there is one.
    ///
    /// # Errors
    ///
    /// What the pool answers instead of a connection.
    fn acquire(&self) -> Result<Self::Lease, Refused>;
}

/// How a subject takes part in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparedAs {
    /// The pool of this workspace, which the bars judge.
    Ours,
    /// Another asynchronous pool, which serves its waiters in this order.
    Peer(ServingOrder),
    /// A pool for blocking threads: shown but not ranked, since its callers wait in another way.
    Blocking,
    /// Not a pool, but the least that any pool must do.
    Baseline,
}

/// The order in which a pool serves its waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingOrder {
    /// First come, first served.
    Fifo,
    /// A later caller can be served first, which makes most waits short and a few very long.
    Barging,
}
