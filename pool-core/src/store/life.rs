//! The way of a connection from one lease to the next, or to its end.

use std::panic::Location;
use std::task::Waker;
use std::time::Duration;

use crate::error::{CheckError, ConnectError, Fault};
use crate::event::EventKind;
use crate::id::WaiterId;
use crate::id::{CloseReason, ConnectionId};
use crate::store::{Errand, Served, SlotKey, State, Store, WaitEnd};
use crate::time::Time;

/// How a connection comes home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Clean,
    NeedsReset,
    Unfit(CloseReason),
}

impl<C> Store<C> {
    /// A lease or a reset is over.
    #[inline]
    pub(crate) fn give_back(&mut self, key: SlotKey, connection: C, condition: Condition) {
        let record = self.slots.get_mut(key);
        if record.state() == State::Leased {
            record.used = self.tick;
            if record.overdue {
                self.overdue_lease_returned(key);
            }
        }
        match condition {
            Condition::Clean => {
                if let Some(reason) = self.reason_to_close(key) {
                    return self.retire(key, connection, reason);
                }
                let id = self.slots.get(key).id;
                self.log_hot(|| EventKind::Returned { id });
                self.place(key, connection);
            }
            Condition::NeedsReset => self.begin_reset(key, connection),
            Condition::Unfit(reason) => self.retire(key, connection, reason),
        }
    }

    /// A connection that was drawn proved dead before its caller had it: that was no use, or one that
    /// dies at once would count as spent after a single permitted use and be opened again and again
    /// without delay.
    pub(crate) fn discard_dead(&mut self, key: SlotKey, connection: C) {
        self.slots.get_mut(key).uses -= 1;
        self.retire(key, connection, CloseReason::Died);
    }

    /// A check is over.
    pub(crate) fn checked(&mut self, key: SlotKey, connection: C, now: Time) {
        let record = self.slots.get_mut(key);
        record.proven = now;
        let id = record.id;
        self.log(EventKind::Checked { id });
        self.offer(key, connection);
    }

    /// A check or reset did not approve of its connection.
    pub(crate) fn rejected(&mut self, key: SlotKey, connection: C, error: CheckError) {
        let record = self.slots.get(key);
        let id = record.id;
        let reason = if record.state() == State::Checking {
            self.log(EventKind::CheckFailed { id, error });
            CloseReason::CheckFailed
        } else {
            self.log(EventKind::ResetFailed { id, error });
            CloseReason::ResetFailed
        };
        self.retire(key, connection, reason);
    }

    /// A connection is never lent again; closing it is owed.
    pub(crate) fn retire(&mut self, key: SlotKey, connection: C, reason: CloseReason) {
        let known_dead = self.slots.get(key).close_reason == Some(CloseReason::Died);
        let record = self.slots.set_state(key, State::Closing);
        record.close_reason = Some(reason);
        let id = record.id;
        match reason {
            CloseReason::Died => {
                if !known_dead {
                    self.log(EventKind::Died { id });
                    self.count_early_death(key);
                }
            }
            CloseReason::Discarded => self.log(EventKind::Discarded { id }),
            CloseReason::Lifetime | CloseReason::Idle | CloseReason::MaxUses => {
                let born = self.slots.get(key).born;
                self.pacer.alive(born, self.tick.max(born), Duration::ZERO);
                self.log(EventKind::Expired { id });
            }
            CloseReason::Shrunk
            | CloseReason::Evicted
            | CloseReason::PoolClosed
            | CloseReason::Dirty
            | CloseReason::CheckFailed
            | CloseReason::ResetFailed => {}
        }
        self.log(EventKind::Closing { id, reason });
        self.owe(Errand::Close(connection, reason));
        self.kick();
    }

    /// A close outlasts its deadline; its slot stays taken.
    pub(crate) fn stuck(&mut self, key: SlotKey, reason: CloseReason, since: Duration) {
        let id = self.slots.set_state(key, State::Stuck).id;
        self.log(EventKind::Stuck { id, reason, since });
    }

    /// Takes a leased connection off the books: its holder keeps it. Its slot follows by
    /// [`release`](Self::release).
    pub(crate) fn detach(&mut self, key: SlotKey) {
        if self.slots.get(key).overdue {
            self.overdue_lease_returned(key);
        }
        let record = self.slots.set_state(key, State::Closing);
        record.opened = false;
        let id = record.id;
        self.log(EventKind::Detached { id });
    }

    /// Frees a slot: the last thing that happens to it. Returns whether its permit may serve
    /// another slot; otherwise the pool has shrunk and the permit must go.
    pub(crate) fn release(&mut self, key: SlotKey) -> bool {
        let record = self.slots.remove(key);
        let id = record.id;
        if record.opened {
            self.closed_since += usize::from(self.is_closed);
            let reason = record.close_reason.unwrap_or(CloseReason::PoolClosed);
            // Its task was dropped with the runtime, in the middle of a reset or a check.
            if !record.is_leaving() {
                self.log(EventKind::Closing { id, reason });
            }
            self.log(EventKind::Closed { id, reason });
        }
        let is_aborted = record.state() == State::Opening;
        if is_aborted {
            self.log(EventKind::ConnectAborted { id });
        }
        if is_aborted && !self.is_closed {
            // An open pool's connect is dropped only by a runtime that goes, and the next one would
            // be as well: at once, and again, for ever.
            self.orphan();
        } else if self.is_closed && self.slots.len() == 0 {
            self.log(EventKind::PoolClosed);
        }
        self.resolve_goals();
        self.kick();
        self.slots.len() < self.limits.slots_max()
    }

