//! What every part of a pool holds: the store behind its lock, and the ways to the outside.
//!
//! # Locking
//!
//! Every operation has the same shape: lock the store, decide, unlock, carry out what is owed. The
//! guard of the store is a plain [`MutexGuard`], so it cannot live across an await of a task that
//! may move between threads, and [`Engine::finish`] is the only place that acts on [`Effects`].

use std::panic::Location;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::connector::Connector;
use crate::error::{CheckError, TryAcquireError};
use crate::foreign::{self, catch};
use crate::id::CloseReason;
use crate::inbox::Inbox;
use crate::lease::{Held, OpenConnection};
use crate::store::{Condition, Effects, Errand, Limits, Opening, SlotKey, Store};
use crate::sync::{Arc, Mutex, MutexGuard, Permit, Permits};
use crate::telemetry::Telemetry;
use crate::time::{Clock, Time};

/// The store of a pool of `T`.
pub(crate) type PoolStore<T> = Store<Box<OpenConnection<T>>>;

/// The deadline of each thing that is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) acquire: Duration,
    pub(crate) connect: Duration,
    pub(crate) check: Duration,
    pub(crate) reset: Duration,
    pub(crate) close: Duration,
}

// Order: the hint and the lock lie beside the `Arc`'s count, which every return writes as well.
#[repr(C)]
pub(crate) struct Engine<T: Send + 'static> {
    has_idle: AtomicBool,
    store: Mutex<PoolStore<T>>,
    pub(crate) inbox: Arc<Inbox<Box<OpenConnection<T>>>>,
    pub(crate) permits: Permits,
    pub(crate) connector: StdArc<dyn Connector<Connection = T>>,
    /// Makes another handle of a connection, if connections are shared.
    pub(crate) share: Option<fn(&T) -> T>,
    pub(crate) clock: Clock,
    pub(crate) timeouts: Timeouts,
    pub(crate) telemetry: Telemetry,
}

