//! Calls into code that is not ours: connectors, connections, wakers. It may panic, hang, or drop other
//! parts of the pool. None of that may damage the pool's own state.

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

/// Logs a panic that cannot be reported to a caller. The logger is foreign code as well.
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
    // There is no other place to report the panic of a logger.
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
            reason = "the payload of a payload's drop, whose own drop may panic as well"
        )]
        std::mem::forget(worse);
    }
    Fault::Panicked { call, message }
}

/// Whether this thread is waking something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waking {
    No,
    One,
    /// More wakers are pending.
    Many,
}

/// Wakers that came up while the same thread was waking another one.
type Pending = RefCell<VecDeque<Waker>>;

// Apart, so that most wakes touch no thread-local that has a destructor.
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

/// Wakes a waiter. A wake inside a wake is queued, so that wakes never recurse.
///
/// If its executor is gone, a waker may drop the future it should wake. That future passes its
/// connection on to the next waiter, whose waker does the same. With ten thousand waiters such a
/// recursion would overflow the stack.
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

/// Sets what the thread is doing, and returns what it did before.
#[inline]
fn enter(state: Waking) -> Waking {
    WAKING.with(|waking| waking.replace(state))
}

#[cold]
fn wake_later(waker: Waker) {
    enter(Waking::Many);
    let mut waker = Some(waker);
    let queued = PENDING.try_with(|pending| pending.borrow_mut().extend(waker.take()));
    // A lease that is dropped at the end of its thread may find the list gone.
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
