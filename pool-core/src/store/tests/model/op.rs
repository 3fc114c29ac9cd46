//! What can be done to a pool: abstract operations as they are generated, and the concrete actions
//! they stand for in a given state.

/// The settings of a pool that decisions depend on. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The limit on the number of slots.
    pub(crate) max_size: usize,
    /// How many idle connections the idle timeout spares.
    pub(crate) min_idle: usize,
    /// How many callers may wait.
    pub(crate) max_waiters: usize,
    /// How many connects may be under way.
    pub(crate) max_connecting: usize,
    /// The connection that has been idle for longest is lent next.
    pub(crate) takes_oldest: bool,
    /// How long a connection may be idle.
    pub(crate) idle_timeout_ms: Option<u64>,
    /// How old a connection may get.
    pub(crate) max_lifetime_ms: Option<u64>,
    /// By how much the pool may shorten the lifetime of a connection at random.
    pub(crate) lifetime_jitter_ms: u64,
    /// How often a connection may be lent.
    pub(crate) max_uses: Option<u64>,
    /// After how long an unused idle connection is checked at the latest, if others are idle.
    pub(crate) check_interval_ms: Option<u64>,
    /// After how long an unused idle connection is checked before it is lent.
    pub(crate) check_after_idle_ms: Option<u64>,
    /// How far the clock of the pool may lag behind. 0 for a pool that is told the exact time.
    pub(crate) tick_ms: u64,
}

impl Limits {
    /// After how long without use or check a connection is checked before it is lent.
    pub(super) fn stale_after_ms(&self) -> Option<u64> {
        let limits = [self.check_after_idle_ms, self.check_interval_ms];
        limits.into_iter().flatten().min()
    }
}

impl Default for Limits {
    /// One connection, no waiting room to speak of, and nothing that happens by time.
    fn default() -> Self {
        Self {
            max_size: 1,
            min_idle: 0,
            max_waiters: 16,
            max_connecting: 16,
            takes_oldest: false,
            idle_timeout_ms: None,
            max_lifetime_ms: None,
            lifetime_jitter_ms: 0,
            max_uses: None,
            check_interval_ms: None,
            check_after_idle_ms: None,
            tick_ms: 0,
        }
    }
}

/// How a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// In good order.
    Clean,
    /// In good order once it is reset.
    NeedsReset,
    /// With an unread reply.
    Dirty,
    /// Dead.
    Dead,
    /// Dead, after it served its caller.
    Ended,
    /// Given up by its holder.
    Discard,
    /// Kept by its holder.
    Detach,
}

/// How a connect fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A later attempt may succeed.
    Transient,
    /// It cannot succeed.
    Permanent,
}

/// How a check or reset ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The connection passed.
    Passed,
    /// It did not.
    Failed,
}

/// An operation as it is generated.
///
/// A number means the n-th of what there is when its turn comes, modulo how many there are; with
/// none, the operation is nothing. So every sequence of operations has a meaning, and stays
/// meaningful while it shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A caller acquires; 0 means not to wait.
    Acquire {
        /// How long it is ready to wait.
        timeout_ms: u64,
    },
    /// A caller takes an idle connection or none.
    TryAcquire,
    /// The n-th caller in the queue goes away.
    CancelWaiter(usize),
    /// The n-th lease ends.
    Return(usize, Home),
    /// The n-th connect succeeds.
    ConnectOk(usize),
    /// The n-th connect fails.
    ConnectFail(usize, Failure),
    /// The n-th close ends, be it late or not.
    CloseDone(usize),
    /// The n-th close that is not late becomes late.
    CloseLate(usize),
    /// The n-th check ends.
    CheckDone(usize, Probe),
    /// The n-th reset ends.
    ResetDone(usize, Probe),
    /// The n-th open connection dies.
    Died(usize),
    /// The holder of the n-th lease finds it dead before it ever used it, and wants another.
    Corpse(usize),
    /// Time passes, and the pool looks what is due.
    Advance {
        /// How much.
        ms: u64,
    },
    /// The limit changes.
    Resize(usize),
    /// All connections are evicted.
    EvictAll,
    /// The n-th open connection is evicted.
    EvictOne(usize),
    /// The pool closes.
    ClosePool,
    /// The pool looks whether connects should start.
    StartConnects,
}

/// An operation on slots and callers that exist: slots by the ids that the pool gave them, callers by
/// the tickets that the model gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Acquire { ticket: u64, timeout_ms: u64 },
    TryAcquire { ticket: u64 },
    CancelWaiter { ticket: u64 },
    Return { slot: u64, home: Home },
    ConnectOk { slot: u64 },
    ConnectFail { slot: u64, failure: Failure },
    CloseDone { slot: u64 },
    CloseLate { slot: u64 },
    CheckDone { slot: u64, probe: Probe },
    ResetDone { slot: u64, probe: Probe },
    Died { slot: u64 },
    Corpse { slot: u64, ticket: u64 },
    Advance { now_ms: u64 },
    Resize { max_size: usize },
    EvictAll,
    EvictOne { slot: u64 },
    ClosePool,
    StartConnects,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Idle for too long.
    Idle,
    /// Too old.
    Lifetime,
    /// Lent too often.
    MaxUses,
    /// The pool has more than it may have.
    Shrunk,
    /// Evicted.
    Evicted,
    /// The pool is closed.
    PoolClosed,
    /// Dead.
    Died,
    /// Unfit for another caller.
    Dirty,
    /// Given up by its holder.
    Discarded,
    /// Did not pass a check.
    CheckFailed,
    /// Did not pass a reset.
    ResetFailed,
}

/// A decision that is the pool's to make: the model checks that it was allowed, and follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It started a connect, in a new slot.
    Start {
        /// The id it gave the slot.
        slot: u64,
    },
    /// It started the check of an idle connection.
    Check {
        /// The connection.
        slot: u64,
    },
    /// It lent another connection than this one, which it found stale.
    PassOver {
        /// The connection.
        slot: u64,
    },
    /// It found a connection too old or idle for too long. To be reported for every such close,
    /// whatever action it belongs to.
    Expire {
        /// The connection.
        slot: u64,
        /// [`Reason::Idle`] or [`Reason::Lifetime`].
        reason: Reason,
    },
    /// It answered a caller at once because connections cannot be opened.
    Refuse {
        /// The caller: one in the queue, or the one who came with this action.
        ticket: u64,
    },
}
