//! What every part of a pool holds: the store behind its lock, and everything it acts on.
//!
//! # Locking
//!
//! Every operation has the same shape: lock the store, decide, unlock, carry out what is owed. The
//! guard of the store is a plain [`MutexGuard`]. It is not `Send`, so it cannot be held across an
//! await of a task that moves between threads. [`Engine::finish`] is the only place that acts on
//! [`Effects`].

use std::panic::Location;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use crate::budget::{BudgetPermit, FreedSlot, Member, Membership};
use crate::connector::Connector;
use crate::deliveries::Deliveries;
use crate::error::TryAcquireError;
use crate::foreign::{self, catch};
use crate::id::{CloseReason, ConnectionId};
use crate::inbox::Inbox;
use crate::slot::OpenConnection;
use crate::store::{
    Condition, Effects, Errand, Lending, Limits, Opening, Resized, SlotKey, Store, VitalsHandle,
};
use crate::sync::{Arc, Mutex, MutexGuard, Permit, Permits};
use crate::telemetry::Telemetry;
use crate::time::{Clock, Time};
use crate::weight_reader::READERS_MAX;

/// What the store of a pool of `T` keeps of each open connection.
pub(crate) type Stored<T, L> = Box<OpenConnection<T, L>>;

/// The store of a pool of `T`.
pub(crate) type PoolStore<T, L> = Store<Stored<T, L>, L>;

type StoreGuard<'a, T, L> = MutexGuard<'a, PoolStore<T, L>>;

/// What the maintenance task does next.
pub(crate) enum Next {
    /// It begins this connect, and looks again.
    Connect(Opening, Permit, Option<BudgetPermit>),
    /// Nothing before this time.
    Rest(Time),
}

#[cfg(all(test, not(loom)))]
std::thread_local! {
    /// How often this thread has locked a store.
    pub(crate) static STORE_LOCKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How long each call, and each wait of a caller, may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) acquire: Duration,
    pub(crate) connect: Duration,
    pub(crate) check: Duration,
    pub(crate) reset: Duration,
    pub(crate) close: Duration,
}

/// What a caller holds during a lease, and what becomes of it.
pub(crate) trait Lends<T: Send + 'static>: Lending {
    /// The connection itself, or a share of it. It is counted by the store, so it must be given
    /// back.
    type Lent: Send + 'static;

    /// Takes what may be lent at once.
    fn take(store: &mut PoolStore<T, Self>, site: &'static Location<'static>)
    -> Option<Self::Lent>;

    /// Takes what is idle but stale, unchecked, for a caller that does not wait.
    fn take_stale(
        store: &mut PoolStore<T, Self>,
        site: &'static Location<'static>,
    ) -> Option<Self::Lent>;

    /// Takes what a waiter was served.
    fn claim(
        store: &PoolStore<T, Self>,
        served: <Self as Lending>::Served<Stored<T, Self>>,
    ) -> Self::Lent;

    /// Begins to use what was served.
    ///
    /// # Errors
    ///
    /// It may not be used any more, and must be returned in this condition.
    fn accept(store: &mut PoolStore<T, Self>, lent: &Self::Lent) -> Result<(), Condition>;

    fn connection(lent: &Self::Lent) -> &T;

    /// Gives up what proved dead before it was used.
    fn discard_dead(lent: Self::Lent, engine: &Engine<T, Self>);

    fn give_back(lent: Self::Lent, engine: &Engine<T, Self>, condition: Condition);

    /// Lets a connection that was just opened tell the pool whether it is suspected to hang, if the pool
    /// heeds that.
    fn watch_suspicion(
        engine: &Arc<Engine<T, Self>>,
        connection: &T,
        key: SlotKey,
        id: ConnectionId,
    ) {
        let _ = (engine, connection, key, id);
    }

    /// Runs a check or a reset to its end.
    fn run(
        upkeep: Self::Upkeep<Stored<T, Self>>,
        engine: Arc<Engine<T, Self>>,
    ) -> impl Future<Output = ()> + Send;

    /// Ends a check or reset that will not run any more.
    fn abandon(upkeep: Self::Upkeep<Stored<T, Self>>, engine: &Engine<T, Self>);
}

// Order: the hint and the lock share a cache line with the `Arc`'s count, which every return writes.
#[repr(C)]
pub(crate) struct Engine<T: Send + 'static, L: Lends<T>> {
    has_idle: AtomicBool,
    store: Mutex<PoolStore<T, L>>,
    pub(crate) inbox: Arc<Inbox<Errand<Stored<T, L>, L>>>,
    pub(crate) permits: Permits,
    /// Each thread that asks connections for their weight holds one.
    pub(crate) readers: Permits,
    pub(crate) connector: StdArc<dyn Connector<Connection = T>>,
    /// Whether leases are timed. Here, since each lease and return reads it.
    is_metered: bool,
    /// Whether connections are weighed.
    weighs: bool,
    pub(crate) clock: Clock,
    pub(crate) timeouts: Timeouts,
    pub(crate) telemetry: Telemetry,
    pub(crate) deliveries: Deliveries,
    membership: Option<Arc<Membership>>,
}

