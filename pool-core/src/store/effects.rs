//! What a transition of the store owes the outside world.
//!
//! The store calls nobody. It collects wakers, errands and events here; whoever held the lock takes
//! them along and carries them out after unlocking. The waker of a waiter that was served, by far
//! the most frequent debt, is kept apart from the others.

use std::any::Any;
use std::task::Waker;

use crate::event::EventKind;
use crate::id::CloseReason;
use crate::store::SlotKey;

/// Work on a connection that no caller waits for.
#[derive(Debug)]
pub(crate) enum Errand<C> {
    Close(C, CloseReason),
    Reset(C),
    Check(C),
    /// Check the shared connection of this slot, while it serves.
    Probe(SlotKey),
}

/// Debts of one critical section.
#[derive(Debug)]
#[must_use]
pub(crate) struct Effects<C> {
    /// Waiters that were refused, or served beside the first one.
    pub(crate) wakers: Vec<Waker>,
    /// What is only to be dropped: wakers, and errors of the connector. Their drop is foreign code.
    pub(crate) spent: Vec<Box<dyn Any + Send>>,
    pub(crate) errands: Vec<Errand<C>>,
    pub(crate) events: Vec<(u64, EventKind)>,
    /// The maintenance task must look again: something to open, or an earlier alarm.
    pub(crate) kick: bool,
}

impl<C> Effects<C> {
    pub(crate) const fn none() -> Self {
        Self {
            wakers: Vec::new(),
            spent: Vec::new(),
            errands: Vec::new(),
            events: Vec::new(),
            kick: false,
        }
    }
}
