//! How a caller gets a connection: at once from what may be lent, or from the queue.
//!
//! # Cancellation
//!
//! `Drop` of [`Wait`] leaves the queue. A connection that was served but not yet taken is returned
//! like a lease, so it goes on to the next waiter.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop;

use crate::engine::{Engine, Lends, PoolStore};
use crate::error::{AcquireContext, AcquireError};
use crate::foreign::drop_quietly;
use crate::id::CloseReason;
use crate::store::{Condition, Deadline, Found, Refusal, Turn, WaitEnd, WaitRequest, WaiterKey};
use crate::time::Time;

/// What [`draw`] found.
pub(crate) struct Draw<D> {
    pub(crate) lent: Option<D>,
    /// A connection that was drawn proved dead: the caller's turn had come.
    pub(crate) met_dead: bool,
}

/// Whether a caller that finds nothing but stale connections waits for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Waits,
    /// It takes a stale one unchecked.
    None,
}

/// Takes what may be lent at once and is alive. Dead connections found on the way are closed in the
/// background.
#[inline]
pub(crate) fn draw<T: Send + 'static, L: Lends<T>>(
    engine: &Engine<T, L>,
    site: &'static Location<'static>,
    patience: Patience,
) -> Draw<L::Lent> {
    let mut met_dead = false;
    loop {
        let mut store = engine.enter();
        let taken = take(&mut store, site, patience);
        engine.finish(store);
        let Some(lent) = taken else {
            return Draw {
                lent: None,
                met_dead,
            };
        };
        if engine.is_alive(L::connection(&lent)) {
            return Draw {
                lent: Some(lent),
                met_dead,
            };
        }
        met_dead = true;
        L::discard_dead(lent, engine);
    }
}

#[inline]
fn take<T: Send + 'static, L: Lends<T>>(
    store: &mut PoolStore<T, L>,
    site: &'static Location<'static>,
    patience: Patience,
) -> Option<L::Lent> {
    match L::take(store, site) {
        None if patience == Patience::None => L::take_stale(store, site),
        taken => taken,
    }
}

/// The wait for a lease.
pub(crate) struct Wait<'a, T: Send + 'static, L: Lends<T>> {
    engine: &'a Engine<T, L>,
    site: &'static Location<'static>,
    timeout: Duration,
    turn: Turn,
    deadline: Deadline,
    /// When the caller first needed the queue.
    began: Option<Time>,
    stage: WaitStage,
}

#[derive(Debug, Clone, Copy)]
enum WaitStage {
    New,
    Queued(WaiterKey),
    Done,
}

/// Callers with a timeout from here on leave it to the next sweep to make their deadline, which costs
/// them at most a hundredth of it: reading the clock would cost a tenth of a contended acquire.
const SWEPT_FROM: Duration = Duration::from_secs(10);

