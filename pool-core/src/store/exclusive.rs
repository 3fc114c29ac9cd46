//! Exclusive lending: each connection has one lease at a time.
//!
//! # Algorithm
//!
//! A leased connection is with its holder. Idle ones form a stack sorted by last use, so the busy
//! ones stay busy and the others can expire. A connection that becomes free goes to the oldest
//! waiter or onto the stack; a caller that finds the stack empty joins the queue, in the same
//! critical section.

use std::panic::Location;

use crate::error::{CheckError, ConnectError};
use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId};
use crate::store::slots::SlotRecord;
use crate::store::sweep::TICK;
use crate::store::{Condition, Errand, Lending, SlotKey, State, Store, WaitEnd};
use crate::time::Time;

/// Says of a [`Builder`](crate::Builder) that each connection is lent to one caller at a time.
#[derive(Debug, Clone, Copy)]
pub enum Exclusive {}

/// Work on a connection that was taken out of circulation for it.
#[derive(Debug)]
pub(crate) enum Upkeep<C> {
    Reset(C),
    Check(C),
}

impl Lending for Exclusive {
    const IS_SHARED: bool = false;

    type Served<C: Send + 'static> = C;
    type Upkeep<C: Send + 'static> = Upkeep<C>;

    fn offer<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey, connection: C) {
        match store.reason_to_close(key) {
            Some(reason) => store.retire(key, connection, reason),
            None => store.place(key, connection),
        }
    }

    fn check_new<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey, connection: C) {
        store.check_opened(key, connection);
    }

    fn proved<C: Send + 'static>(_: &mut Store<C, Self>) {}

    fn serves_until_replaced<C: Send + 'static>(_: &Store<C, Self>, _: &SlotRecord) -> bool {
        false
    }

    /// What becomes free serves a waiter at once. Only stale connections are idle while anybody waits.
    #[inline]
    fn serve_waiters<C: Send + 'static>(store: &mut Store<C, Self>) {
        if !store.queue.is_empty() && !store.idle.is_empty() {
            store.check_for_waiters();
        }
    }

    fn has_stale<C: Send + 'static>(store: &Store<C, Self>) -> bool {
        !store.idle.is_empty()
    }

    fn check_for_caller<C: Send + 'static>(store: &mut Store<C, Self>) {
        store.check_next();
    }

    #[inline]
    fn withdrawn<C: Send + 'static>(_: &mut Store<C, Self>, _: &C) {}

    fn connect_failed<C: Send + 'static>(_: &mut Store<C, Self>, _: Time) {}

    fn ticks_started<C: Send + 'static>(_: &mut Store<C, Self>, _: Time) {}

    fn died<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey) {
        if store.slots.get(key).state() == State::Idle {
            return Self::retire_unused(store, key, CloseReason::Died);
        }
        let record = store.slots.get_mut(key);
        record.close_reason = Some(CloseReason::Died);
        let id = record.id;
        store.log(EventKind::Died { id });
        store.note_unfit(key);
        store.look_for_waiters();
    }

    fn overweight<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey) {
        store.close_heavy(key, CloseReason::Overweight);
    }

    fn killed<C: Send + 'static>(store: &mut Store<C, Self>, key: SlotKey) {
        store.close_heavy(key, CloseReason::Killed);
    }

    /// Never: the connections of an exclusive pool do not tell it.
    fn suspicion_changed<C: Send + 'static>(_: &mut Store<C, Self>, _: SlotKey) {}

    fn expire<C: Send + 'static>(store: &mut Store<C, Self>, now: Time) -> Time {
        store.expire_idle(now)
    }

    fn start_checks<C: Send + 'static>(store: &mut Store<C, Self>, now: Time) -> Time {
        store.start_idle_checks(now)
    }

    fn evict<C: Send + 'static>(
        store: &mut Store<C, Self>,
        mut selects: impl FnMut(ConnectionId) -> bool,
    ) -> usize {
        let mut count = 0;
        for record in store.slots.iter_mut().filter(|record| record.is_open()) {
            if record.close_reason.is_none() && selects(record.id) {
                record.close_reason = Some(CloseReason::Evicted);
                count += 1;
            }
        }
        let slots = &store.slots;
        let is_marked = |entry: &mut (SlotKey, C)| slots.get(entry.0).close_reason.is_some();
        let marked: Vec<_> = store.idle.extract_if(.., is_marked).collect();
        for (key, connection) in marked {
            store.retire(key, connection, CloseReason::Evicted);
        }
        store.look_for_waiters();
        count
    }

    fn shrink<C: Send + 'static>(store: &mut Store<C, Self>) {
        // A connect in flight does not count: it may fail. If there is no room for its connection once it is
        // open, that one is closed.
        let surplus = store.slots.open().saturating_sub(store.limits.max_size);
        let unused = surplus.min(store.idle.len());
        for (key, connection) in store.idle.drain(..unused).collect::<Vec<_>>() {
            store.retire(key, connection, CloseReason::Shrunk);
        }
    }

    fn close_unused<C: Send + 'static>(store: &mut Store<C, Self>) {
        for (key, connection) in std::mem::take(&mut store.idle) {
            store.retire(key, connection, CloseReason::PoolClosed);
        }
    }

    fn least_recent<C: Send + 'static>(store: &Store<C, Self>) -> Option<SlotKey> {
        store.idle.first().map(|(key, _)| *key)
    }

    fn retire_unused<C: Send + 'static>(
        store: &mut Store<C, Self>,
        key: SlotKey,
        reason: CloseReason,
    ) {
        let place = store.idle.iter().position(|(other, _)| *other == key);
        let (_, connection) = store
            .idle
            .remove(place.expect("an idle slot is in the stack"));
        store.retire(key, connection, reason);
    }

    /// A connection that is being reset or checked will serve the next waiter, unless that takes long. If a
    /// check is late, the next one may hang as well, so a connect begins beside it.
    fn connects_wanted<C: Send + 'static>(store: &Store<C, Self>, missing: usize) -> usize {
        let checking = store.slots.on_time(State::Checking);
        let checking = checking.saturating_sub(store.slots.late(State::Checking));
        let soon = store.slots.on_time(State::Returning) + checking;
        let min_idle = store.limits.min_idle.min(store.limits.max_size);
        (store.queue.len() + missing).saturating_sub(soon.saturating_sub(min_idle))
    }

    fn spread_wanted<C: Send + 'static>(_: &Store<C, Self>) -> usize {
        0
    }

    fn unused_needed<C: Send + 'static>(_: &Store<C, Self>) -> usize {
        0
    }

    /// A connection that is closed when it comes back serves no waiter.
    fn can_serve<C: Send + 'static>(store: &Store<C, Self>) -> bool {
        let is_lent_again = |record: &SlotRecord| {
            record.close_reason.is_none()
                && record.uses < record.uses_max
                && store.tick < record.expires
        };
        let mut open = store.slots.iter().filter(|record| record.is_open());
        store.slots.count(State::Opening) > 0 || open.any(is_lent_again)
    }

    #[inline]
    fn has_idle<C: Send + 'static>(store: &Store<C, Self>) -> bool {
        !store.idle.is_empty()
    }

    fn size_limit<C: Send + 'static>(store: &Store<C, Self>) -> usize {
        store.limits.max_size
    }

    fn target_leases<C: Send + 'static>(_: &Store<C, Self>) -> Option<u32> {
        None
    }

    fn leases<C: Send + 'static>(store: &Store<C, Self>) -> usize {
        store.slots.count(State::Leased)
    }

    #[cfg(debug_assertions)]
    fn assert_invariants<C: Send + 'static>(store: &Store<C, Self>) {
        let idle = store.slots.count(State::Idle);
        assert!(
            idle == store.idle.len(),
            "invariant broken: {idle} idle slots, {} in the stack",
            store.idle.len()
        );
        let (waiting, checking) = (store.queue.len(), store.slots.on_time(State::Checking));
        let is_stale = |(key, _): &(SlotKey, C)| store.is_stale(store.slots.get(*key));
        assert!(
            waiting == 0 || idle == 0 || waiting <= checking && store.idle.iter().all(is_stale),
            "invariant 3 broken: {idle} idle and {checking} being checked while {waiting} wait"
        );
        assert!(
            !store.is_closed || idle == 0,
            "invariant 11 broken: a closed pool has {idle} idle"
        );
    }
}