    /// `died` resolved for this connection.
    pub(crate) fn died(&mut self, key: SlotKey, id: ConnectionId) {
        let Some(record) = self.slots.find(key, id) else {
            return;
        };
        if self.limits.sharing.is_some() && record.is_open() {
            self.mark_for_close(key, CloseReason::Died);
            return self.act_on_share(key);
        }
        match record.state() {
            State::Idle => {
                let place = self.idle.iter().position(|(other, _)| *other == key);
                let (_, connection) = self.idle.remove(place.expect("an idle slot is parked"));
                self.retire(key, connection, CloseReason::Died);
            }
            State::Leased | State::Checking | State::Returning | State::Opening => {
                record.close_reason = Some(CloseReason::Died);
                self.log(EventKind::Died { id });
                // Now, not when it comes home: a holder who keeps it would make it look older.
                self.count_early_death(key);
            }
            State::Closing | State::Stuck => {}
        }
    }

    /// Why this connection may not be lent again, if so.
    #[inline]
    fn reason_to_close(&self, key: SlotKey) -> Option<CloseReason> {
        let record = self.slots.get(key);
        if self.is_closed {
            Some(CloseReason::PoolClosed)
        } else if record.close_reason.is_some() {
            record.close_reason
        } else if self.slots.exceeds(self.limits.max_size) {
            Some(CloseReason::Shrunk)
        } else if record.expires <= self.tick {
            Some(CloseReason::Lifetime)
        } else if self
            .limits
            .max_uses
            .is_some_and(|max_uses| record.uses >= max_uses)
        {
            Some(CloseReason::MaxUses)
        } else {
            None
        }
    }

    /// Lends, parks or closes a connection that is fit for use.
    pub(super) fn offer(&mut self, key: SlotKey, connection: C) {
        if self.limits.sharing.is_some() {
            return self.add_shared(key, connection);
        }
        match self.reason_to_close(key) {
            Some(reason) => self.retire(key, connection, reason),
            None => self.place(key, connection),
        }
    }

    /// Hands a connection to the oldest waiter, or parks it.
    #[inline]
    fn place(&mut self, key: SlotKey, connection: C) {
        if self.queue.is_empty() {
            self.park(key, connection);
        } else {
            self.serve(key, connection);
        }
    }

    #[inline]
    fn park(&mut self, key: SlotKey, connection: C) {
        debug_assert!(
            !self.is_closed,
            "invariant broken: nothing is parked after close"
        );
        let used = self.slots.set_state(key, State::Idle).used;
        let mut place = self.idle.len();
        // A checked connection was not used: it goes back to where its last use belongs.
        while place > 0 && self.slots.get(self.idle[place - 1].0).used > used {
            place -= 1;
        }
        self.idle.insert(place, (key, connection));
    }

    /// Order: the slot becomes leased before its waiter is woken, in the same critical section, or
    /// a waiter could find nothing and the connection nobody.
    fn serve(&mut self, key: SlotKey, connection: C) {
        let mut served = None;
        let waker = self.queue.serve_first(|waiter, ticket| {
            served = Some((waiter, ticket.site));
            WaitEnd::Served(Served::Connection(connection))
        });
        if let Some((waiter, site)) = served {
            self.lease(key, site, Some(waiter));
        }
        self.wake_served(waker);
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
            "invariant broken: a doomed connection is lent"
        );
        record.leased = tick;
        record.site = Some(site);
        self.leases += 1;
        let id = record.id;
        self.log_hot(|| EventKind::Leased { id, waiter });
    }

    fn begin_reset(&mut self, key: SlotKey, connection: C) {
        if let Some(reason) = self.reason_to_close(key) {
            return self.retire(key, connection, reason);
        }
        let id = self.slots.set_state(key, State::Returning).id;
        self.log(EventKind::Resetting { id });
        self.owe(Errand::Reset(connection));
    }

    /// A connection that died young, and not after its last permitted use, counts as a failure.
    pub(super) fn count_early_death(&mut self, key: SlotKey) {
        let record = self.slots.get(key);
        let (id, born, round) = (record.id, record.born, record.round);
        let age = self.tick.since(born);
        let spent = self
            .limits
            .max_uses
            .is_some_and(|max_uses| record.uses >= max_uses);
        if spent {
            // It served as often as it was meant to: that proves as much as living for long.
            self.pacer.alive(born, self.tick.max(born), Duration::ZERO);
        } else if age < self.limits.min_uptime {
            let fault = ConnectError::transient(Fault::DiedEarly { id, age });
            let before = self.pacer.failed(self.tick.max(born), round, fault);
            self.drop_outside(before);
        }
    }

    fn overdue_lease_returned(&mut self, key: SlotKey) {
        let tick = self.tick;
        let record = self.slots.get_mut(key);
        record.overdue = false;
        let (id, held) = (record.id, tick.since(record.leased));
        if let Some(site) = record.site {
            self.log(EventKind::OverdueLeaseReturned { id, site, held });
        }
    }
}
