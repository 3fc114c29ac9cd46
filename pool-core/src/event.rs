//! What happens in a pool, reported to an [`Observer`].
//!
//! An event is numbered inside the critical section that caused it, and delivered after the lock was
//! released. So events of two threads, or of an observer that uses the pool, can arrive out of order.
//! Sorting by `seq` restores the order in which they happened; no number is ever missing.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{CheckError, ConnectError};
use crate::id::{CloseReason, ConnectionId, WaiterId};
use crate::status::LastWeighing;

/// Receives the events of a pool.
///
/// It is called on the thread that caused the event, which may be a caller's, so it must be quick and
/// must not block. It may use the pool, through a [`WeakPool`](crate::WeakPool): one that holds a handle
/// keeps its pool open for ever. A panic is caught and logged.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
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
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).observer(leases.clone()).build()?;
/// drop(pool.acquire().await?);
/// assert_eq!(leases.0.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event);
}

/// Something that happened in a pool.
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
    /// Its number among the events of this pool, from 0, without gaps.
    pub seq: u64,
    /// The pool's name.
    pub pool: Arc<str>,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// An event for tests of observers outside a pool.
    #[must_use]
    pub const fn new(seq: u64, pool: Arc<str>, kind: EventKind) -> Self {
        Self { seq, pool, kind }
    }
}

/// What can happen in a pool.
///
/// In a [`SharedPool`](crate::SharedPool) a connection has many leases at once. Each of them has its
/// `Leased` and its `Returned`, except that a lease whose connection is returned unfit has no
/// `Returned`. A `Closing` follows the last lease; `Discarded` and `Expired` come together with it.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// use pool_core::{Event, EventKind, Observer};
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Default)]
/// struct Names(Mutex<Vec<&'static str>>);
///
/// impl Observer for Names {
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
/// let names = Arc::new(Names::default());
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).observer(names.clone()).build()?;
/// drop(pool.acquire().await?);
/// let names = names.0.lock().unwrap();
/// assert_eq!(*names, ["queued", "opening", "opened", "leased", "returned"]);
/// # drop(names);
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
    /// A caller had its turn and waits all the same, since the connection that it drew proved dead, or all
    /// must be checked first: before all callers that had no turn yet, and among others of its kind in the
    /// order of their numbers.
    Requeued {
        /// The caller, under the number it had. If it was not in the queue before, it gets a new
        /// number.
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
        /// The number of the connection.
        id: ConnectionId,
    },
    /// A connect succeeded.
    Opened {
        /// The connection.
        id: ConnectionId,
    },
    /// A connect failed, panicked, or took too long. Its slot is free again.
    ConnectFailed {
        /// The number the connection would have had.
        id: ConnectionId,
        /// Why.
        error: ConnectError,
    },
    /// A connect was dropped because the pool closed or the runtime shut down. Its slot is free
    /// again.
    ConnectAborted {
        /// The number the connection would have had.
        id: ConnectionId,
    },
    /// A connection was lent.
    Leased {
        /// The connection.
        id: ConnectionId,
        /// The caller, if it had to wait in the queue.
        waiter: Option<WaiterId>,
    },
    /// A connection was returned in good order. It is lent again or idle from here on.
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
    /// A check succeeded. The connection is lent or idle from here on, unless a `Closing` follows
    /// because the connection was marked or expired in the meantime.
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
    /// A connection was found dead. If it is leased, it is closed when it is returned; otherwise a
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
    /// A connection weighs too much, and is not lent again; or, if it is shared, is to be replaced. A
    /// `Closing` follows when it is returned or replaced.
    Overweight {
        /// The connection.
        id: ConnectionId,
        /// What it weighs.
        weight: u64,
        /// `max_weight` of the pool, or of the budget.
        limit: u64,
    },
    /// A connection weighs more than `max_weight` within two or three weighings after it was opened, so its replacement
    /// will as well. Connections like it stay in use, and are replaced one after the other, each after twice the time.
    /// Reported when that begins, and again after a new connection was light enough; an `Overweight` follows.
    HeavyWhenNew {
        /// The connection.
        id: ConnectionId,
        /// What it weighs.
        weight: u64,
        /// `max_weight` of the pool.
        limit: u64,
    },
    /// A connection weighs more than `kill_weight`, and is ended now. A `Closing` follows after its last
    /// lease.
    Killed {
        /// The connection.
        id: ConnectionId,
        /// What it weighs.
        weight: u64,
        /// `kill_weight`.
        limit: u64,
    },
    /// A connection could not be weighed: its weight is unknown, or did not come in time. Its last
    /// weight counts. Reported when that begins, not at each attempt.
    Unweighed {
        /// The connection.
        id: ConnectionId,
        /// Why there is no weight.
        why: LastWeighing,
    },
    /// A connection is never lent again, and is about to be closed.
    Closing {
        /// The connection.
        id: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// A close takes longer than the close timeout. Repeated after each further close timeout.
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
    /// A lease has lasted longer than [`lease_warn_after`](crate::Builder::lease_warn_after). Reported
    /// once per lease.
    LeaseOverdue {
        /// The connection.
        id: ConnectionId,
        /// Where it was acquired.
        site: &'static Location<'static>,
        /// How long it has lasted.
        held: Duration,
    },
    /// A lease that was reported as overdue ended.
    OverdueLeaseReturned {
        /// The connection.
        id: ConnectionId,
        /// Where it was acquired.
        site: &'static Location<'static>,
        /// How long it lasted.
        held: Duration,
    },
    /// The limit on connections changed.
    Resized {
        /// The limit before.
        from: usize,
        /// The limit now.
        to: usize,
    },
    /// The pool began to close: because of [`close`](crate::ConnectionPool::close), of the drop of
    /// its last handle, or of the end of its runtime.
    PoolClosing,
    /// The last slot of a closing pool was freed.
    PoolClosed,
}
