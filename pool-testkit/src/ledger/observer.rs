//! The ledger: puts events in order, has each one checked, and keeps the first breach.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::{Event, EventKind, Observer};
use tokio::sync::watch;

use super::book::Book;
use super::breach::{Breach, LedgerRule, Violation};
use super::tally::LedgerCounts;

/// Checks the events of one pool. A clone is the same ledger.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectionId, Event, EventKind, Observer};
/// use pool_testkit::ledger::{Ledger, LedgerRule};
/// use std::sync::Arc;
///
/// let ledger = Ledger::new(1);
/// let pool = Arc::from("workers");
/// for seq in 0..2 {
///     let id = ConnectionId::from_u64(seq);
///     ledger.on_event(&Event::new(seq, Arc::clone(&pool), EventKind::Opening { id }));
/// }
/// let breach = ledger.breach().expect("two connects in a pool of one");
/// assert_eq!(breach.rule, LedgerRule::Capacity);
/// ```
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

// All changes are made under a lock that ignores poison, and none can panic halfway.
impl UnwindSafe for Ledger {}
impl RefUnwindSafe for Ledger {}

#[derive(Debug)]
struct Inner {
    state: Mutex<LedgerState>,
    /// How many events were taken up.
    progress: watch::Sender<u64>,
}

#[derive(Debug)]
struct LedgerState {
    book: Book,
    next_seq: u64,
    /// Events that arrived before their predecessors.
    early: BTreeMap<u64, Event>,
    /// The latest events, in order.
    events: VecDeque<Event>,
    breach: Option<Breach>,
}

impl Ledger {
    /// The ledger of a pool whose `max_size` is this at first.
    #[must_use]
    pub fn new(max_size: usize) -> Self {
        let state = LedgerState {
            book: Book::new(max_size),
            next_seq: 0,
            early: BTreeMap::new(),
            events: VecDeque::new(),
            breach: None,
        };
        let inner = Inner {
            state: Mutex::new(state),
            progress: watch::Sender::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The first rule that was broken, if any was.
    #[must_use]
    pub fn breach(&self) -> Option<Breach> {
        self.lock().breach.clone()
    }

    /// Checks that no rule was broken so far.
    ///
    /// # Panics
    ///
    /// Panics with the breach and the events that led to it.
    #[track_caller]
    pub fn assert_ok(&self) {
        if let Some(breach) = self.breach() {
            panic!("{breach}");
        }
    }

    /// Checks that no rule was broken and nothing is left: every event has arrived, every connection
    /// is closed or detached, and no caller waits.
    ///
    /// # Panics
    ///
    /// Panics with the breach and the events that led to it.
    #[track_caller]
    pub fn assert_settled(&self) {
        let breach = {
            let mut state = self.lock();
            state.end();
            state.breach.clone()
        };
        if let Some(breach) = breach {
            panic!("{breach}");
        }
    }

    /// How many there are of everything, according to the events.
    #[must_use]
    pub fn counts(&self) -> LedgerCounts {
        self.lock().book.counts()
    }

    /// The latest events in order, at most 65 536.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.iter().cloned().collect()
    }

    /// How many of the [latest events](Self::events) are of this kind.
    #[must_use]
    pub fn count_events(&self, mut is_kind: impl FnMut(&EventKind) -> bool) -> usize {
        self.lock()
            .events
            .iter()
            .filter(|event| is_kind(&event.kind))
            .count()
    }

    /// Waits until the counts satisfy a condition, and returns them.
    ///
    /// # Panics
    ///
    /// Panics with the breach if a rule was broken, because the counts mean nothing then.
    ///
    /// # Cancel safety
    ///
    /// Keeps no state: can be dropped and called again.
    pub async fn until(&self, mut reached: impl FnMut(&LedgerCounts) -> bool) -> LedgerCounts {
        let mut progress = self.inner.progress.subscribe();
        loop {
            self.assert_ok();
            let counts = self.counts();
            if reached(&counts) {
                return counts;
            }
            let changed = progress.changed().await;
            debug_assert!(changed.is_ok(), "the ledger outlives the wait for it");
        }
    }

    fn lock(&self) -> MutexGuard<'_, LedgerState> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Ledger {
    fn on_event(&self, event: &Event) {
        let seq = {
            let mut state = self.lock();
            state.arrive(event.clone());
            state.next_seq
        };
        self.inner.progress.send_replace(seq);
    }
}

impl LedgerState {
    fn arrive(&mut self, event: Event) {
        let seq = event.seq;
        if seq < self.next_seq || self.early.contains_key(&seq) {
            self.record(event);
            self.raise(Violation {
                rule: LedgerRule::Sequence,
                what: format!("{seq} came twice"),
            });
            return;
        }
        self.early.insert(seq, event);
        while let Some(event) = self.early.remove(&self.next_seq) {
            self.next_seq += 1;
            let kind = event.kind.clone();
            self.record(event);
            if self.breach.is_none()
                && let Err(violation) = self.book.enter(&kind)
            {
                self.raise(violation);
            }
        }
    }

    fn record(&mut self, event: Event) {
        if self.events.len() >= EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Checks what must be true when no more events are to come.
    fn end(&mut self) {
        if let Some(early) = self.early.keys().next() {
            let what = format!("{} never came, but {early} did", self.next_seq);
            self.raise(Violation {
                rule: LedgerRule::Sequence,
                what,
            });
        }
        if self.breach.is_none()
            && let Err(violation) = self.book.check_end()
        {
            self.raise(violation);
        }
    }

    /// Keeps the first breach.
    fn raise(&mut self, Violation { rule, what }: Violation) {
        let events = &self.events;
        self.breach.get_or_insert_with(|| {
            let old = events.len().saturating_sub(EVENTS_SHOWN);
            Breach {
                rule,
                what,
                recent: events.range(old..).cloned().collect(),
            }
        });
    }
}

/// How many events are kept: enough for any one test, and a bound for a soak.
const EVENTS_KEPT: usize = 65_536;

/// How many events a breach shows.
const EVENTS_SHOWN: usize = 32;