impl<T: Send + 'static, L: Lends<T>> Engine<T, L> {
    pub(crate) fn new(
        connector: StdArc<dyn Connector<Connection = T>>,
        limits: Limits,
        timeouts: Timeouts,
        telemetry: Telemetry,
        inbox: Arc<Inbox<Errand<Stored<T, L>, L>>>,
        membership: Option<Arc<Membership>>,
    ) -> Self {
        let permits = Permits::new(limits.slots_max());
        let mut store = Store::new(limits);
        store.is_observed = telemetry.wants_hot_events();
        if let Some(membership) = &membership {
            store.join_budget(membership.allotment());
        }
        let clock = membership
            .as_ref()
            .map_or_else(Clock::start, |membership| membership.clock());
        // The clock of a budget is older than the pool: a caller that comes before the first sweep must not
        // take failures for present that are long past.
        store.note_time(clock.now());
        Self {
            weighs: store.weighs(),
            store: Mutex::new(store),
            has_idle: AtomicBool::new(false),
            inbox,
            permits,
            readers: Permits::new(READERS_MAX),
            connector,
            is_metered: telemetry.is_metered(),
            clock,
            membership,
            timeouts,
            telemetry,
            deliveries: Deliveries::new(),
        }
    }

    /// Locks the store to read it, or to do what is due.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PoolStore<T, L>> {
        #[cfg(all(test, not(loom)))]
        STORE_LOCKS.set(STORE_LOCKS.get() + 1);
        self.store.lock()
    }

    /// Locks the store to change something. This keeps the ticks going.
    #[inline]
    pub(crate) fn enter(&self) -> MutexGuard<'_, PoolStore<T, L>> {
        #[cfg(all(test, not(loom)))]
        STORE_LOCKS.set(STORE_LOCKS.get() + 1);
        let mut store = self.store.lock();
        if !store.is_moving {
            store.is_moving = true;
        }
        if store.is_quiet {
            store.start_ticks(self.clock.now());
        }
        store
    }

    /// Locks the store for a decision that depends on the exact time; for slow paths.
    pub(crate) fn enter_precisely(&self) -> MutexGuard<'_, PoolStore<T, L>> {
        let now = self.clock.now();
        let mut store = self.enter();
        store.note_time(now);
        store
    }

    /// Unlocks the store and carries out what is owed.
    #[inline]
    pub(crate) fn finish(&self, mut store: MutexGuard<'_, PoolStore<T, L>>) {
        let served = store.take_served();
        self.leave(store, served);
    }

    /// The rest of [`finish`](Self::finish), with the waker of the waiter that was served.
    #[inline]
    fn leave(&self, store: MutexGuard<'_, PoolStore<T, L>>, served: Option<Waker>) {
        let has_idle = store.has_idle();
        if self.has_idle.load(Ordering::Relaxed) != has_idle {
            self.has_idle.store(has_idle, Ordering::Relaxed);
        }
        if store.owes() {
            return self.finish_owing(store, served);
        }
        drop(store);
        if let Some(waker) = served {
            foreign::wake(waker);
        }
    }

    /// The rest of [`Engine::finish`], which most critical sections do not need.
    #[cold]
    fn finish_owing(&self, mut store: MutexGuard<'_, PoolStore<T, L>>, served: Option<Waker>) {
        let effects = store.take_effects();
        // Order: a delivery begins in the critical section that logged its events.
        let has_events = effects.as_ref().is_some_and(Effects::has_events);
        let delivery = has_events.then(|| self.deliveries.begin());
        drop(store);
        if let Some(waker) = served {
            foreign::wake(waker);
        }
        if let Some(effects) = effects {
            self.carry_out(effects);
        }
        drop(delivery);
    }

    fn carry_out(&self, effects: Effects<Stored<T, L>, L>) {
        let Effects {
            wakers,
            spent,
            errands,
            events,
            kick,
        } = effects;
        for errand in errands {
            if let Err(errand) = self.inbox.send(errand) {
                self.drop_errand(errand);
            }
        }
        if kick {
            self.inbox.kick();
        }
        for waker in wakers {
            foreign::wake(waker);
        }
        for value in spent {
            foreign::drop_quietly(value);
        }
        self.telemetry.deliver(events);
    }

    /// Ends an errand that will not run any more.
    pub(crate) fn drop_errand(&self, errand: Errand<Stored<T, L>, L>) {
        match errand {
            Errand::Close(open, _) => open.dispose(),
            Errand::Upkeep(upkeep) => L::abandon(upkeep, self),
            Errand::Weigh(weighable) => weighable.into_iter().for_each(foreign::drop_quietly),
        }
    }

    /// Whether there was an idle connection a moment ago. A hint: it spares a caller that will have to
    /// queue one turn at the lock. Nothing is decided by it.
    #[inline]
    pub(crate) fn seems_idle(&self) -> bool {
        self.has_idle.load(Ordering::Relaxed)
    }

    /// What [`Connector::is_alive`] says; a panic counts as death.
    #[inline]
    pub(crate) fn is_alive(&self, connection: &T) -> bool {
        catch("is_alive", || self.connector.is_alive(connection)).unwrap_or_else(|fault| {
            foreign::log(&fault);
            false
        })
    }

    /// In which condition a connection is returned; a panic counts as dirty.
    #[inline]
    pub(crate) fn condition(&self, connection: &T) -> Condition {
        let condition = catch("is_clean", || {
            let is_alive = self.connector.is_alive(connection);
            match (is_alive, self.connector.is_clean(connection)) {
                (false, false) => Condition::Unfit(CloseReason::Died),
                (false, true) => Condition::Ended,
                (true, false) => Condition::Unfit(CloseReason::Dirty),
                (true, true) if self.connector.needs_reset(connection) => Condition::NeedsReset,
                (true, true) => Condition::Clean,
            }
        });
        condition.unwrap_or_else(|fault| {
            foreign::log(&fault);
            Condition::Unfit(CloseReason::Dirty)
        })
    }

    /// When a lease begins; no clock is read without a metrics recorder.
    #[inline]
    pub(crate) fn lease_begins(&self) -> Time {
        match self.is_metered {
            true => self.clock.now(),
            false => Time::default(),
        }
    }

    /// A lease that began then is over.
    #[inline]
    pub(crate) fn lease_ends(&self, began: Time) {
        if self.is_metered {
            self.telemetry.leased(self.clock.now().since(began));
        }
    }

    /// Why nothing was lent at once.
    pub(crate) fn nothing_to_lend(&self) -> TryAcquireError {
        let store = self.lock();
        let pool = StdArc::clone(store.name());
        let status = store.status();
        if status.is_closed {
            TryAcquireError::Closed { pool, status }
        } else {
            TryAcquireError::Empty { pool, status }
        }
    }

    /// Ends a critical section of the maintenance task: takes a slot for a connect and its permits, if one is wanted
    /// and allowed, or says when to sweep next.
    ///
    /// Order: the time of the next sweep is read in the last critical section. If it becomes sooner later, the task is
    /// kicked.
    pub(crate) fn next(&self, mut store: StoreGuard<'_, T, L>, now: Time) -> Next {
        // What is wanted depends on who is served.
        store.settle();
        let Some(membership) = &self.membership else {
            return self.open(store, None, now);
        };
        // Order: the budget is asked between two critical sections, since its lock is never taken in one.
        // Meanwhile the demand can change; then the permit goes back.
        let demand = store.ask(now);
        let is_news = store.minds_refusal();
        let next = Next::Rest(store.alarm());
        self.finish(store);
        match Membership::take(membership, demand, now) {
            Some(permit) => self.open(self.lock(), Some(permit), now),
            None if is_news => {
                let asks_again_at = membership.asks_again_at(now);
                let mut store = self.lock();
                store.note_told(demand, now, asks_again_at);
                let next = Next::Rest(store.alarm());
                self.finish(store);
                next
            }
            None => next,
        }
    }

    fn open(
        &self,
        mut store: StoreGuard<'_, T, L>,
        of_budget: Option<BudgetPermit>,
        now: Time,
    ) -> Next {
        // Order: the permit is taken, or given up again, in the critical section that takes the
        // slot. A resize in between would find fewer free permits than free slots.
        let permit = self.permits.try_take();
        let opening = permit.and_then(|permit| Some((store.open(now)?, permit)));
        if of_budget.is_some() {
            store.note_granted(now);
        }
        let alarm = store.alarm();
        self.finish(store);
        match opening {
            Some((opening, permit)) => Next::Connect(opening, permit, of_budget),
            None => Next::Rest(alarm),
        }
    }

    /// Frees the slot at `key` and its permit in one critical section. Otherwise a connect could see
    /// the free slot and find no permit. Returns what the budget is to know of it.
    pub(crate) fn release(&self, key: SlotKey, permit: Option<Permit>) -> FreedSlot {
        let mut store = self.enter();
        let freed = store.take_freed(key);
        let is_reusable = store.release(key);
        match permit {
            Some(permit) if !is_reusable => permit.forget(),
            permit => drop(permit),
        }
        self.finish(store);
        freed
    }

    /// Changes `max_size`; `false` if the pool is closed.
    pub(crate) fn resize(&self, max_size: usize) -> bool {
        let mut store = self.enter();
        let resized = store.resize(max_size);
        // Order: the permits change in the critical section in which the limit does.
        match resized {
            Some(Resized::Add(count)) => self.permits.add(count),
            Some(Resized::Remove(count)) => self.permits.remove(count),
            None => {}
        }
        self.finish(store);
        resized.is_some()
    }

    #[cfg(all(test, loom))]
    pub(crate) fn membership(&self) -> &Membership {
        self.membership.as_ref().expect("the pool has a budget")
    }

    /// The vitals of a connection that was just opened, if it is to be weighed.
    pub(crate) fn vitals(&self, connection: &T) -> Option<VitalsHandle> {
        if !self.weighs {
            return None;
        }
        let vitals = catch("vitals", || self.connector.vitals(connection));
        let vitals = vitals.unwrap_or_else(|fault| {
            foreign::log(&fault);
            None
        });
        vitals.map(VitalsHandle::new)
    }

    /// The pool is heavier than before by this much, and its heaviest connection weighs this much, if that is known.
    pub(crate) fn report_weight(&self, change: i128, heaviest: Option<u64>) {
        if let Some(membership) = &self.membership {
            membership.weigh(change, heaviest);
        }
    }

    /// Has other pools of the budget give up what is wanted, after this one could not.
    pub(crate) fn reclaim_for_others(&self) {
        if let Some(membership) = &self.membership {
            membership.reclaim();
        }
    }

    /// Evicts the connections that `selects` picks, and returns how many.
    pub(crate) fn evict(&self, selects: impl FnMut(ConnectionId) -> bool) -> usize {
        let mut store = self.enter();
        let count = store.evict(selects);
        self.finish(store);
        count
    }

    /// Stops intake: the beginning of every end.
    pub(crate) fn close(&self) {
        let mut store = self.enter();
        store.close();
        self.finish(store);
        self.leave_budget();
    }

    /// A pool that was closed opens nothing any more. The budget forgets it, since it keeps its members
    /// in memory.
    pub(crate) fn leave_budget(&self) {
        if let Some(membership) = &self.membership {
            membership.leave();
        }
    }

    /// Publishes the metrics that are read off the store.
    pub(crate) fn publish(&self) {
        if !self.is_metered {
            return;
        }
        let store = self.lock();
        let (status, totals) = (store.status(), store.totals);
        drop(store);
        self.telemetry.publish(&status, totals);
        if let Some(membership) = &self.membership {
            membership.publish();
        }
    }
}

