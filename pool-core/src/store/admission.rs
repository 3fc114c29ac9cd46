//! Waiting: who may join the queue, at which place, and who is refused.

use std::task::Waker;

use crate::event::EventKind;
use crate::id::WaiterId;
use crate::store::{Deadline, Found, Lending, Refusal, Store, WaitEnd, WaitRequest, WaiterKey};
use crate::time::Time;

/// Where a caller enters the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    New,
    /// It was lent an idle connection that proved dead: it enters at the head.
    Deferred,
    /// It was served from the queue, but the connection proved dead: it gets the place of its number
    /// back.
    Resumed(WaiterId),
}

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// Whether a caller that has to wait now may join the queue.
    ///
    /// A full queue refuses newcomers only, since a caller that drew a dead connection had its turn
    /// already. So there may be as many more waiters as there are connections.
    pub(crate) fn admit(&self, now: Time, deadline: Deadline, turn: Turn) -> Result<(), Refusal> {
        if self.is_closed {
            return Err(Refusal::Closed);
        }
        if matches!(deadline, Deadline::At(time) if time <= now) {
            return Err(Refusal::TimedOut);
        }
        if turn == Turn::New && self.queue.len() >= self.limits.max_waiters {
            return Err(Refusal::Overloaded {
                limit: self.limits.max_waiters,
            });
        }
        match self.pacer.unavailable_for(now) {
            Some(retry_after) if !L::can_serve(self) => Err(Refusal::Unavailable { retry_after }),
            _ => Ok(()),
        }
    }

    /// Puts an admitted caller into the queue.
    pub(crate) fn enqueue(&mut self, waker: Waker, request: WaitRequest, turn: Turn) -> WaiterKey {
        let key = match turn {
            Turn::New => {
                let id = self.next_waiter_id();
                self.log_hot(|| EventKind::Queued { waiter: id });
                let is_at_limit = self.slots.len() >= L::size_limit(self) || self.budget_is_full();
                self.totals.limit_reached += u64::from(is_at_limit);
                self.queue.push_back(id, waker, request)
            }
            Turn::Deferred => {
                let id = self.next_waiter_id();
                self.log_hot(|| EventKind::Requeued { waiter: id });
                self.queue.push_again(id, waker, request)
            }
            Turn::Resumed(id) => {
                self.log_hot(|| EventKind::Requeued { waiter: id });
                self.queue.push_again(id, waker, request)
            }
        };
        if let Deadline::At(time) = request.deadline {
            self.set_alarm(time);
        }
        self.call_for_connects();
        key
    }

    const fn next_waiter_id(&mut self) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        id
    }

    /// Looks at a waiter, and removes it if its wait has ended.
    pub(crate) fn poll_waiter(&mut self, key: WaiterKey, waker: &Waker) -> Found<L::Served<C>> {
        self.queue.poll(key, waker)
    }

    /// Hands in the waker of a waiter that moved to another task.
    pub(crate) fn replace_waker(&mut self, key: WaiterKey, waker: Waker) -> Result<Waker, Waker> {
        self.queue.replace_waker(key, waker)
    }

    /// Removes a waiter whose future was dropped. What it was served must be given back.
    pub(crate) fn cancel(&mut self, key: WaiterKey) -> Option<L::Served<C>> {
        match self.queue.remove(key) {
            Ok(WaitEnd::Served(served)) => {
                L::withdrawn(self, &served);
                Some(served)
            }
            Ok(WaitEnd::Refused(_, context)) => {
                self.drop_outside(context);
                None
            }
            Err((waiter, waker)) => {
                self.log_hot(|| EventKind::Cancelled { waiter });
                self.drop_outside(waker);
                None
            }
        }
    }

    /// Answers all waiters if nothing is left that could serve them and connects are failing.
    pub(crate) fn refuse_if_unavailable(&mut self, now: Time) {
        if !self.queue.is_empty()
            && let Some(retry_after) = self.pacer.unavailable_for(now)
            && !L::can_serve(self)
        {
            self.refuse_all(Refusal::Unavailable { retry_after });
        }
    }

    pub(super) fn refuse_all(&mut self, refusal: Refusal) {
        let context = self.context(self.tick);
        let mut refused = Vec::new();
        while let Some(waker) = self.queue.serve_first(|waiter, _| {
            refused.push(waiter);
            WaitEnd::Refused(refusal, context.clone())
        }) {
            self.wake(waker);
        }
        for waiter in refused {
            self.log_hot(|| EventKind::Refused { waiter });
        }
    }
}
