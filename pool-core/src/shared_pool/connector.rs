//! What a shared pool asks of a connector.

use std::sync::Arc;

use async_trait::async_trait;

use crate::connector::{BoxFuture, ConnectContext, Connector, SuspicionSink};
use crate::error::{BoxError, CheckError, ConnectError};
use crate::id::CloseReason;
use crate::vitals::Vitals;

/// A [`Connector`] whose connections serve many callers at once.
///
/// A shared pool calls `connect`, `is_alive`, `died` and `close` as any pool does,
/// [`check_shared`](Self::check_shared) instead of `check`, and
/// [`is_clean_shared`](Self::is_clean_shared) instead of `is_clean`. It never calls `reset`, since no
/// caller has a shared connection alone.
///
/// * **`is_alive`** is called before each lease and after it, on any thread.
/// * **`is_clean_shared`** returns `false` when the connection is broken for all its callers: it takes
///   no new leases, and is closed after its last one.
///
/// # Examples
///
/// ```
/// use pool_core::{CheckError, ConnectContext, ConnectError, Connector, SharedConnector, SharedPool};
/// use pool_core::async_trait;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// struct Counters;
///
/// #[async_trait]
/// impl Connector for Counters {
///     type Connection = AtomicU64;
///     async fn connect(&self, _cx: &ConnectContext) -> Result<AtomicU64, ConnectError> {
///         Ok(AtomicU64::new(0))
///     }
/// }
///
/// #[async_trait]
/// impl SharedConnector for Counters {
///     async fn check_shared(&self, counter: &AtomicU64) -> Result<(), CheckError> {
///         // Callers go on using it meanwhile.
///         counter.load(Ordering::Relaxed);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SharedPool::builder(Counters).build()?;
/// let (first, second) = (pool.acquire().await?, pool.acquire().await?);
/// first.fetch_add(1, Ordering::Relaxed);
/// assert_eq!(second.load(Ordering::Relaxed), 1, "one connection for both");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait SharedConnector: Connector<Connection: Sync> {
    /// Checks a connection more thoroughly than `is_alive` can, while it goes on serving.
    ///
    /// # Errors
    ///
    /// The connection takes no new leases, and is closed with [`CloseReason::CheckFailed`] after its
    /// last one. A busy connection should not fail its check.
    ///
    /// # Cancel safety
    ///
    /// Dropped at the check deadline, which counts as an error.
    async fn check_shared(&self, conn: &Self::Connection) -> Result<(), CheckError> {
        let _ = conn;
        Ok(())
    }

    /// Whether the connection may serve further callers. Called on each return; by default the same as
    /// [`is_clean`](Connector::is_clean).
    ///
    /// The two differ where a cancelled request makes a connection unfit for the next exclusive
    /// caller, but does no harm to callers that share it.
    fn is_clean_shared(&self, conn: &Self::Connection) -> bool {
        self.is_clean(conn)
    }
}

/// Wraps each connection in an `Arc`, so that the pool can share it.
pub(crate) struct ArcConnector<C>(pub(crate) C);

#[async_trait]
impl<C: SharedConnector> Connector for ArcConnector<C> {
    type Connection = Arc<C::Connection>;

    async fn connect(&self, cx: &ConnectContext) -> Result<Self::Connection, ConnectError> {
        self.0.connect(cx).await.map(Arc::new)
    }

    fn is_alive(&self, conn: &Self::Connection) -> bool {
        self.0.is_alive(conn)
    }

    fn is_clean(&self, conn: &Self::Connection) -> bool {
        self.0.is_clean_shared(conn)
    }

    fn died(&self, conn: &Self::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        self.0.died(conn)
    }

    fn watch_suspicion(&self, conn: &Self::Connection, sink: SuspicionSink) {
        self.0.watch_suspicion(conn, sink);
    }

    fn vitals(&self, conn: &Self::Connection) -> Option<Arc<dyn Vitals>> {
        self.0.vitals(conn)
    }

    async fn check(&self, conn: &mut Self::Connection) -> Result<(), CheckError> {
        self.0.check_shared(conn).await
    }

    async fn close(&self, conn: Self::Connection, reason: CloseReason) {
        let conn = Arc::into_inner(conn);
        debug_assert!(
            conn.is_some(),
            "invariant broken: the last handle of a shared connection is the store's"
        );
        if let Some(conn) = conn {
            self.0.close(conn, reason).await;
        }
    }
}
