//! What the owner of a pool can order: resize, evict, close.

use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId};
use crate::store::{Lending, Refusal, State, Store};

/// How a resize changes the free permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Resized {
    Add(usize),
    Remove(usize),
}

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// Changes the limit, unless the pool is closed. The permits must change with it, in the same
    /// critical section.
    pub(crate) fn resize(&mut self, max_size: usize) -> Option<Resized> {
        if self.is_closed {
            return None;
        }
        let before = self.limits.slots_max();
        let from = std::mem::replace(&mut self.limits.max_size, max_size);
        self.log(EventKind::Resized { from, to: max_size });
        L::shrink(self);
        self.resolve_goals();
        self.kick();
        let slots = self.slots.len();
        let (before, after) = (before.max(slots), self.limits.slots_max().max(slots));
        Some(if after >= before {
            Resized::Add(after - before)
        } else {
            Resized::Remove(before - after)
        })
    }

    /// Evicts the connections that `selects` picks, those being opened included, and returns how
    /// many.
    pub(crate) fn evict(&mut self, mut selects: impl FnMut(ConnectionId) -> bool) -> usize {
        let mut count = L::evict(self, &mut selects);
        for record in self.slots.iter_mut() {
            let is_opening = record.state() == State::Opening;
            if is_opening && record.close_reason.is_none() && selects(record.id) {
                record.close_reason = Some(CloseReason::Evicted);
                count += 1;
            }
        }
        count
    }

    /// Stops intake, refuses the waiters, and closes what has no lease. Only the first call does
    /// anything.
    pub(crate) fn close(&mut self) {
        if self.is_closed {
            return;
        }
        self.is_closed = true;
        self.log(EventKind::PoolClosing);
        self.finish_renewal(None);
        self.refuse_all(Refusal::Closed);
        L::close_unused(self);
        if self.slots.len() == 0 {
            self.log(EventKind::PoolClosed);
        }
        self.resolve_goals();
        self.kick();
    }
}
