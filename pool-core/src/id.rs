//! What names a connection, a waiter, and the reason a connection is closed.

use std::fmt;

/// The number of a connection: unique within its pool, in the order in which connects were started.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionId;
///
/// let (first, second) = (ConnectionId::from_u64(0), ConnectionId::from_u64(1));
/// assert!(first < second, "in the order in which their connects were started");
/// assert_eq!((second.to_string().as_str(), second.as_u64()), ("#1", 1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The id with this number, for tests of connectors outside a pool.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a waiting caller: unique within its pool, in the order of arrival.
///
/// # Examples
///
/// ```
/// use pool_core::WaiterId;
///
/// let (first, second) = (WaiterId::from_u64(1), WaiterId::from_u64(2));
/// assert!(first < second, "the first to come is the first to be served");
/// assert_eq!(second.to_string(), "waiter 2");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(pub(crate) u64);

impl WaiterId {
    /// The id with this number, for tests of observers outside a pool.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for WaiterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiter {}", self.0)
    }
}

/// Why a connection is closed.
///
/// # Examples
///
/// ```
/// use pool_core::CloseReason;
///
/// assert!(CloseReason::Idle.is_orderly(), "the peer can be asked to leave");
/// assert!(!CloseReason::Died.is_orderly(), "the peer is gone");
/// assert_eq!(CloseReason::MaxUses.to_string(), "max_uses", "as in metrics labels");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It was idle for longer than the idle timeout.
    Idle,
    /// It reached its maximum lifetime.
    Lifetime,
    /// It was lent `max_uses` times.
    MaxUses,
    /// There are more connections than the pool may have: it became smaller, or one that was suspected to hang works again.
    Shrunk,
    /// [`evict_all`](crate::ConnectionPool::evict_all) or
    /// [`retain`](crate::ConnectionPool::retain) picked it.
    Evicted,
    /// The pool is closed.
    PoolClosed,
    /// [`Connector::is_alive`](crate::Connector::is_alive) returned `false`, or [`Connector::died`](crate::Connector::died) resolved.
    Died,
    /// [`Connector::is_clean`](crate::Connector::is_clean) returned `false` on return.
    Dirty,
    /// Its holder called [`PooledConnection::discard`](crate::PooledConnection::discard).
    Discarded,
    /// [`Connector::check`](crate::Connector::check) failed, panicked or took too long.
    CheckFailed,
    /// [`Connector::reset`](crate::Connector::reset) failed, panicked or took too long.
    ResetFailed,
    /// Its [`Budget`](crate::Budget) needed it for another pool.
    Reclaimed,
    /// It weighed more than [`max_weight`](crate::Builder::max_weight), or its budget was too heavy.
    Overweight,
    /// It weighed more than [`kill_weight`](crate::Builder::kill_weight), so it was ended by force.
    Killed,
}

impl CloseReason {
    /// Whether the connection works, so that a close may wait for the peer.
    ///
    /// `false` means that the peer may not answer any more: a connector should use force at once,
    /// otherwise every broken connection holds its slot for the whole grace period.
    #[must_use]
    pub const fn is_orderly(self) -> bool {
        match self {
            Self::Idle
            | Self::Lifetime
            | Self::MaxUses
            | Self::Shrunk
            | Self::Evicted
            | Self::Reclaimed
            | Self::Overweight
            | Self::PoolClosed => true,
            Self::Died
            | Self::Dirty
            | Self::Discarded
            | Self::CheckFailed
            | Self::ResetFailed
            | Self::Killed => false,
        }
    }

    /// Every reason.
    pub(crate) const ALL: [Self; 14] = [
        Self::Idle,
        Self::Lifetime,
        Self::MaxUses,
        Self::Shrunk,
        Self::Evicted,
        Self::PoolClosed,
        Self::Died,
        Self::Dirty,
        Self::Discarded,
        Self::CheckFailed,
        Self::ResetFailed,
        Self::Reclaimed,
        Self::Overweight,
        Self::Killed,
    ];

    /// The reason as a metrics label: lowercase, words joined by `_`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::MaxUses => "max_uses",
            Self::Shrunk => "shrunk",
            Self::Evicted => "evicted",
            Self::PoolClosed => "pool_closed",
            Self::Died => "died",
            Self::Dirty => "dirty",
            Self::Discarded => "discarded",
            Self::CheckFailed => "check_failed",
            Self::ResetFailed => "reset_failed",
            Self::Reclaimed => "reclaimed",
            Self::Overweight => "overweight",
            Self::Killed => "killed",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
