//! The rules that the events of a pool keep, and the report on the first one that was broken.

use std::error::Error;
use std::fmt;

use pool_core::Event;

/// A rule that the events of every pool keep. `Display` is the rule in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LedgerRule {
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
    /// No connection is idle while a caller is queued, unless it must be checked first, and as many others
    /// are being checked as callers are queued.
    NoIdleWhileQueued,
    /// Callers are served in the order of the queue.
    Fifo,
    /// Nobody is served ahead of the queue.
    NoBarging,
    /// Every opened connection is closed exactly once, or detached exactly once.
    CloseOnce,
    /// The events of one connection come in an order that the life of a connection allows.
    Lifecycle,
    /// Callers join the queue once, with a new number, and leave it once.
    Queue,
    /// After the pool began to close, nothing is opened, queued, lent or idle.
    AfterClose,
    /// At the end nothing is open and no caller waits.
    Settled,
}

impl LedgerRule {
    #[cfg(test)]
    pub(super) const ALL: [Self; 13] = [
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

    const fn in_words(self) -> &'static str {
        match self {
            Self::Sequence => "events are numbered from 0, without gap or repetition",
            Self::Capacity => "no slot is taken beyond the present limit",
            Self::OneLease => "a connection has at most one lease",
            Self::NoLeaseOfDoomed => "no connection is lent after it was marked for its end",
            Self::NoParkingOfDoomed => "no connection is idle after it was marked for its end",
            Self::NoIdleWhileQueued => "no connection is idle while a caller is queued",
            Self::Fifo => "callers are served in the order of the queue",
            Self::NoBarging => "nobody is served ahead of the queue",
            Self::CloseOnce => "every opened connection is closed or detached exactly once",
            Self::Lifecycle => "the events of one connection come in an order that its life allows",
            Self::Queue => "callers join the queue once, with a new number, and leave it once",
            Self::AfterClose => {
                "a closing pool opens, queues and lends nothing, and has nothing idle"
            }
            Self::Settled => "at the end nothing is open and no caller waits",
        }
    }
}

impl fmt::Display for LedgerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.in_words())
    }
}

/// Whether an event keeps the rules.
pub(super) type Checked = Result<(), Violation>;

/// What is wrong with an event. The ledger makes it a [`Breach`] by adding the events before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) rule: LedgerRule,
    pub(super) what: String,
}

pub(super) fn violation(rule: LedgerRule, what: impl Into<String>) -> Checked {
    Err(Violation {
        rule,
        what: what.into(),
    })
}

/// The first rule that was broken. `Display` shows the events that led to it.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectionId, Event, EventKind, Observer};
/// use pool_testkit::ledger::{Ledger, LedgerRule};
/// use std::sync::Arc;
///
/// let ledger = Ledger::new(1);
/// for seq in 0..2 {
///     let kind = EventKind::Opening { id: ConnectionId::from_u64(seq) };
///     ledger.on_event(&Event::new(seq, Arc::from("pool"), kind));
/// }
/// let breach = ledger.breach().expect("two connects in a pool of one");
/// assert_eq!((breach.rule, breach.recent.len()), (LedgerRule::Capacity, 2));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Breach {
    /// The rule.
    pub rule: LedgerRule,
    /// What broke it.
    pub what: String,
    /// The latest events. The last of them broke the rule.
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
