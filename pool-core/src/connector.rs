//! What the pool asks of a connector, and what it tells the connector about a connect.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::{BoxError, CheckError, ConnectError};
use crate::id::{CloseReason, ConnectionId};
use crate::vitals::Vitals;

/// A boxed future, as [`Connector::died`] returns it.
///
/// # Examples
///
/// ```
/// use pool_core::BoxFuture;
/// use tokio::sync::watch;
///
/// /// Resolves when the sender has been dropped.
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

/// Opens, checks, resets and closes the connections of one pool.
///
/// The pool decides *when*; the connector decides *how*. Only [`connect`](Self::connect) is required.
/// The other methods have defaults that suit a connection which works until it is dropped; if those
/// suffice, [`connector_fn`](crate::connector_fn) makes a connector of a closure.
///
/// # Duties of an implementer
///
/// * **Synchronous methods are cheap and do not block.** [`is_alive`](Self::is_alive) is called
///   before each hand-out and on each return. `is_clean` and `needs_reset` are called on each return,
///   inside `Drop` of the lease, possibly on a thread without a runtime. Every caller pays for the
///   time they take.
/// * **Asynchronous methods may be cancelled at any await.** All but `close` have a deadline, at
///   which their future is dropped. Dropping the future of [`connect`](Self::connect) must clean up
///   whatever it had opened.
/// * **[`close`](Self::close) returns when the resource is gone**, not when it was told to go: the
///   slot in the pool is freed when `close` returns. Its future is dropped only when the runtime
///   shuts down, never because it is slow.
/// * **Panics are caught.** Each one costs the connection it concerns.
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
/// The mistake to avoid is to wait for the peer in a method that must not wait:
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
///     conn.ping().await.is_ok() // does not compile: this belongs in `check`
/// }
/// # }
/// ```
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// What callers are lent.
    type Connection: Send + 'static;

    /// Opens a connection.
    ///
    /// Runs as a task of the pool on its home runtime, so it goes on if the caller that needed it
    /// gives up. At [`ConnectContext::deadline`] it is dropped, which counts as a transient failure.
    ///
    /// # Errors
    ///
    /// [`ConnectError::transient`] if a later attempt can succeed, [`ConnectError::permanent`] if it
    /// cannot: the program does not exist, the credentials are refused. Both are retried after a
    /// growing delay. After a permanent one, waiting callers are answered at once unless another
    /// connection can serve them.
    ///
    /// # Cancel safety
    ///
    /// Dropped at the deadline, when the pool closes, and when the runtime shuts down. Whatever was
    /// opened by then must not outlive the future.
    async fn connect(&self, cx: &ConnectContext) -> Result<Self::Connection, ConnectError>;

    /// Whether the connection still works, as far as can be seen without waiting.
    ///
    /// `false` closes it with [`CloseReason::Died`].
    fn is_alive(&self, conn: &Self::Connection) -> bool {
        let _ = conn;
        true
    }

    /// Whether the connection may serve another caller.
    ///
    /// Called on return only. `false` closes it with [`CloseReason::Dirty`], for example because a
    /// request was written and its reply not fully read, or a transaction was left open.
    fn is_clean(&self, conn: &Self::Connection) -> bool {
        let _ = conn;
        true
    }

    /// Whether [`reset`](Self::reset) must run before the connection is lent again.
    fn needs_reset(&self, conn: &Self::Connection) -> bool {
        let _ = conn;
        false
    }

    /// A future that resolves when the connection has died, or `None` if that cannot be observed.
    ///
    /// Called once, right after the connection was opened. When the future resolves, an idle
    /// connection is closed at once, and a leased one when it is returned.
    ///
    /// It resolves to the reason, if it knows one. If the connection died sooner than
    /// [`min_uptime`](crate::Builder::min_uptime), callers see the reason as the source of the
    /// [`ConnectError`] that is their last failure. Without a reason, or if
    /// [`is_alive`](Self::is_alive) saw the death first, it is
    /// [`Fault::EndedEarly`](crate::Fault).
    fn died(&self, conn: &Self::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
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

    /// What the pool can measure and end of the connection while it is lent; `None` if nothing.
    ///
    /// Called once, right after the connection was opened, by a pool that limits the
    /// [weight](crate::Builder::max_weight) of its connections or whose budget does.
    fn vitals(&self, conn: &Self::Connection) -> Option<Arc<dyn Vitals>> {
        let _ = conn;
        None
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

    /// Checks an idle connection more thoroughly than [`is_alive`](Self::is_alive) can, for example by
    /// a ping.
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
    /// Called exactly once for every connection that was opened and not detached. Once the runtime
    /// has shut down, connections are dropped instead. When the last handle of a pool on a current-thread
    /// runtime is dropped, the closes of its idle connections are polled for the first time by the thread
    /// that drops it: nobody may poll that runtime again.
    ///
    /// # Cancel safety
    ///
    /// Never dropped for being slow: after the close timeout the slot counts as stuck, and stays
    /// taken until this returns.
    async fn close(&self, conn: Self::Connection, reason: CloseReason) {
        let _ = reason;
        drop(conn);
    }
}

/// Tells a shared pool whether one of its connections is suspected to hang.
///
/// A suspected connection gets no new leases. Another one may be opened in its place: within `max_size`,
/// or as one of `max_surge`. If there is no room for both when that one is open, the suspected one is
/// closed after its last lease. If the suspicion is cleared before that, the suspected one stays, and the
/// newest is closed after its last lease, unless it is needed again before: if the same one is suspected once more,
/// for example.
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

/// What the pool tells [`Connector::connect`] about the connect.
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
/// let deadline = Instant::now() + Duration::from_secs(30);
/// let cx = ConnectContext::new(ConnectionId::from_u64(7), 1, deadline);
/// assert_eq!(Workers.connect(&cx).await?, "worker #7");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectContext {
    /// The id the connection will have.
    pub id: ConnectionId,
    /// 1 at first, and one more for each failed round since connections last lived for `min_uptime`.
    pub attempt: u32,
    /// When the connect is dropped and counts as failed.
    pub deadline: Instant,
}

impl ConnectContext {
    /// A context for tests of connectors outside a pool.
    #[must_use]
    pub const fn new(id: ConnectionId, attempt: u32, deadline: Instant) -> Self {
        Self {
            id,
            attempt,
            deadline,
        }
    }
}
