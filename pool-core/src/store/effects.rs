//! What a critical section owes the outside world.
//!
//! The store calls nobody. It collects wakers, errands and events here; the code that held the lock
//! takes them along and carries them out after unlocking. The waker of the first waiter that was
//! served, by far the most frequent effect, is kept apart from the others.

use std::any::Any;
use std::task::Waker;

use crate::event::EventKind;
use crate::id::CloseReason;
use crate::store::{Lending, Weighable};

/// Work that no caller waits for.
pub(crate) enum Errand<C: Send + 'static, L: Lending> {
    Close(C, CloseReason),
    Upkeep(L::Upkeep<C>),
    /// At most one at a time.
    Weigh(Vec<Weighable>),
}

/// What one critical section owes.
#[must_use]
pub(crate) struct Effects<C: Send + 'static, L: Lending> {
    /// Waiters that were refused, or served beside the first one.
    pub(crate) wakers: Vec<Waker>,
    /// Wakers and the connector's errors, to be dropped: their `Drop` is foreign code.
    pub(crate) spent: Vec<Box<dyn Any + Send>>,
    pub(crate) errands: Vec<Errand<C, L>>,
    pub(crate) events: Vec<(u64, EventKind)>,
    /// The maintenance task must look again: something to open, or an earlier alarm.
    pub(crate) kick: bool,
}

impl<C: Send + 'static, L: Lending> Effects<C, L> {
    pub(crate) const fn none() -> Self {
        Self {
            wakers: Vec::new(),
            spent: Vec::new(),
            errands: Vec::new(),
            events: Vec::new(),
            kick: false,
        }
    }

    pub(crate) const fn has_events(&self) -> bool {
        !self.events.is_empty()
    }
}
