//! The data of a store, and how it collects what it owes.

use std::task::Waker;

use crate::budget::Allotment;
use crate::event::EventKind;
use crate::store::adaptive::TargetLearner;
use crate::store::goals::Goals;
use crate::store::heavy_pause::HeavyPause;
use crate::store::need::NeedHistory;
use crate::store::pacer::Pacer;
use crate::store::queue::WaitQueue;
use crate::store::renewal::Renewal;
use crate::store::slots::Slots;
use crate::store::{Effects, Errand, IdleOrder, Lending, Limits, Sharing, SlotKey, TargetLeases};
use crate::time::Time;

/// What has been counted since the pool was built.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) leases: u64,
    /// Callers that joined the queue while there were as many connections as there may be.
    pub(crate) limit_reached: u64,
}

// Order: what every lease and return writes comes first, together. Two cores that take turns at the
// lock pass these cache lines to each other, and each line costs as much as all the work on it.
#[repr(C)]
pub(crate) struct Store<C: Send + 'static, L: Lending> {
    /// Something changed since the last tick.
    pub(crate) is_moving: bool,
    /// No tick is due: the next caller must read the clock.
    pub(crate) is_quiet: bool,
    /// The events of the hot path are wanted.
    pub(crate) is_observed: bool,
    /// The connection that has been idle for longest is lent next, not the one that was used last.
    pub(super) takes_oldest: bool,
    /// `effects` is not empty.
    pub(super) owes: bool,
    pub(super) is_closed: bool,
    /// The runtime has shut down, and the maintenance task with it.
    pub(super) is_orphan: bool,
    pub(super) queue: WaitQueue<L::Served<C>>,
    /// The waker of the first waiter that was served.
    pub(super) served: Option<Waker>,
    /// The time as the hot path knows it: at most one tick old while the pool is in use and its runtime
    /// keeps up.
    pub(super) tick: Time,
    /// A connection without leases that was neither used nor checked since then must be checked before
    /// it is lent.
    pub(super) stale_before: Time,
    pub(crate) totals: Totals,
    pub(super) next_waiter: u64,
    /// When the maintenance task must sweep next.
    pub(super) alarm: Time,
    /// Sorted by last use, the most recent one last.
    pub(super) idle: Vec<(SlotKey, C)>,
    /// What the pool may have of its budget, if it has one.
    pub(super) allotment: Option<Allotment>,
    /// How many connections the pool asks the budget for,
    pub(super) asked: usize,
    /// of which no caller waits for so many,
    pub(super) asked_spread: usize,
    /// and how many the budget was told, which can be more.
    pub(super) told: usize,
    /// Since when the budget has granted nothing though callers wait.
    pub(super) ungranted_since: Option<Time>,
    /// What all slots weigh together.
    pub(super) total_weight: u128,
    /// The connections are being weighed.
    pub(super) is_weighing: bool,
    pub(super) next_weighing: Time,
    pub(super) heavy_pause: HeavyPause,
    pub(super) slots: Slots,
    /// All open connections, if they are shared.
    pub(super) shared: Vec<(SlotKey, C)>,
    pub(super) limits: Limits,
    pub(super) pacer: Pacer,
    pub(super) goals: Goals,
    pub(super) renewal: Option<Renewal>,
    pub(super) effects: Effects<C, L>,
    /// When the tick is due.
    pub(super) next_tick: Time,
    pub(super) closed_since: usize,
    pub(super) next_connection: u64,
    pub(super) next_event: u64,
    /// How many shared connections are needed.
    pub(super) need: NeedHistory,
    /// Learns how many leases they should carry, if that is not fixed.
    pub(super) learner: Option<Box<TargetLearner>>,
}

