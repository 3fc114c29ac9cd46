//! Wakers whose clones do not count as the same waker, as with some executors.
#![expect(
    unsafe_code,
    reason = "only a vtable of its own can make a clone another waker"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{RawWaker, RawWakerVTable, Waker};

/// How often wakers of this log were woken, and how many of them exist.
#[derive(Debug, Default)]
pub(crate) struct Log {
    wakes: AtomicUsize,
    alive: AtomicUsize,
}

impl Log {
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

/// A waker whose clones each have their own data, so that `will_wake` is false between them.
pub(crate) fn waker(log: &Arc<Log>) -> Waker {
    // SAFETY: the functions of the table are safe to call from any thread, and each of them treats
    // the data as what `raw` made it: a box that one waker owns.
    unsafe { Waker::from_raw(raw(log)) }
}

fn raw(log: &Arc<Log>) -> RawWaker {
    log.alive.fetch_add(1, Ordering::SeqCst);
    let data: *mut Arc<Log> = Box::into_raw(Box::new(Arc::clone(log)));
    RawWaker::new(data.cast_const().cast(), &TABLE)
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: `data` is the box that `raw` made, and its waker still owns it.
    raw(unsafe { &*data.cast::<Arc<Log>>() })
}

unsafe fn wake(data: *const ()) {
    // SAFETY: `data` is the box that `raw` made; this call takes it over.
    let log = unsafe { Box::from_raw(data.cast::<Arc<Log>>().cast_mut()) };
    log.wakes.fetch_add(1, Ordering::SeqCst);
    log.alive.fetch_sub(1, Ordering::SeqCst);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: `data` is the box that `raw` made, and its waker still owns it.
    let log = unsafe { &*data.cast::<Arc<Log>>() };
    log.wakes.fetch_add(1, Ordering::SeqCst);
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: `data` is the box that `raw` made; this call takes it over.
    let log = unsafe { Box::from_raw(data.cast::<Arc<Log>>().cast_mut()) };
    log.alive.fetch_sub(1, Ordering::SeqCst);
}
