//! What happens in a pool, told to an [`Observer`].
//!
//! An event's sequence number is given inside the critical section that made it happen; it is
//! delivered after the lock was released. So two threads, or an observer that uses the pool, may deliver
//! out of order, but sorting by
//! `seq` restores the one true order, and no number is ever missing.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{CheckError, ConnectError};
use crate::id::{CloseReason, ConnectionId, WaiterId};

/// Learns what happens in a pool.
///
/// Called on whatever thread made it happen, which may be a caller's: be quick, do not block. It
/// may use the pool. A panic is caught and ignored.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
/// # struct Units;
/// # #[async_trait]
/// # impl Connector for Units {
/// #     type Connection = ();
/// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
/// # }
/// use pool_core::{Event, EventKind, Observer};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// #[derive(Default)]
/// struct Leases(AtomicUsize);
///
/// impl Observer for Leases {
///     fn on_event(&self, event: &Event) {
///         if matches!(event.kind, EventKind::Leased { .. }) {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let leases = Arc::new(Leases::default());
/// let pool = ConnectionPool::builder(Units).observer(leases.clone()).build()?;
/// drop(pool.acquire().await?);
/// assert_eq!(leases.0.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event);
}

/// One thing that happened.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectionId, Event, EventKind, Observer};
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Default)]
/// struct Log(Mutex<Vec<u64>>);
///
/// impl Observer for Log {
///     fn on_event(&self, event: &Event) {
///         self.0.lock().unwrap().push(event.seq);
///     }
/// }
///
/// // An observer under test, without a pool.
/// let log = Log::default();
/// let kind = EventKind::Opened { id: ConnectionId::from_u64(0) };
/// log.on_event(&Event::new(3, Arc::from("workers"), kind));
/// assert_eq!(*log.0.lock().unwrap(), [3]);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// Its place in the one order of all events of this pool, from 0, without gaps.
    pub seq: u64,
    /// The pool's name.
    pub pool: Arc<str>,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// An event of one's own, for tests of observers outside a pool.
    #[must_use]
    pub const fn new(seq: u64, pool: Arc<str>, kind: EventKind) -> Self {
        Self { seq, pool, kind }
    }
}

