//! The one permanent task of a pool: it starts connects, runs errands, and does what is due.
//!
//! It owns the receiving end of the inbox. It never awaits foreign code; that runs in its task sets.
//! Each of those tasks is for one slot: a slot has at most one connect or watch on its connection's
//! death, and one errand. So there are at most twice as many tasks as slots, and one that weighs. Those that have ended
//! are removed before others begin.
//!
//! When the runtime shuts down, the task is dropped, and its `Drop` closes the pool: waiters could not
//! be served any more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::task::{JoinSet, coop};
use tokio::time::Sleep;

use crate::budget::BudgetPermit;
use crate::connect;
use crate::connector::ConnectContext;
use crate::engine::{Engine, Lends, Next, Stored};
use crate::inbox::{Received, Receiver};
use crate::slot::Slot;
use crate::store::{Errand, Opening};
use crate::sync::{Arc, Permit};
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
        let mut next = if is_closed {
            let next = Next::Rest(store.alarm());
            engine.finish(store);
            next
        } else {
            engine.next(store, now)
        };
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
        }
        loop {
            match next {
                Next::Rest(alarm) => return Some(alarm),
                Next::Connect(opening, permit, of_budget) => {
                    self.connect(&opening, permit, of_budget, now);
                }
            }
            next = self.engine.next(self.engine.lock(), now);
        }
    }

    fn connect(
        &mut self,
        opening: &Opening,
        permit: Permit,
        of_budget: Option<BudgetPermit>,
        now: Time,
    ) {
        let engine = &self.engine;
        let slot = Slot::new(
            Arc::clone(engine),
            opening.key,
            opening.id,
            permit,
            of_budget,
        );
        let deadline = engine.clock.instant(now.after(engine.timeouts.connect));
        let cx = ConnectContext::new(opening.id, opening.attempt, deadline);
        let connect = connect::connect(slot, cx, opening.patience);
        self.connects.spawn(connect);
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
        #[cfg(all(test, not(loom)))]
        tests::POLLS.set(tests::POLLS.get() + 1);
        // Remove finished tasks, before others begin. Nothing else follows from their end, so they need not wake this one.
        while self.connects.try_join_next().is_some() {}
        while self.errands.try_join_next().is_some() {}
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    use crate::budget::Budget;
    use crate::connector_fn::connector_fn;
    use crate::engine::STORE_LOCKS;
    use crate::pool::ConnectionPool;

    std::thread_local! {
        /// How often this thread has polled for events.
        pub(super) static POLLS: Cell<usize> = const { Cell::new(0) };
    }

    /// A connection of another pool is closed for it, and one is opened. Three of the locks are the caller's: it joins the
    /// queue, takes what it was served, and returns it.
    #[tokio::test(start_paused = true)]
    async fn lease_that_replaces_the_connection_of_another_pool_locks_stores_a_few_times() {
        const LEASES: usize = 100;
        let budget = Budget::builder("all").max_connections(1).build();
        let budget = budget.expect("the settings are valid");
        let pools = [(); 2].map(|()| {
            let builder = ConnectionPool::builder(connector_fn(async |_| Ok(())));
            builder
                .budget(&budget)
                .build()
                .expect("the settings are valid")
        });
        for pool in &pools {
            drop(pool.acquire().await.expect("it connects"));
        }
        let before = (STORE_LOCKS.get(), POLLS.get());
        for pool in pools.iter().cycle().take(LEASES) {
            drop(pool.acquire().await.expect("it connects"));
        }
        let locks = (STORE_LOCKS.get() - before.0) / LEASES;
        let polls = (POLLS.get() - before.1) / LEASES;
        assert!(locks <= 12 && polls <= 6, "{locks} locks, {polls} polls");
    }
}