impl<'a, T: Send + 'static, L: Lends<T>> Wait<'a, T, L> {
    pub(crate) const fn new(
        engine: &'a Engine<T, L>,
        site: &'static Location<'static>,
        timeout: Duration,
    ) -> Self {
        Self {
            engine,
            site,
            timeout,
            turn: Turn::New,
            deadline: Deadline::AfterSweep(timeout),
            began: None,
            stage: WaitStage::New,
        }
    }

    /// For a model that leaves the queue in its own way.
    #[cfg(all(test, loom))]
    pub(crate) fn forget_place(mut self) -> Option<WaiterKey> {
        match std::mem::replace(&mut self.stage, WaitStage::Done) {
            WaitStage::Queued(key) => Some(key),
            WaitStage::New | WaitStage::Done => None,
        }
    }

    /// Takes an idle connection, or joins the queue.
    #[inline]
    fn begin(&mut self, cx: &Context<'_>) -> Poll<Result<L::Lent, AcquireError>> {
        if !self.engine.seems_idle() {
            return self.queue(cx, false);
        }
        let Draw { lent, met_dead } = draw(self.engine, self.site, self.patience());
        match lent {
            Some(lent) => self.done(Ok(lent)),
            None => self.queue(cx, met_dead),
        }
    }

    fn queue(
        &mut self,
        cx: &Context<'_>,
        mut met_dead: bool,
    ) -> Poll<Result<L::Lent, AcquireError>> {
        loop {
            if met_dead && self.turn == Turn::New {
                self.turn = Turn::Deferred;
            }
            // Cloned outside the lock, like every waker: cloning is foreign code.
            let waker = cx.waker().clone();
            let exact = self.needs_clock().then(|| self.engine.clock.now());
            let mut store = self.engine.enter();
            let now = exact.unwrap_or_else(|| store.coarse_now());
            self.began.get_or_insert(now);
            if let (Some(now), Deadline::AfterSweep(timeout)) = (exact, self.deadline) {
                self.deadline = Deadline::At(now.after(timeout));
            }
            let request = WaitRequest {
                deadline: self.deadline,
                site: self.site,
            };
            // Order: the last look and the queueing are one critical section. Otherwise a connection
            // that was returned in between would be missed.
            if let Some(lent) = take::<T, L>(&mut store, self.site, self.patience()) {
                self.engine.finish(store);
                drop_quietly(waker);
                if self.engine.is_alive(L::connection(&lent)) {
                    return self.done(Ok(lent));
                }
                L::discard_dead(lent, self.engine);
                met_dead = true;
                continue;
            }
            if self.turn == Turn::New {
                if L::has_stale(&store) {
                    self.engine.finish(store);
                    drop_quietly(waker);
                    // Its turn has come. Once more, since it needs an exact deadline now.
                    self.turn = Turn::Deferred;
                    continue;
                }
            } else {
                L::check_for_caller(&mut store);
            }
            let admitted = store.admit(now, request.deadline, self.turn);
            if let Err(refusal) = admitted {
                let context = store.context(now);
                self.engine.finish(store);
                return self.done(Err(self.error(refusal, context)));
            }
            self.stage = WaitStage::Queued(store.enqueue(waker, request, self.turn));
            self.engine.finish(store);
            return Poll::Pending;
        }
    }

    /// Looks whether the wait has ended.
    fn resume(&mut self, key: WaiterKey, cx: &Context<'_>) -> Poll<Result<L::Lent, AcquireError>> {
        loop {
            let mut store = self.engine.enter();
            match store.poll_waiter(key, cx.waker()) {
                Found::Waiting => {
                    self.engine.finish(store);
                    return Poll::Pending;
                }
                Found::Moved => {
                    self.engine.finish(store);
                    let waker = cx.waker().clone();
                    let mut store = self.engine.enter();
                    let replaced = store.replace_waker(key, waker);
                    self.engine.finish(store);
                    // Not compared again: `will_wake` may be false for a clone.
                    if replaced.is_ok() {
                        return Poll::Pending;
                    }
                }
                Found::Done(WaitEnd::Served(served), deadline) => {
                    self.stage = WaitStage::New;
                    let lent = L::claim(&store, served);
                    let accepted = L::accept(&mut store, &lent);
                    self.engine.finish(store);
                    match accepted {
                        Ok(()) if self.engine.is_alive(L::connection(&lent)) => {
                            self.note_wait();
                            return self.done(Ok(lent));
                        }
                        Ok(()) => L::discard_dead(lent, self.engine),
                        Err(condition) => L::give_back(lent, self.engine, condition),
                    }
                    self.turn = Turn::Resumed(key.id());
                    self.deadline = match (deadline, self.began) {
                        // It was served before a sweep had made its deadline, which must not begin anew.
                        (Deadline::AfterSweep(timeout), Some(began)) => {
                            Deadline::At(began.after(timeout))
                        }
                        (deadline, _) => deadline,
                    };
                    return self.begin(cx);
                }
                Found::Done(WaitEnd::Refused(refusal, context), _) => {
                    self.stage = WaitStage::Done;
                    self.engine.finish(store);
                    return self.done(Err(self.error(refusal, context)));
                }
            }
        }
    }

    pub(crate) fn describe(&self, debug: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        debug
            .field("site", &self.site)
            .field("timeout", &self.timeout);
        debug.field("stage", &self.stage).finish()
    }

    const fn patience(&self) -> Patience {
        match self.timeout.is_zero() {
            true => Patience::None,
            false => Patience::Waits,
        }
    }

    /// Whether the caller reads the clock: a tick more or less matters to its timeout, its wait is
    /// measured, or it had its turn already.
    fn needs_clock(&self) -> bool {
        self.timeout < SWEPT_FROM || self.turn != Turn::New || self.engine.telemetry.is_metered()
    }

    fn done(
        &mut self,
        result: Result<L::Lent, AcquireError>,
    ) -> Poll<Result<L::Lent, AcquireError>> {
        self.stage = WaitStage::Done;
        Poll::Ready(result)
    }

    fn note_wait(&self) {
        if let (true, Some(began)) = (self.engine.telemetry.is_metered(), self.began) {
            self.engine
                .telemetry
                .waited(self.engine.clock.now().since(began));
        }
    }

    #[cold]
    fn error(&self, refusal: Refusal, context: Arc<AcquireContext>) -> AcquireError {
        let error = match refusal {
            Refusal::TimedOut => AcquireError::Timeout {
                limit: self.timeout,
                context,
            },
            Refusal::Overloaded { limit } => AcquireError::Overloaded { limit, context },
            Refusal::Closed => AcquireError::Closed { context },
            Refusal::Unavailable { retry_after } => AcquireError::Unavailable {
                retry_after,
                context,
            },
        };
        self.engine.telemetry.refused(&error);
        error
    }
}

impl<T: Send + 'static, L: Lends<T>> Future for Wait<'_, T, L> {
    type Output = Result<L::Lent, AcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A task that always finds something idle must still let others run.
        let budget = ready!(coop::poll_proceed(cx));
        let poll = match self.stage {
            WaitStage::New => self.begin(cx),
            WaitStage::Queued(key) => self.resume(key, cx),
            WaitStage::Done => panic!("an acquire was polled after its completion"),
        };
        if poll.is_ready() {
            budget.made_progress();
        }
        poll
    }
}

impl<T: Send + 'static, L: Lends<T>> Drop for Wait<'_, T, L> {
    fn drop(&mut self) {
        let WaitStage::Queued(key) = self.stage else {
            return;
        };
        let mut store = self.engine.enter();
        let lent = store.cancel(key).map(|served| L::claim(&store, served));
        self.engine.finish(store);
        if let Some(lent) = lent {
            let condition = match self.engine.condition(L::connection(&lent)) {
                // It served nobody here.
                Condition::Ended => Condition::Unfit(CloseReason::Died),
                condition @ (Condition::Clean | Condition::NeedsReset | Condition::Unfit(_)) => {
                    condition
                }
            };
            L::give_back(lent, self.engine, condition);
        }
    }
}