impl<C: Send + 'static, L: Lending> Store<C, L> {
    pub(crate) fn new(limits: Limits) -> Self {
        let pacer = Pacer::new(limits.pacer, limits.seed);
        Self {
            takes_oldest: limits.idle_order == IdleOrder::Fifo,
            slots: Slots::default(),
            idle: Vec::new(),
            allotment: None,
            asked: 0,
            asked_spread: 0,
            told: 0,
            ungranted_since: None,
            total_weight: 0,
            is_weighing: false,
            next_weighing: Time::default(),
            heavy_pause: HeavyPause::default(),
            shared: Vec::new(),
            need: NeedHistory::default(),
            learner: learner(&limits.sharing),
            queue: WaitQueue::new(),
            goals: Goals::default(),
            renewal: None,
            limits,
            pacer,
            is_closed: false,
            is_orphan: false,
            closed_since: 0,
            next_connection: 0,
            next_waiter: 0,
            next_event: 0,
            totals: Totals::default(),
            tick: Time::default(),
            stale_before: Time::default(),
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

    /// Serves the waiters that may be served now, and gives up what the budget wants of the rest.
    #[inline]
    pub(crate) fn settle(&mut self) {
        L::serve_waiters(self);
        if self.is_pressed() {
            self.give_up_idle();
        }
    }

    /// Does so at the end of a critical section. Returns the waker of the first waiter that was served, to be woken after
    /// unlocking.
    #[inline]
    pub(crate) fn take_served(&mut self) -> Option<Waker> {
        self.settle();
        if self.asked > 0 {
            self.watch_demand();
        }
        self.served.take()
    }

    /// Whether the critical section owes anything that [`Store::take_effects`] would return.
    #[inline]
    pub(crate) fn owes(&self) -> bool {
        #[cfg(debug_assertions)]
        self.assert_invariants();
        self.owes
    }

    /// What else the critical section owes, to be carried out after unlocking.
    #[inline]
    pub(crate) fn take_effects(&mut self) -> Option<Effects<C, L>> {
        #[cfg(debug_assertions)]
        self.assert_invariants();
        if !self.owes {
            return None;
        }
        self.owes = false;
        Some(std::mem::replace(&mut self.effects, Effects::none()))
    }

    pub(super) fn set_alarm(&mut self, time: Time) {
        if time < self.alarm {
            self.alarm = time;
            self.kick();
        }
    }

    /// Whether a caller that comes now would be lent a connection at once.
    #[inline]
    pub(crate) fn has_idle(&self) -> bool {
        L::has_idle(self)
    }

    pub(super) fn kick(&mut self) {
        self.owes = true;
        self.effects.kick = true;
    }

    pub(super) fn wake(&mut self, waker: Waker) {
        self.owes = true;
        self.effects.wakers.push(waker);
    }

    /// Leaves a value whose drop may be foreign code to be dropped after unlocking.
    pub(super) fn drop_outside(&mut self, spent: impl Send + 'static) {
        self.owes = true;
        self.effects.spent.push(Box::new(spent));
    }

    pub(super) fn owe(&mut self, errand: Errand<C, L>) {
        self.owes = true;
        self.effects.errands.push(errand);
    }

    pub(super) fn log(&mut self, kind: EventKind) {
        self.owes = true;
        self.effects.events.push((self.next_event, kind));
        self.next_event += 1;
    }

    /// Logs what happens on every acquire and return, if it is wanted.
    #[inline]
    pub(super) fn log_hot(&mut self, kind: impl FnOnce() -> EventKind) {
        if self.is_observed {
            self.log(kind());
        }
    }

    #[cfg(debug_assertions)]
    fn assert_invariants(&self) {
        L::assert_invariants(self);
        assert!(
            !self.is_closed || self.queue.is_empty(),
            "invariant 11 broken: {} wait for a closed pool",
            self.queue.len()
        );
    }
}

/// What learns the target, unless it is fixed.
fn learner(sharing: &Sharing) -> Option<Box<TargetLearner>> {
    match sharing.target_leases {
        TargetLeases::Fixed(_) => None,
        TargetLeases::Adaptive { min, max } => {
            let max = max.min(sharing.max_leases);
            Some(Box::new(TargetLearner::new(min, max)))
        }
    }
}
