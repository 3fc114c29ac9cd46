//! What the pool knows of a connection: the trait its author implements, and what the pool tells it.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::{CheckError, ConnectError};
use crate::id::{CloseReason, ConnectionId};

/// A boxed future, as [`Connector::died`] returns it.
///
/// # Examples
///
/// ```
/// use pool_core::BoxFuture;
/// use tokio::sync::watch;
///
/// /// Resolves when whoever holds the sender has gone.
/// fn gone(mut peer: watch::Receiver<()>) -> BoxFuture<'static, ()> {
///     Box::pin(async move { while peer.changed().await.is_ok() {} })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (sender, peer) = watch::channel(());
/// drop(sender);
/// gone(peer).await;
/// # }
/// ```
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens, judges, resets and closes the connections of one pool.
///
/// The pool decides *when*; the connector decides *how*. Only [`connect`](Self::connect) has to be
/// written; the other methods have defaults that suit a connection which is good until it is
/// dropped.
///
/// # Duties of an implementer
///
/// * **Synchronous methods are cheap and do not block.** [`is_alive`](Self::is_alive) is called
///   before each hand-out and on each return; `is_clean` and `needs_reset` on each return, inside
///   `Drop` of the lease, possibly on a thread without a runtime. A microsecond there is paid by
///   every caller.
/// * **Asynchronous methods may be cancelled at any await.** Each one has a deadline, after which
///   its future is dropped. What a cancelled [`connect`](Self::connect) had already opened must be
///   cleaned up by the drop of that future.
/// * **[`close`](Self::close) returns when the resource is gone**, not when it was told to go: the
///   slot in the pool is freed when `close` returns. Its future is never dropped because it is
///   slow, only when the runtime itself goes.
/// * **Panics are survived**, by closing the connection they concern, but they cost a connection.
///
/// The pool never calls a method of the connector while it holds a lock, so all of them may use
/// the pool themselves.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectContext, ConnectError, Connector, async_trait};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// struct Numbers(AtomicU32);
///
/// #[async_trait]
/// impl Connector for Numbers {
///     type Connection = u32;
///     async fn connect(&self, _cx: &ConnectContext) -> Result<u32, ConnectError> {
///         Ok(self.0.fetch_add(1, Ordering::Relaxed))
///     }
/// }
/// ```
///
/// The mistake to avoid is a check that waits for the peer where the pool expects a glance:
///
/// ```compile_fail
/// # use pool_core::{ConnectContext, ConnectError, Connector, async_trait};
/// # struct Sockets;
/// # #[async_trait]
/// # impl Connector for Sockets {
/// #     type Connection = tokio::io::DuplexStream;
/// #     async fn connect(&self, _cx: &ConnectContext) -> Result<Self::Connection, ConnectError> {
/// #         unimplemented!()
/// #     }
/// fn is_alive(&self, conn: &Self::Connection) -> bool {
///     conn.ping().await.is_ok() // does not compile: this belongs into `check`
/// }
/// # }
/// ```
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// What is lent to callers.
    type Connection: Send + 'static;

    /// Opens a connection.
    ///
    /// Runs as a task of the pool on its home runtime, so it goes on when the caller who needed it
    /// has gone. It must end by [`ConnectContext::deadline`]; then it is dropped and counts as a
    /// transient failure.
    ///
    /// # Errors
    ///
    /// [`ConnectError::transient`] if a later attempt may succeed, [`ConnectError::permanent`] if
    /// it cannot (the program does not exist, the credentials are refused). Both are retried after
    /// a growing delay; a permanent one answers waiting callers at once when nothing else could
    /// serve them.
    ///
    /// # Cancel safety
    ///
    /// Dropped at the deadline, when the pool closes, and when the runtime goes: whatever was
    /// opened by then must not outlive the future.
    async fn connect(&self, cx: &ConnectContext) -> Result<Self::Connection, ConnectError>;

    /// Whether the connection can still be used, as far as can be seen without waiting.
    ///
    /// `false` closes it with [`CloseReason::Died`].
    fn is_alive(&self, conn: &Self::Connection) -> bool {
        let _ = conn;
        true
    }

    /// Whether the connection may serve another caller.
    ///
    /// Asked on return only. `false` closes it with [`CloseReason::Dirty`]: a request was written
    /// and its reply not fully read, a transaction was left open.
    fn is_clean(&self, conn: &Self::Connection) -> bool {
        let _ = conn;
        true
    }

    /// Whether [`reset`](Self::reset) must run before the connection is lent again.
    fn needs_reset(&self, conn: &Self::Connection) -> bool {
        let _ = conn;
        false
    }

    /// A future that resolves when the connection has died, or `None` if nobody can tell.
    ///
    /// Asked once, right after the connection was opened. An idle connection whose future resolves
    /// is closed at once, without traffic; a leased one is not used again after its return.
    fn died(&self, conn: &Self::Connection) -> Option<BoxFuture<'static, ()>> {
        let _ = conn;
        None
    }

    /// Hands over what the connection can use to tell a [`SharedPool`](crate::SharedPool) that it is
    /// suspected to hang. Called once, right after the connection was opened; an exclusive pool does not
    /// call it.
    fn watch_suspicion(&self, conn: &Self::Connection, sink: SuspicionSink) {
        drop(sink);
        let _ = conn;
    }

    /// Prepares a returned connection for the next caller.
    ///
    /// # Errors
    ///
    /// Closes the connection with [`CloseReason::ResetFailed`].
    ///
    /// # Cancel safety
    ///
    /// Dropped at the reset deadline; the connection is then closed, never lent again.
    async fn reset(&self, conn: &mut Self::Connection) -> Result<(), CheckError> {
        let _ = conn;
        Ok(())
    }

    /// Probes an idle connection more deeply than [`is_alive`](Self::is_alive) can.
    ///
    /// # Errors
    ///
    /// Closes the connection with [`CloseReason::CheckFailed`].
    ///
    /// # Cancel safety
    ///
    /// Dropped at the check deadline; the connection is then closed, never lent again.
    async fn check(&self, conn: &mut Self::Connection) -> Result<(), CheckError> {
        let _ = conn;
        Ok(())
    }

    /// Closes a connection and returns when the resource behind it is gone.
    ///
    /// Called exactly once for every connection that was opened and not detached, unless the
    /// runtime has gone: then the connection is dropped instead.
    ///
    /// # Cancel safety
    ///
    /// Never dropped for being slow: after the close deadline the slot counts as stuck and goes on
    /// occupying capacity until this returns.
    async fn close(&self, conn: Self::Connection, reason: CloseReason) {
        let _ = reason;
        drop(conn);
    }
}

