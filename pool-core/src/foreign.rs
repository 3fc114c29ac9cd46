//! Calls into code that is not ours: connectors, connections, wakers. They may panic, hang, or drop
//! other things of the pool; none of that may reach the pool's own state.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::connector::BoxFuture;
use crate::error::Fault;

/// Calls `f`; a panic becomes a [`Fault`].
#[inline]
pub(crate) fn catch<R>(call: &'static str, f: impl FnOnce() -> R) -> Result<R, Fault> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| panicked(call, payload))
}

/// Drops `value`; a panic of its `Drop` ends here.
#[inline]
pub(crate) fn drop_quietly<V>(value: V) {
    report(catch("drop", || drop(value)));
}

/// Logs a panic that nobody can be told of. The log is foreign code as well.
#[inline]
pub(crate) fn report(result: Result<(), Fault>) {
    if let Err(fault) = result {
        log(&fault);
    }
}

#[cold]
pub(crate) fn log(fault: &Fault) {
    let logged = catch(
        "log",
        || tracing::error!(target: "pool_core", %fault, "foreign code failed"),
    );
    // A log that panics has nobody left to tell.
    drop(logged);
}

/// Awaits `future` for at most `limit`; a panic or the end of the limit becomes a [`Fault`].
pub(crate) async fn bounded<R>(
    call: &'static str,
    limit: Duration,
    future: BoxFuture<'_, R>,
) -> Result<R, Fault> {
    match tokio::time::timeout(limit, CatchPanic::new(call, future)).await {
        Ok(result) => result,
        Err(_) => Err(Fault::TimedOut { call, limit }),
    }
}

/// A future whose panics, in `poll` or in `drop`, become a [`Fault`].
pub(crate) struct CatchPanic<'a, R> {
    call: &'static str,
    future: Option<BoxFuture<'a, R>>,
}

impl<'a, R> CatchPanic<'a, R> {
    pub(crate) const fn new(call: &'static str, future: BoxFuture<'a, R>) -> Self {
        Self {
            call,
            future: Some(future),
        }
    }
}

impl<R> Future for CatchPanic<'_, R> {
    type Output = Result<R, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let call = self.call;
        let future = self.future.as_mut().expect("not polled after completion");
        let poll = match catch(call, || future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(fault) => Err(fault),
        };
        drop_quietly(self.future.take());
        Poll::Ready(poll)
    }
}

impl<R> Drop for CatchPanic<'_, R> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            drop_quietly(future);
        }
    }
}

#[cold]
fn panicked(call: &'static str, payload: Box<dyn Any + Send>) -> Fault {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
    let message = message.unwrap_or_else(|| "(no message)".to_owned());
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        #[expect(
            clippy::mem_forget,
            reason = "a payload whose drop panics; so may this one's"
        )]
        std::mem::forget(worse);
    }
    Fault::Panicked { call, message }
}

/// What a thread is doing about wakers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waking {
    No,
    One,
    /// There are more to be woken after this one.
    Many,
}

/// Wakers that came up while another one was woken on the same thread.
type Pending = RefCell<VecDeque<Waker>>;

// Apart, so that most wakes touch nothing that has to be dropped at the end of the thread.
#[cfg(not(loom))]
std::thread_local! {
    static WAKING: Cell<Waking> = const { Cell::new(Waking::No) };
    static PENDING: Pending = const { RefCell::new(VecDeque::new()) };
}

#[cfg(loom)]
loom::thread_local! {
    static WAKING: Cell<Waking> = Cell::new(Waking::No);
    static PENDING: Pending = RefCell::new(VecDeque::new());
}

/// Wakes a waiter, by iteration where it would be recursion.
///
/// A waker may drop the future it was to wake (its executor is gone), that future passes its
/// connection to the next waiter, whose waker does the same: with ten thousand waiters the stack
/// would not suffice. A wake inside a wake only queues.
#[inline]
pub(crate) fn wake(waker: Waker) {
    if enter(Waking::One) != Waking::No {
        return wake_later(waker);
    }
    wake_now(waker);
    if enter(Waking::No) == Waking::Many {
        wake_rest();
    }
}

/// Says what the thread does from now on, and returns what it did.
#[inline]
fn enter(state: Waking) -> Waking {
    WAKING.with(|waking| waking.replace(state))
}

#[cold]
fn wake_later(waker: Waker) {
    enter(Waking::Many);
    let mut waker = Some(waker);
    let queued = PENDING.try_with(|pending| pending.borrow_mut().extend(waker.take()));
    // A lease that is dropped by the end of its thread may find the list gone already.
    if let (Err(_), Some(waker)) = (queued, waker) {
        wake_now(waker);
    }
}

#[cold]
fn wake_rest() {
    enter(Waking::One);
    let next = || PENDING.try_with(|pending| pending.borrow_mut().pop_front());
    while let Ok(Some(waker)) = next() {
        wake_now(waker);
    }
    enter(Waking::No);
}

#[inline]
fn wake_now(waker: Waker) {
    report(catch("wake", || waker.wake()));
}
