//! The rules a pool's events must keep, and the report on the first that was broken.

use std::error::Error;
use std::fmt;

use pool_core::Event;

/// A rule that the events of every pool keep.
///
/// # Examples
///
/// See [`Breach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Events are numbered from 0, without gap or repetition.
    Sequence,
    /// No slot is taken while as many are in use as the present limit allows.
    Capacity,
    /// A connection has at most one lease.
    OneLease,
    /// No connection is lent after it died, expired, was discarded or began to be closed.
    NoLeaseOfDoomed,
    /// No connection is idle after it died, expired, was discarded or began to be closed.
    NoParkingOfDoomed,
    /// No connection is idle while a caller is queued.
    NoIdleWhileQueued,
    /// Callers are served in the order of the queue.
    Fifo,
    /// Nobody is served past the queue.
    NoBarging,
    /// Every opened connection is closed exactly once, or detached exactly once.
    CloseOnce,
    /// Events of one connection come in an order that its life allows.
    Lifecycle,
    /// Callers join the queue once, with a new number, and leave it once.
    Queue,
    /// After the pool began to close nothing is opened, queued, lent or parked.
    AfterClose,
    /// At the end nothing is open and nobody waits.
    Settled,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 13] = [
        Self::Sequence,
        Self::Capacity,
        Self::OneLease,
        Self::NoLeaseOfDoomed,
        Self::NoParkingOfDoomed,
        Self::NoIdleWhileQueued,
        Self::Fifo,
        Self::NoBarging,
        Self::CloseOnce,
        Self::Lifecycle,
        Self::Queue,
        Self::AfterClose,
        Self::Settled,
    ];

    /// The rule in words.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_testkit::ledger::Rule;
    ///
    /// assert_eq!(Rule::Fifo.as_str(), "callers are served in the order of the queue");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequence => "events are numbered from 0, without gap or repetition",
            Self::Capacity => "no slot is taken beyond the present limit",
            Self::OneLease => "a connection has at most one lease",
            Self::NoLeaseOfDoomed => "no connection is lent after it was marked for its end",
            Self::NoParkingOfDoomed => "no connection is idle after it was marked for its end",
            Self::NoIdleWhileQueued => "no connection is idle while a caller is queued",
            Self::Fifo => "callers are served in the order of the queue",
            Self::NoBarging => "nobody is served past the queue",
            Self::CloseOnce => "every opened connection is closed or detached exactly once",
            Self::Lifecycle => "events of one connection come in an order that its life allows",
            Self::Queue => "callers join the queue once, with a new number, and leave it once",
            Self::AfterClose => "a closing pool opens, queues, lends and parks nothing",
            Self::Settled => "at the end nothing is open and nobody waits",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was wrong with an event, before it is known where.
pub(super) type Verdict = Result<(), Offence>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offence {
    pub(super) rule: Rule,
    pub(super) what: String,
}

pub(super) fn offence(rule: Rule, what: impl Into<String>) -> Verdict {
    Err(Offence {
        rule,
        what: what.into(),
    })
}

/// The first rule that was broken. `Display` shows the events that led there.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectionId, Event, EventKind, Observer};
/// use pool_testkit::ledger::{Ledger, Rule};
/// use std::sync::Arc;
///
/// let ledger = Ledger::new(1);
/// for seq in 0..2 {
///     let kind = EventKind::Opening { id: ConnectionId::from_u64(seq) };
///     ledger.on_event(&Event::new(seq, Arc::from("pool"), kind));
/// }
/// let breach = ledger.breach().expect("two slots of one");
/// assert_eq!((breach.rule, breach.recent.len()), (Rule::Capacity, 2));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Breach {
    /// The rule.
    pub rule: Rule,
    /// What broke it.
    pub what: String,
    /// The events up to the one that broke it, which is the last.
    pub recent: Vec<Event>,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rule {:?} broken ({}): {}",
            self.rule, self.rule, self.what
        )?;
        for event in &self.recent {
            write!(f, "\n  {:>6} {:?}", event.seq, event.kind)?;
        }
        Ok(())
    }
}

impl Error for Breach {}
