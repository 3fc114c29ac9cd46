//! Who gets which connection, and when: all decisions of the pool, as a plain data structure.
//!
//! The store has no lock, clock, await or spawn. Its methods take the time and return what the
//! caller gets; what is owed to others piles up as [`Effects`], which whoever held the lock takes
//! with [`Store::take_effects`] and carries out after unlocking.
//!
//! A connection is a `C` here: the store moves it but never looks at it.
//!
//! # Algorithm
//!
//! Idle connections form a stack sorted by last use, so the busy ones stay busy and the others can
//! expire. Waiters form a queue. A connection that becomes free goes to the oldest waiter or onto
//! the stack; a caller that finds the stack empty joins the queue, in the same critical section.
//!
//! # Fairness
//!
//! First in the queue, first served. Nobody overtakes: the stack is empty while anybody waits. Only
//! a waiter whose connection proved dead enters at the head, since its turn had come.
//!
//! # Invariants
//!
//! Numbered as in `docs/invariants.md`; [`Store::assert_invariants`] checks those that can be seen
//! from here after every critical section of a debug build.

mod control;
mod effects;
mod goals;
mod lend;
mod life;
#[cfg(all(test, loom))]
mod models;
mod open;
mod pacer;
mod queue;
mod share;
mod slots;
mod sweep;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::event::EventKind;
use crate::time::Time;

pub(crate) use control::Resized;
pub(crate) use effects::{Effects, Errand};
use goals::Goals;
pub(crate) use goals::{Goal, GoalEnd, GoalKey};
pub(crate) use lend::Turn;
pub(crate) use life::Condition;
pub(crate) use open::Opening;
use pacer::Pacer;
pub(crate) use pacer::PacerLimits;
use queue::WaitQueue;
pub(crate) use queue::{DeadlineClock, Found, Refusal, Served, WaitEnd, WaitRequest, WaiterKey};
pub(crate) use share::Sharing;
pub(crate) use slots::SlotKey;
use slots::{Slots, State};

/// The part of the configuration that decisions depend on.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) name: Arc<str>,
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) max_waiters: usize,
    pub(crate) max_connecting: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) max_uses: Option<u64>,
    pub(crate) check_interval: Option<Duration>,
    pub(crate) min_uptime: Duration,
    pub(crate) lease_warn_after: Option<Duration>,
    pub(crate) pacer: PacerLimits,
    pub(crate) seed: u64,
    /// How connections are shared; `None` lends each to one caller at a time.
    pub(crate) sharing: Option<Sharing>,
}

// Order: what every lease and return writes comes first and stays together. Two cores that take turns
// at the lock pass each other these lines, and every line costs as much as all the work on it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Store<C> {
    /// Something happened since the last tick.
    pub(crate) is_moving: bool,
    /// No tick is due: the next one to come must read the clock.
    pub(crate) is_quiet: bool,
    /// Somebody listens to the events of the hot path.
    pub(crate) is_observed: bool,
    /// There is something in `effects`.
    owes: bool,
    is_closed: bool,
    /// The maintenance task has gone with its runtime.
    is_orphan: bool,
    queue: WaitQueue<C>,
    /// The waiter that was served.
    served: Option<Waker>,
    /// The time as the hot path knows it, at most one tick old while the pool is in use.
    tick: Time,
    pub(crate) leases: u64,
    next_waiter: u64,
    /// When the maintenance task must sweep next.
    alarm: Time,
    /// Sorted by last use, the most recent one last.
    idle: Vec<(SlotKey, C)>,
    slots: Slots,
    /// All open connections, if they are shared.
    shared: Vec<(SlotKey, C)>,
    limits: Limits,
    pacer: Pacer,
    goals: Goals,
    effects: Effects<C>,
    /// When the tick is due.
    next_tick: Time,
    closed_since: usize,
    next_connection: u64,
    next_event: u64,
}

impl<C> Store<C> {
    pub(crate) fn new(limits: Limits) -> Self {
        let pacer = Pacer::new(limits.pacer, limits.seed);
        Self {
            limits,
            slots: Slots::default(),
            idle: Vec::new(),
            shared: Vec::new(),
            queue: WaitQueue::new(),
            goals: Goals::default(),
            pacer,
            is_closed: false,
            is_orphan: false,
            closed_since: 0,
            next_connection: 0,
            next_waiter: 0,
            next_event: 0,
            leases: 0,
            tick: Time::default(),
            next_tick: Time::default(),
            alarm: Time::default(),
            is_moving: false,
            is_quiet: false,
            is_observed: false,
            served: None,
            owes: false,
            effects: Effects::none(),
        }
    }

    /// The waker of the waiter that was served; to be woken after unlocking.
    #[inline]
    pub(crate) const fn take_served(&mut self) -> Option<Waker> {
        self.served.take()
    }

    /// What else the critical section owes; to be carried out after unlocking.
    #[inline]
    pub(crate) fn take_effects(&mut self) -> Option<Effects<C>> {
        #[cfg(debug_assertions)]
        self.assert_invariants();
        if !self.owes {
            return None;
        }
        self.owes = false;
        Some(std::mem::replace(&mut self.effects, Effects::none()))
    }

    fn set_alarm(&mut self, time: Time) {
        if time < self.alarm {
            self.alarm = time;
            self.kick();
        }
    }

    #[inline]
    pub(crate) const fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    fn kick(&mut self) {
        self.owes = true;
        self.effects.kick = true;
    }

    fn wake(&mut self, waker: Waker) {
        self.owes = true;
        self.effects.wakers.push(waker);
    }

    /// Has something dropped after unlocking whose drop may be foreign code.
    fn drop_outside(&mut self, spent: impl Send + 'static) {
        self.owes = true;
        self.effects.spent.push(Box::new(spent));
    }

    fn owe(&mut self, errand: Errand<C>) {
        self.owes = true;
        self.effects.errands.push(errand);
    }

    fn log(&mut self, kind: EventKind) {
        self.owes = true;
        self.effects.events.push((self.next_event, kind));
        self.next_event += 1;
    }

    /// Logs what happens on every acquire and return: only if somebody listens.
    #[inline]
    fn log_hot(&mut self, kind: impl FnOnce() -> EventKind) {
        if self.is_observed {
            self.log(kind());
        }
    }

    /// The invariants that can be seen from inside the store.
    #[cfg(debug_assertions)]
    fn assert_invariants(&self) {
        self.assert_shares();
        let idle = self.slots.count(State::Idle);
        assert!(
            idle == self.idle.len() || self.limits.sharing.is_some(),
            "invariant broken: every idle slot is parked"
        );
        assert!(
            self.idle.is_empty() || self.queue.is_empty(),
            "invariant 3 broken: {idle} idle while {} wait",
            self.queue.len()
        );
        assert!(
            !self.is_closed || (idle == 0 && self.queue.is_empty()),
            "invariant 11 broken: a closed pool has {idle} idle and {} waiting",
            self.queue.len()
        );
    }
}