impl<T: Send + 'static> Engine<T> {
    pub(crate) fn new(
        connector: StdArc<dyn Connector<Connection = T>>,
        limits: Limits,
        timeouts: Timeouts,
        telemetry: Telemetry,
        inbox: Arc<Inbox<Box<OpenConnection<T>>>>,
        share: Option<fn(&T) -> T>,
    ) -> Self {
        let permits = Permits::new(limits.slots_max());
        let mut store = Store::new(limits);
        store.is_observed = telemetry.wants_hot_events();
        let store = Mutex::new(store);
        Self {
            store,
            has_idle: AtomicBool::new(false),
            inbox,
            permits,
            connector,
            share,
            clock: Clock::start(),
            timeouts,
            telemetry,
        }
    }

    /// Locks the store to look at it, or to do what is due.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PoolStore<T>> {
        self.store.lock()
    }

    /// Locks the store to change something: this is what keeps the ticks going.
    #[inline]
    pub(crate) fn enter(&self) -> MutexGuard<'_, PoolStore<T>> {
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
    pub(crate) fn enter_precisely(&self) -> MutexGuard<'_, PoolStore<T>> {
        let now = self.clock.now();
        let mut store = self.enter();
        store.note_time(now);
        store
    }

    /// Publishes what is read off the store.
    pub(crate) fn publish(&self) {
        let store = self.lock();
        let (status, leases) = (store.status(), store.leases);
        drop(store);
        self.telemetry.publish(&status, leases);
    }

    /// Whether there was an idle connection a moment ago: a hint that spares a caller who will
    /// have to queue one turn at the lock. Nothing is decided by it.
    #[inline]
    pub(crate) fn seems_idle(&self) -> bool {
        self.has_idle.load(Ordering::Relaxed)
    }

    /// Unlocks the store and carries out what is owed.
    #[inline]
    pub(crate) fn finish(&self, mut store: MutexGuard<'_, PoolStore<T>>) {
        let served = store.take_served();
        let effects = store.take_effects();
        if self.has_idle.load(Ordering::Relaxed) != store.has_idle() {
            self.has_idle.store(store.has_idle(), Ordering::Relaxed);
        }
        drop(store);
        if let Some(waker) = served {
            foreign::wake(waker);
        }
        if let Some(effects) = effects {
            self.carry_out(effects);
        }
    }

    #[cold]
    fn carry_out(&self, effects: Effects<Box<OpenConnection<T>>>) {
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
        for waker in spent {
            foreign::drop_quietly(waker);
        }
        self.telemetry.deliver(events);
    }

    /// Ends an errand that nobody will run any more.
    pub(crate) fn drop_errand(&self, errand: Errand<Box<OpenConnection<T>>>) {
        match errand {
            Errand::Close(live, _) | Errand::Reset(live) | Errand::Check(live) => live.dispose(),
            Errand::Probe(key) => self.probed(key, None),
        }
    }

    /// The check of a shared connection is over.
    pub(crate) fn probed(&self, key: SlotKey, result: Option<Result<(), CheckError>>) {
        let now = self.clock.now();
        let mut store = self.enter();
        store.probed(key, result, now);
        self.finish(store);
    }

    /// What [`Connector::is_alive`] says; a panic counts as death.
    #[inline]
    pub(crate) fn is_alive(&self, connection: &T) -> bool {
        catch("is_alive", || self.connector.is_alive(connection)).unwrap_or_else(|fault| {
            foreign::log(&fault);
            false
        })
    }

    /// In which condition a connection comes home; a panic counts as dirt.
    #[inline]
    pub(crate) fn condition(&self, connection: &T) -> Condition {
        let verdict = catch("is_clean", || {
            if !self.connector.is_alive(connection) {
                Condition::Unfit(CloseReason::Died)
            } else if !self.connector.is_clean(connection) {
                Condition::Unfit(CloseReason::Dirty)
            } else if self.connector.needs_reset(connection) {
                Condition::NeedsReset
            } else {
                Condition::Clean
            }
        });
        verdict.unwrap_or_else(|fault| {
            foreign::log(&fault);
            Condition::Unfit(CloseReason::Dirty)
        })
    }

    /// Lends what may be lent at once and is alive; dead ones on the way are closed in the
    /// background.
    #[inline]
    pub(crate) fn lend<H: Held<T>>(&self, site: &'static Location<'static>) -> Lent<H> {
        let mut lent = Lent {
            held: None,
            met_dead: false,
        };
        loop {
            let mut store = self.enter();
            let taken = H::take(&mut store, site);
            self.finish(store);
            let Some(held) = taken else { return lent };
            if self.is_alive(held.connection()) {
                lent.held = Some(held);
                return lent;
            }
            lent.met_dead = true;
            held.discard_dead(self);
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

    /// Another handle of the shared connection in this slot, which somebody holds.
    pub(crate) fn share_of(&self, key: SlotKey) -> Option<T> {
        let share = self.share?;
        Some(share(self.lock().shared_connection(key).connection()))
    }

    #[inline]
    pub(crate) fn give_back(&self, live: Box<OpenConnection<T>>, condition: Condition) {
        let key = live.key();
        let mut store = match condition {
            Condition::Clean | Condition::NeedsReset => self.enter(),
            Condition::Unfit(_) => self.enter_precisely(),
        };
        store.give_back(key, live, condition);
        self.finish(store);
    }

    /// Takes a slot for a connect and its permit, if one is wanted and allowed.
    pub(crate) fn open(&self, now: Time) -> Option<(Opening, Permit)> {
        let mut store = self.lock();
        // Order: taken, or given up again, in the critical section that takes the slot, or a resize
        // in between would find fewer free permits than free slots.
        let permit = self.permits.try_take();
        let opening = permit.and_then(|permit| Some((store.open(now)?, permit)));
        self.finish(store);
        opening
    }

    /// Frees the slot at `key` and its permit, in one critical section: whoever sees the free slot
    /// finds the permit.
    pub(crate) fn release(&self, key: SlotKey, permit: Option<Permit>) {
        let mut store = self.enter();
        let is_reusable = store.release(key);
        match permit {
            Some(permit) if !is_reusable => permit.forget(),
            permit => drop(permit),
        }
        self.finish(store);
    }

    /// Stops intake: the beginning of every end.
    pub(crate) fn close(&self) {
        let mut store = self.enter();
        store.close();
        self.finish(store);
    }
}

/// What [`Engine::lend`] found.
pub(crate) struct Lent<H> {
    pub(crate) held: Option<H>,
    /// A connection was drawn that proved dead: the caller's turn had come.
    pub(crate) met_dead: bool,
}