/// What can happen.
///
/// In a [`SharedPool`](crate::SharedPool) a connection has many leases at once, and `Leased` and
/// `Returned` are told of each; a lease that comes home unfit has no `Returned`. Where a `Closing` is
/// said to follow, it follows the last lease; `Discarded` and `Expired` are told together with it.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
/// # struct Units;
/// # #[async_trait]
/// # impl Connector for Units {
/// #     type Connection = ();
/// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
/// # }
/// use pool_core::{Event, EventKind, Observer};
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Default)]
/// struct Story(Mutex<Vec<&'static str>>);
///
/// impl Observer for Story {
///     fn on_event(&self, event: &Event) {
///         self.0.lock().unwrap().push(match &event.kind {
///             EventKind::Queued { .. } => "queued",
///             EventKind::Opening { .. } => "opening",
///             EventKind::Opened { .. } => "opened",
///             EventKind::Leased { .. } => "leased",
///             EventKind::Returned { .. } => "returned",
///             _ => "something else",
///         });
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let story = Arc::new(Story::default());
/// let pool = ConnectionPool::builder(Units).observer(story.clone()).build()?;
/// drop(pool.acquire().await?);
/// let told = story.0.lock().unwrap();
/// assert_eq!(*told, ["queued", "opening", "opened", "leased", "returned"]);
/// # drop(told);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// A caller found nothing idle and joined the end of the queue.
    Queued {
        /// The caller.
        waiter: WaiterId,
    },
    /// A caller was served a connection that proved dead, and went back to its place in the queue,
    /// before all who came later.
    Requeued {
        /// The caller, with the number it had; with a new one, and at the head, if it had not been
        /// in the queue before.
        waiter: WaiterId,
    },
    /// A caller's acquire timeout passed in the queue.
    TimedOut {
        /// The caller.
        waiter: WaiterId,
    },
    /// A caller left the queue: its future was dropped.
    Cancelled {
        /// The caller.
        waiter: WaiterId,
    },
    /// A caller in the queue was answered with an error because the pool closed, or because
    /// connections cannot be opened.
    Refused {
        /// The caller.
        waiter: WaiterId,
    },
    /// A slot was taken and a connect starts.
    Opening {
        /// The connection to be.
        id: ConnectionId,
    },
    /// A connect succeeded.
    Opened {
        /// The connection.
        id: ConnectionId,
    },
    /// A connect failed, panicked, or took too long. Its slot is free again.
    ConnectFailed {
        /// The connection that is not to be.
        id: ConnectionId,
        /// Why.
        error: ConnectError,
    },
    /// A connect was dropped because the pool closed or the runtime went. Its slot is free again.
    ConnectAborted {
        /// The connection that is not to be.
        id: ConnectionId,
    },
    /// A connection was lent.
    Leased {
        /// The connection.
        id: ConnectionId,
        /// The caller, if it had to wait in the queue.
        waiter: Option<WaiterId>,
    },
    /// A connection came home in good order and is lent again or idle from here on.
    Returned {
        /// The connection.
        id: ConnectionId,
    },
    /// A returned connection is being reset.
    Resetting {
        /// The connection.
        id: ConnectionId,
    },
    /// A reset failed, panicked, or took too long; a `Closing` follows.
    ResetFailed {
        /// The connection.
        id: ConnectionId,
        /// Why.
        error: CheckError,
    },
    /// An idle connection is being checked.
    Checking {
        /// The connection.
        id: ConnectionId,
    },
    /// A check succeeded: the connection is lent or idle from here on, unless a `Closing` follows
    /// because it grew too old in the meantime.
    Checked {
        /// The connection.
        id: ConnectionId,
    },
    /// A check failed, panicked, or took too long; a `Closing` follows.
    CheckFailed {
        /// The connection.
        id: ConnectionId,
        /// Why.
        error: CheckError,
    },
    /// A connection was found dead. If it is lent, it is closed when it comes home; otherwise a
    /// `Closing` follows.
    Died {
        /// The connection.
        id: ConnectionId,
    },
    /// A holder gave its connection up with
    /// [`discard`](crate::PooledConnection::discard); a `Closing` follows.
    Discarded {
        /// The connection.
        id: ConnectionId,
    },
    /// A connection reached its lifetime, idle timeout or number of uses; a `Closing` follows.
    Expired {
        /// The connection.
        id: ConnectionId,
    },
    /// A connection is never lent again and is on its way to being closed.
    Closing {
        /// The connection.
        id: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// A close takes longer than the close timeout. Told again after each further close timeout.
    Stuck {
        /// The connection.
        id: ConnectionId,
        /// Why it is closed.
        reason: CloseReason,
        /// How long the close has taken so far.
        since: Duration,
    },
    /// A connection is gone and its slot free.
    Closed {
        /// The connection.
        id: ConnectionId,
        /// Why it was closed.
        reason: CloseReason,
    },
    /// A holder took its connection out of the pool for good. Its slot is free.
    Detached {
        /// The connection.
        id: ConnectionId,
    },
    /// A lease is out for longer than [`lease_warn_after`](crate::Builder::lease_warn_after). Told
    /// once per lease.
    LeaseOverdue {
        /// The connection.
        id: ConnectionId,
        /// Where it was acquired.
        site: &'static Location<'static>,
        /// For how long it has been out.
        held: Duration,
    },
    /// A lease that was told as overdue came home.
    OverdueLeaseReturned {
        /// The connection.
        id: ConnectionId,
        /// Where it was acquired.
        site: &'static Location<'static>,
        /// For how long it was out.
        held: Duration,
    },
    /// The limit on connections changed.
    Resized {
        /// The limit before.
        from: usize,
        /// The limit now.
        to: usize,
    },
    /// The pool began to close: by [`close`](crate::ConnectionPool::close), by the drop of its
    /// last handle, or because its runtime went.
    PoolClosing,
    /// The last slot of a closing pool was freed.
    PoolClosed,
}
