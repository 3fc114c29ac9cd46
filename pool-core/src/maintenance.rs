//! The one permanent task of a pool: it starts connects, runs errands, and does what is due.
//!
//! It owns the receiving end of the inbox. It never awaits foreign code; that runs in its task sets.
//! Each of those tasks is for one slot: a slot has at most one connect or watch on its connection's
//! death, and one errand. So there are at most twice as many tasks as slots, and one that weighs.
//!
//! When the runtime shuts down, the task is dropped, and its `Drop` closes the pool: waiters could not
//! be served any more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::task::{JoinSet, coop};
use tokio::time::Sleep;

use crate::connect;
use crate::connector::ConnectContext;
use crate::engine::{Engine, Lends, Stored};
use crate::inbox::{Received, Receiver};
use crate::slot::Slot;
use crate::store::Errand;
use crate::sync::Arc;
use crate::time::Time;
use crate::weigh::weigh;

pub(crate) type PoolErrand<T, L> = Errand<Stored<T, L>, L>;

pub(crate) struct Maintenance<T: Send + 'static, L: Lends<T>> {
    engine: Arc<Engine<T, L>>,
    inbox: Receiver<PoolErrand<T, L>>,
    /// Connects in flight, and the watches they become.
    connects: JoinSet<()>,
    /// Closes, resets and checks.
    errands: JoinSet<()>,
}

impl<T: Send + 'static, L: Lends<T>> Maintenance<T, L> {
    pub(crate) fn new(engine: Arc<Engine<T, L>>, inbox: Receiver<PoolErrand<T, L>>) -> Self {
        Self {
            engine,
            inbox,
            connects: JoinSet::new(),
            errands: JoinSet::new(),
        }
    }

    /// Runs until the pool is closed and its last slot free.
    pub(crate) async fn run(mut self, timer: Sleep) {
        let mut timer = pin!(timer);
        while let Some(alarm) = self.work() {
            let alarm = self.engine.clock.instant(alarm);
            if timer.deadline() != alarm {
                timer.as_mut().reset(alarm);
            }
            loop {
                let received = poll_fn(|cx| self.poll_event(cx, timer.as_mut())).await;
                self.start(received.errands);
                if received.is_kicked {
                    break;
                }
            }
        }
    }

    /// Does what is due, and returns when to look again; `None` at the end.
    fn work(&mut self) -> Option<Time> {
        let engine = &self.engine;
        let is_observed = engine.telemetry.wants_hot_events();
        let mut store = engine.lock();
        // Order: in the lock. A caller that joined the queue since an earlier look at the clock would get a deadline
        // that is too early.
        let now = engine.clock.now();
        store.is_observed = is_observed;
        let was_due = store.sweep(now);
        let has_aged_claim = was_due && store.has_aged_claim(now);
        store.refuse_if_unavailable(now);
        let (is_closed, is_finished) = (store.is_closed(), store.is_finished());
        engine.finish(store);
        if has_aged_claim {
            engine.reclaim_for_others();
        }
        if was_due || is_finished {
            engine.publish();
        }
        if is_finished {
            return None;
        }
        if is_closed {
            // An aborted connect frees its slot. The other tasks watch connections that will be closed
            // anyway.
            self.connects.abort_all();
        } else {
            while self.open_one(now) {}
        }
        Some(self.engine.lock().alarm())
    }

    /// Starts a connect, if one is wanted and allowed.
    fn open_one(&mut self, now: Time) -> bool {
        let engine = &self.engine;
        let Some((opening, permit, of_budget)) = engine.open(now) else {
            return false;
        };
        let slot = Slot::new(
            Arc::clone(engine),
            opening.key,
            opening.id,
            permit,
            of_budget,
        );
        let deadline = engine.clock.instant(now.after(engine.timeouts.connect));
        let cx = ConnectContext::new(opening.id, opening.attempt, deadline);
        self.connects.spawn(connect::connect(slot, cx));
        true
    }

    fn start(&mut self, errands: VecDeque<PoolErrand<T, L>>) {
        for errand in errands {
            match errand {
                Errand::Close(open, reason) => self.errands.spawn(connect::close(open, reason)),
                Errand::Upkeep(upkeep) => {
                    self.errands.spawn(L::run(upkeep, Arc::clone(&self.engine)))
                }
                Errand::Weigh(weighable) => self
                    .errands
                    .spawn(weigh(Arc::clone(&self.engine), weighable)),
            };
        }
    }

    /// Resolves when there is something to do: errands to start, or, as with a kick, what is due.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        timer: Pin<&mut Sleep>,
    ) -> Poll<Received<PoolErrand<T, L>>> {
        // Remove finished tasks.
        while let Poll::Ready(Some(_)) = self.connects.poll_join_next(cx) {}
        while let Poll::Ready(Some(_)) = self.errands.poll_join_next(cx) {}
        // Another thread that kicks in a loop must not keep this thread from its other tasks.
        let budget = ready!(coop::poll_proceed(cx));
        if let Poll::Ready(received) = self.inbox.poll(cx) {
            budget.made_progress();
            return Poll::Ready(received);
        }
        timer.poll(cx).map(|()| Received {
            errands: VecDeque::new(),
            is_kicked: true,
        })
    }
}

impl<T: Send + 'static, L: Lends<T>> Drop for Maintenance<T, L> {
    fn drop(&mut self) {
        let mut store = self.engine.enter();
        store.orphan();
        self.engine.finish(store);
        self.engine.leave_budget();
        for errand in self.inbox.close() {
            self.engine.drop_errand(errand);
        }
        self.engine.publish();
    }
}
