//! An observer of a shared pool. It keeps all events, in order, and checks them at the end.
//!
//! A lease whose connection is returned unfit has no `Returned`. That connection gets no new leases, so
//! as long as one gets leases, they can be counted by its events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::{Event, EventKind, Observer};
use tokio::sync::watch;

use crate::kind::SoupLedger;
use crate::share_book::{ShareBook, ShareLimits};

#[derive(Debug, Clone)]
pub(crate) struct ShareLedger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: ShareLimits,
    arrivals: Mutex<Arrivals>,
    /// True from the last event of the pool on.
    is_closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Arrivals {
    /// In order, without a gap.
    events: Vec<Event>,
    /// Events that came before their predecessors.
    early: BTreeMap<u64, Event>,
    /// An event with a number that was there before.
    repeated: Option<Event>,
}

impl ShareLedger {
    pub(crate) fn new(max_size: usize, max_surge: usize, max_leases: u32) -> Self {
        let limits = ShareLimits {
            max_size,
            max_surge,
            max_leases,
        };
        Self {
            inner: Arc::new(Inner {
                limits,
                arrivals: Mutex::default(),
                is_closed: watch::Sender::new(false),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arrivals> {
        let arrivals = &self.inner.arrivals;
        arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The books after all events so far, and what is wrong, with the events that led to it.
    fn audit(&self) -> (ShareBook, Result<(), String>) {
        let arrivals = self.lock();
        let mut book = ShareBook::new(self.inner.limits);
        if let Some(event) = &arrivals.repeated {
            return (book, Err(format!("{event:?} came twice")));
        }
        for (place, event) in arrivals.events.iter().enumerate() {
            if let Err(what) = book.enter(&event.kind) {
                let recent = &arrivals.events[place.saturating_sub(EVENTS_SHOWN)..=place];
                let lines = recent
                    .iter()
                    .map(|event| format!("\n  {:>6} {:?}", event.seq, event.kind));
                return (book, Err(what + &lines.collect::<String>()));
            }
        }
        (book, Ok(()))
    }
}

impl Observer for ShareLedger {
    fn on_event(&self, event: &Event) {
        let mut is_closed = false;
        {
            let mut arrivals = self.lock();
            let next = arrivals.events.len() as u64;
            if event.seq < next || arrivals.early.contains_key(&event.seq) {
                arrivals.repeated.get_or_insert_with(|| event.clone());
            } else {
                arrivals.early.insert(event.seq, event.clone());
            }
            while let next = arrivals.events.len() as u64
                && let Some(event) = arrivals.early.remove(&next)
            {
                is_closed |= matches!(event.kind, EventKind::PoolClosed);
                arrivals.events.push(event);
            }
        }
        if is_closed {
            self.inner.is_closed.send_replace(true);
        }
    }
}

impl SoupLedger for ShareLedger {
    async fn closed(&self) {
        let mut is_closed = self.inner.is_closed.subscribe();
        let told = is_closed.wait_for(|is_closed| *is_closed).await;
        assert!(told.is_ok(), "the ledger outlives the wait for it");
    }

    fn assert_settled(&self) {
        let (book, verdict) = self.audit();
        let verdict = verdict.and_then(|()| book.check_end());
        if let Err(what) = verdict {
            panic!("{what}");
        }
        let early = self.lock().early.len();
        assert_eq!(early, 0, "some events never came, but later ones did");
    }

    fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    fn feats(&self) -> Vec<&'static str> {
        self.audit().0.feats()
    }
}

/// How many events are shown before one that breaks a rule.
const EVENTS_SHOWN: usize = 32;