/// A pool in its budget.
struct EngineMember<T: Send + 'static, L: Lends<T>>(Arc<Engine<T, L>>);

impl<T: Send + 'static, L: Lends<T>> Member for EngineMember<T, L> {
    fn kick(&self) {
        self.0.inbox.kick();
    }

    fn oldest_idle(&self, now: Time) -> Option<Time> {
        // Not by the hint: the lock makes the pressure known to the critical sections that follow.
        let mut store = self.0.lock();
        let oldest = store.oldest_idle(now);
        // What is offered is not given up yet: another pool may have an older one.
        if oldest.is_none() {
            self.0.finish(store);
        }
        oldest
    }

    fn reclaim_idle(&self) -> bool {
        let mut store = self.0.lock();
        let is_reclaimed = store.reclaim_idle();
        // If another one is wanted, a different pool may have one that was unused for longer.
        self.0.leave(store, None);
        is_reclaimed
    }

    fn outgoing_weight(&self) -> u64 {
        self.0.lock().outgoing_weight()
    }

    fn shed_idle(&self, excess: u64) -> u64 {
        let mut store = self.0.enter_precisely();
        let shed = store.shed_idle(excess);
        self.0.finish(store);
        shed
    }

    fn shed_leased(&self) -> bool {
        let mut store = self.0.enter_precisely();
        let is_shed = store.shed_leased();
        self.0.finish(store);
        is_shed
    }
}

/// Makes the pool known to its budget, if it has one.
pub(crate) fn attach_to_budget<T: Send + 'static, L: Lends<T>>(engine: &Arc<Engine<T, L>>) {
    if let Some(membership) = &engine.membership {
        membership.attach(StdArc::new(EngineMember(Arc::clone(engine))));
    }
}
