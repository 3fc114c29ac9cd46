//! What every connection goes through, however it is lent: leased, dead, retired, closed.

use std::panic::Location;
use std::task::Waker;
use std::time::Duration;

use crate::error::{ConnectError, Fault};
use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId, WaiterId};
use crate::store::pacer::Cost;
use crate::store::{Errand, Lending, SlotKey, State, Store};

/// In which condition a connection is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Clean,
    NeedsReset,
    /// Dead, but clean: it served its caller and ended.
    Ended,
    Unfit(CloseReason),
}

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// A connection is never lent again, and is to be closed.
    pub(crate) fn retire(&mut self, key: SlotKey, connection: C, reason: CloseReason) {
        let known_dead = self.slots.get(key).close_reason == Some(CloseReason::Died);
        let reason = self.slots.get(key).reason_of_end(reason);
        let record = self.slots.set_state(key, State::Closing);
        record.close_reason = Some(reason);
        if let Some(claim) = &record.claim {
            claim.closing();
        }
        let id = record.id;
        self.judge_end(key, reason);
        match reason {
            CloseReason::Died => {
                if !known_dead {
                    self.log(EventKind::Died { id });
                }
            }
            CloseReason::Discarded => self.log(EventKind::Discarded { id }),
            CloseReason::Lifetime | CloseReason::Idle | CloseReason::MaxUses => {
                self.log(EventKind::Expired { id });
            }
            CloseReason::Shrunk
            | CloseReason::Evicted
            | CloseReason::PoolClosed
            | CloseReason::Dirty
            | CloseReason::CheckFailed
            | CloseReason::ResetFailed
            | CloseReason::Reclaimed
            | CloseReason::Overweight
            | CloseReason::Killed => {}
        }
        self.log(EventKind::Closing { id, reason });
        self.owe(Errand::Close(connection, reason));
        // An idle connection that is given up for another pool leaves nothing to look at here.
        match reason == CloseReason::Reclaimed && self.queue.is_empty() {
            true => self.call_for_connects(),
            false => self.kick(),
        }
    }

    /// A close takes longer than its timeout; its slot stays taken.
    pub(crate) fn stuck(&mut self, key: SlotKey, reason: CloseReason, since: Duration) {
        let record = self.slots.set_state(key, State::Stuck);
        // Others must not wait for it: another connection is given up in its place.
        record.claim = None;
        let id = record.id;
        self.log(EventKind::Stuck { id, reason, since });
    }

    /// Frees a slot: the last thing that happens to it. Returns whether its permit may be used for
    /// another slot; otherwise the pool has shrunk and the permit must be destroyed.
    pub(crate) fn release(&mut self, key: SlotKey) -> bool {
        let mut record = self.slots.remove(key);
        self.total_weight -= u128::from(record.weight);
        if let Some(vitals) = record.vitals.take() {
            self.drop_outside(vitals);
        }
        self.drop_reason(record.death_reason.take());
        let id = record.id;
        if record.opened {
            self.closed_since += usize::from(self.is_closed);
            let reason = record.close_reason.unwrap_or(CloseReason::PoolClosed);
            // Its reset or check was dropped when the runtime shut down.
            if !record.is_closing() {
                self.log(EventKind::Closing { id, reason });
            }
            self.log(EventKind::Closed { id, reason });
        }
        let is_aborted = record.state() == State::Opening;
        if is_aborted {
            self.log(EventKind::ConnectAborted { id });
        }
        if is_aborted && !self.is_closed {
            // While the pool is open, only a runtime that shuts down drops a connect. It would drop the
            // next one as well, at once, and again, for ever.
            self.orphan();
        } else if self.is_closed && self.slots.len() == 0 {
            self.log(EventKind::PoolClosed);
        }
        self.resolve_goals();
        match self.is_closed || !self.queue.is_empty() {
            true => self.kick(),
            false => self.call_for_connects(),
        }
        self.slots.len() < self.limits.slots_max()
    }

    /// `died` resolved for this connection, perhaps to a reason.
    pub(crate) fn died(&mut self, key: SlotKey, id: ConnectionId, reason: Option<ConnectError>) {
        let record = self.slots.find(key, id);
        match record.filter(|record| record.is_open()) {
            Some(record) => {
                record.death_reason = reason;
                L::died(self, key);
            }
            None => self.drop_reason(reason),
        }
    }

    fn drop_reason(&mut self, reason: Option<ConnectError>) {
        if let Some(reason) = reason {
            self.drop_outside(reason);
        }
    }

    /// What is suspected of this connection has changed.
    pub(crate) fn suspect(&mut self, key: SlotKey, id: ConnectionId, is_suspected: bool) {
        let tick = self.tick;
        let Some(record) = self.slots.find(key, id) else {
            return;
        };
        if is_suspected && !record.is_suspected {
            record.suspected_at = tick;
        }
        record.is_suspected = is_suspected;
        if record.is_open() {
            L::suspicion_changed(self, key);
        }
    }

    #[inline]
    pub(super) fn wake_served(&mut self, waker: Option<Waker>) {
        match self.served {
            None => self.served = waker,
            Some(_) => waker.into_iter().for_each(|waker| self.wake(waker)),
        }
    }

    #[inline]
    pub(super) fn lease(
        &mut self,
        key: SlotKey,
        site: &'static Location<'static>,
        waiter: Option<WaiterId>,
    ) {
        let tick = self.tick;
        let record = self.slots.set_state(key, State::Leased);
        debug_assert!(
            record.close_reason.is_none(),
            "invariant broken: a connection that is marked for close is lent"
        );
        record.leased = tick;
        record.site = Some(site);
        let id = record.id;
        self.log_hot(|| EventKind::Leased { id, waiter });
    }

    /// The pacer learns from the end of a connection, once.
    ///
    /// A connection proves itself if it ends in order, after its last permitted use, or by itself after
    /// it was returned clean. It counts as a failure if it is found dead or unfit before it has lived
    /// for `min_uptime`. Otherwise a peer that breaks every connection would be connected to again and
    /// again without a delay.
    pub(super) fn judge_end(&mut self, key: SlotKey, reason: CloseReason) {
        let record = self.slots.get_mut(key);
        if std::mem::replace(&mut record.is_judged, true) {
            return;
        }
        let reason = record.reason_of_end(reason);
        let (id, born, round) = (record.id, record.born, record.round);
        let ended = record.unfit_at.unwrap_or(self.tick).max(born);
        let age = ended.since(born);
        let is_used_up = record.uses >= record.uses_max;
        let has_proved = match reason {
            CloseReason::Lifetime | CloseReason::Idle | CloseReason::MaxUses => true,
            CloseReason::Died => record.has_served() || is_used_up,
            // What is too heavy so soon would be killed again and again.
            CloseReason::Dirty | CloseReason::Discarded | CloseReason::Killed => is_used_up,
            // The pool decided so, or the connection had been returned in good order.
            CloseReason::Shrunk
            | CloseReason::Evicted
            | CloseReason::PoolClosed
            | CloseReason::CheckFailed
            | CloseReason::ResetFailed
            | CloseReason::Reclaimed
            | CloseReason::Overweight => return,
        };
        if has_proved {
            self.pacer.proved(born);
        } else if age < self.limits.min_uptime {
            let death_reason = self.slots.get_mut(key).death_reason.take();
            let fault = death_reason
                .unwrap_or_else(|| ConnectError::transient(Fault::EndedEarly { id, age, reason }));
            let before = self.pacer.failed(ended, round, Cost::Connection, fault);
            self.drop_outside(before);
        }
    }

    /// A connection is found dead or unfit: from then on it does not grow older.
    pub(super) fn note_unfit(&mut self, key: SlotKey) {
        let tick = self.tick;
        self.slots.get_mut(key).unfit_at.get_or_insert(tick);
    }

    pub(super) fn overdue_lease_returned(&mut self, key: SlotKey) {
        let tick = self.tick;
        let record = self.slots.get_mut(key);
        record.overdue = false;
        let (id, held) = (record.id, tick.since(record.leased));
        if let Some(site) = record.site {
            self.log(EventKind::OverdueLeaseReturned { id, site, held });
        }
    }
}