/// Tells a shared pool whether one of its connections is suspected to hang.
///
/// A suspected connection gets no new leases. Another one may be opened in its place: within `max_size`,
/// or as one of `max_surge`. If there is no room for both when that one is open, the suspected one is
/// closed after its last lease. A suspicion can be cleared until then.
pub struct SuspicionSink {
    set: Box<dyn Fn(bool) + Send + Sync>,
}

impl SuspicionSink {
    /// A sink that calls `set`, for tests of connectors outside a pool.
    pub fn new(set: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self { set: Box::new(set) }
    }

    /// Tells the pool. Callable from any thread; the pool knows it when this returns.
    ///
    /// To be called without a lock of the connection's own: it can wake callers of the pool.
    pub fn set(&self, is_suspected: bool) {
        (self.set)(is_suspected);
    }
}

impl std::fmt::Debug for SuspicionSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SuspicionSink").finish_non_exhaustive()
    }
}

/// What the pool tells [`Connector::connect`] about the connection it asks for.
///
/// # Examples
///
/// A connector under test, without a pool:
///
/// ```
/// # use pool_core::{ConnectError, Connector, async_trait};
/// use pool_core::{ConnectContext, ConnectionId};
/// use std::time::Duration;
/// use tokio::time::Instant;
/// # struct Workers;
/// # #[async_trait]
/// # impl Connector for Workers {
/// #     type Connection = String;
/// #     async fn connect(&self, cx: &ConnectContext) -> Result<String, ConnectError> {
/// #         Ok(format!("worker {}", cx.id))
/// #     }
/// # }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limit = Duration::from_secs(30);
/// let cx = ConnectContext::new(ConnectionId::from_u64(7), 1, Instant::now() + limit);
/// assert_eq!(cx.remaining(), limit);
/// assert_eq!(Workers.connect(&cx).await?, "worker #7");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectContext {
    /// The id the connection will have.
    pub id: ConnectionId,
    /// 1 for a connect after success, one more for each failed round before it.
    pub attempt: u32,
    /// When the connect is given up.
    pub deadline: Instant,
}

impl ConnectContext {
    /// A context of one's own, for tests of connectors outside a pool.
    #[must_use]
    pub const fn new(id: ConnectionId, attempt: u32, deadline: Instant) -> Self {
        Self {
            id,
            attempt,
            deadline,
        }
    }

    /// The time that is left until the deadline; zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