impl<C: Send + 'static> Store<C, Exclusive> {
    /// Lends the next idle connection that is not stale, if there is one: the most recently used, unless
    /// the oldest is wanted.
    #[inline]
    pub(crate) fn take_idle(&mut self, site: &'static Location<'static>) -> Option<C> {
        let (key, _) = self.idle.last()?;
        let record = self.slots.get(*key);
        if self.takes_oldest || self.is_stale(record) || record.expires <= self.tick {
            return self.take_fresh(site);
        }
        let (key, connection) = self.idle.pop()?;
        self.lease_idle(key, site);
        Some(connection)
    }

    /// Closes what has expired, and lends the next of the others that is not stale.
    fn take_fresh(&mut self, site: &'static Location<'static>) -> Option<C> {
        self.retire_expired(self.tick);
        let fresh = |(key, _): &(SlotKey, C)| !self.is_stale(self.slots.get(*key));
        let place = match self.takes_oldest {
            true => self.idle.iter().position(fresh),
            false => self.idle.iter().rposition(fresh),
        };
        self.take_at(place?, site)
    }

    /// Lends the next idle connection unchecked, to a caller that does not wait.
    #[cold]
    pub(crate) fn take_stale(&mut self, site: &'static Location<'static>) -> Option<C> {
        if !self.queue.is_empty() {
            return None;
        }
        let next = self.next_idle()?;
        let place = self.idle.iter().position(|(key, _)| *key == next)?;
        self.take_at(place, site)
    }

    fn take_at(&mut self, place: usize, site: &'static Location<'static>) -> Option<C> {
        let (key, connection) = self.idle.remove(place);
        self.lease_idle(key, site);
        Some(connection)
    }

    #[inline]
    fn lease_idle(&mut self, key: SlotKey, site: &'static Location<'static>) {
        self.lease(key, site, None);
        self.slots.get_mut(key).uses += 1;
        self.totals.leases += 1;
    }

    /// The idle connection that is lent next.
    pub(super) fn next_idle(&self) -> Option<SlotKey> {
        let next = match self.takes_oldest {
            true => self.idle.first(),
            false => self.idle.last(),
        };
        next.map(|(key, _)| *key)
    }

    fn retire_expired(&mut self, now: Time) {
        let slots = &self.slots;
        let is_old = |entry: &mut (SlotKey, C)| slots.get(entry.0).expires <= now;
        let expired: Vec<_> = self.idle.extract_if(.., is_old).collect();
        for (key, connection) in expired {
            self.retire(key, connection, CloseReason::Lifetime);
        }
    }

    /// A waiter takes what it was served; only this counts as a use.
    ///
    /// # Errors
    ///
    /// The pool was closed, or the connection marked for close, since it was served: it must be
    /// returned, in this condition.
    pub(crate) fn accept(&mut self, key: SlotKey) -> Result<(), Condition> {
        if self.is_closed {
            return Err(Condition::Clean);
        }
        let record = self.slots.get_mut(key);
        match record.close_reason {
            Some(CloseReason::Died) => Err(Condition::Unfit(CloseReason::Died)),
            Some(_) => Err(Condition::Clean),
            None => {
                record.uses += 1;
                self.totals.leases += 1;
                Ok(())
            }
        }
    }

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
                self.slots.get_mut(key).note_served();
                if let Some(reason) = self.reason_to_close(key) {
                    return self.retire(key, connection, reason);
                }
                let id = self.slots.get(key).id;
                self.log_hot(|| EventKind::Returned { id });
                self.place(key, connection);
            }
            Condition::NeedsReset => {
                self.slots.get_mut(key).note_served();
                self.begin_reset(key, connection);
            }
            Condition::Ended => {
                self.slots.get_mut(key).note_served();
                self.retire(key, connection, CloseReason::Died);
            }
            Condition::Unfit(reason) => self.retire(key, connection, reason),
        }
    }

    fn begin_reset(&mut self, key: SlotKey, connection: C) {
        if let Some(reason) = self.reason_to_close(key) {
            return self.retire(key, connection, reason);
        }
        let now = self.tick;
        let record = self.slots.set_state(key, State::Returning);
        record.since = now;
        let id = record.id;
        self.log(EventKind::Resetting { id });
        self.owe(Errand::Upkeep(Upkeep::Reset(connection)));
    }

    /// A connection is too heavy: it is closed now, or when it is returned.
    fn close_heavy(&mut self, key: SlotKey, reason: CloseReason) {
        if self.slots.get(key).state() == State::Idle {
            return Exclusive::retire_unused(self, key, reason);
        }
        self.slots.get_mut(key).close_reason.get_or_insert(reason);
        self.look_for_waiters();
    }

    /// A lent connection will not be lent again. It may have been the last one that could serve those who wait.
    fn look_for_waiters(&mut self) {
        if !self.queue.is_empty() {
            self.kick();
        }
    }

    /// A connection that was lent proved dead before its caller had it.
    ///
    /// That was no use: otherwise a connection that dies at once would look used up after a single
    /// permitted use, and be opened again and again without delay.
    pub(crate) fn discard_dead(&mut self, key: SlotKey, connection: C) {
        self.totals.leases -= 1;
        self.slots.get_mut(key).uses -= 1;
        self.retire(key, connection, CloseReason::Died);
    }

    /// A check or a reset failed.
    pub(crate) fn rejected(&mut self, key: SlotKey, connection: C, error: CheckError) {
        let record = self.slots.get(key);
        let id = record.id;
        let reason = if record.state() == State::Checking {
            let failure = ConnectError::transient(error.clone());
            self.note_proof(key, Some(failure), self.tick);
            self.log(EventKind::CheckFailed { id, error });
            CloseReason::CheckFailed
        } else {
            self.log(EventKind::ResetFailed { id, error });
            CloseReason::ResetFailed
        };
        self.retire(key, connection, reason);
    }

    /// The holder of this connection keeps it. Its slot is freed next, by
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

    /// Why this connection may not be lent again, if so.
    #[inline]
    fn reason_to_close(&mut self, key: SlotKey) -> Option<CloseReason> {
        let record = self.slots.get(key);
        if self.is_closed {
            Some(CloseReason::PoolClosed)
        } else if record.close_reason.is_some() {
            record.close_reason
        } else if self.slots.has_no_room_for(key, self.limits.max_size) {
            Some(CloseReason::Shrunk)
        } else if record.expires <= self.tick {
            Some(CloseReason::Lifetime)
        } else if record.uses >= record.uses_max {
            Some(CloseReason::MaxUses)
        } else if self.is_pressed() && self.gives_way(key) {
            Some(CloseReason::Reclaimed)
        } else {
            None
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
        // A check is no use: the connection goes back to the place its last use gives it.
        while place > 0 && self.slots.get(self.idle[place - 1].0).used > used {
            place -= 1;
        }
        self.idle.insert(place, (key, connection));
    }

    /// Order: the slot becomes leased before its waiter is woken, in the same critical section. A
    /// waiter that woke earlier could find nothing to take.
    fn serve(&mut self, key: SlotKey, connection: C) {
        let mut served = None;
        let waker = self.queue.serve_first(|waiter, site| {
            served = Some((waiter, site));
            WaitEnd::Served(connection)
        });
        if let Some((waiter, site)) = served {
            self.lease(key, site, Some(waiter));
        }
        self.wake_served(waker);
    }

    /// Closes idle connections that reached their lifetime, and those that were idle for too long
    /// as far as `min_idle` allows, the longest unused first.
    fn expire_idle(&mut self, now: Time) -> Time {
        self.retire_expired(now);
        let ends = self
            .idle
            .iter()
            .map(|(key, _)| self.slots.get(*key).expires);
        let next = ends.min().unwrap_or(Time::NEVER);

        // The last use was measured by the coarse clock, so it may have been a tick later.
        let Some(timeout) = self.limits.idle_timeout else {
            return next;
        };
        let timeout = timeout.saturating_add(TICK);
        let spare = self.idle.len().saturating_sub(self.limits.min_idle);
        let due = |(key, _): &&(_, C)| self.slots.get(*key).used.after(timeout) <= now;
        let unused = self.idle.iter().take(spare).take_while(due).count();
        for (key, connection) in self.idle.drain(..unused).collect::<Vec<_>>() {
            self.retire(key, connection, CloseReason::Idle);
        }
        match self.idle.first() {
            Some((key, _)) if unused < spare => next.min(self.slots.get(*key).used.after(timeout)),
            _ => next,
        }
    }
}
