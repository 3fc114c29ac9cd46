//! How many threads deliver events at the moment. A close waits until none does.
//!
//! Events are delivered after unlocking, so the thread that freed the last slot can still be about to
//! deliver the event about it when the caller of `close` sees that the pool is empty.
//!
//! # Algorithm
//!
//! A delivery begins in the critical section that logged its events, so whoever finds the pool empty
//! under the lock finds every delivery counted. Its end takes no lock unless a close waits: it lowers the
//! count, then looks for waiters; a waiter registers, then looks at the count. All four steps are
//! sequentially consistent, so at least one of the two sees the other.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::foreign;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Debug)]
pub(crate) struct Deliveries {
    running: AtomicUsize,
    has_waiters: AtomicBool,
    /// At most one for each task that waits.
    waiters: Mutex<Vec<Waker>>,
}

/// A delivery of events. It ends when this is dropped.
#[must_use]
pub(crate) struct Delivery<'a>(&'a Deliveries);

impl Deliveries {
    pub(crate) fn new() -> Self {
        Self {
            running: AtomicUsize::new(0),
            has_waiters: AtomicBool::new(false),
            waiters: Mutex::new(Vec::new()),
        }
    }

    /// Order: called in the critical section that logged the events.
    pub(crate) fn begin(&self) -> Delivery<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        Delivery(self)
    }

    /// How many deliveries are running.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Waits until no delivery is running.
    ///
    /// # Cancel safety
    ///
    /// Keeps a waker, which is woken for nothing.
    pub(crate) async fn ended(&self) {
        poll_fn(|cx| self.poll_ended(cx)).await;
    }

    fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        if self.running.load(Ordering::SeqCst) == 0 {
            return Poll::Ready(());
        }
        // Foreign code clones and drops wakers, so neither happens under the lock.
        let mut waker = Some(cx.waker().clone());
        let mut waiters = self.waiters.lock();
        if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            waiters.extend(waker.take());
        }
        drop(waiters);
        self.has_waiters.store(true, Ordering::SeqCst);
        if self.running.load(Ordering::SeqCst) == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        let Deliveries {
            running,
            has_waiters,
            waiters,
        } = self.0;
        let is_last = running.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last && has_waiters.swap(false, Ordering::SeqCst) {
            let wakers = std::mem::take(&mut *waiters.lock());
            wakers.into_iter().for_each(foreign::wake);
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::future::block_on;
    use loom::thread;

    use super::{Deliveries, Delivery};
    use crate::foreign;
    use crate::sync::Arc;
    use crate::sync::atomic::Ordering;

    fn last_delivery_against_a_wait(end: fn(&Deliveries)) {
        loom::model(move || {
            let deliveries = Arc::new(Deliveries::new());
            deliveries.running.store(1, Ordering::SeqCst);
            let deliverer = {
                let deliveries = Arc::clone(&deliveries);
                thread::spawn(move || end(&deliveries))
            };
            block_on(deliveries.ended());
            assert_eq!(deliveries.running.load(Ordering::SeqCst), 0);
            deliverer.join().expect("the deliverer does not panic");
        });
    }

    #[test]
    fn last_delivery_that_races_a_wait_ends_it() {
        last_delivery_against_a_wait(|deliveries| drop(Delivery(deliveries)));
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn looking_for_waiters_before_the_end_is_found() {
        last_delivery_against_a_wait(|deliveries| {
            // Planted: it looks for waiters before it lowers the count.
            let has_waiters = deliveries.has_waiters.swap(false, Ordering::SeqCst);
            deliveries.running.fetch_sub(1, Ordering::SeqCst);
            if has_waiters {
                let wakers = std::mem::take(&mut *deliveries.waiters.lock());
                wakers.into_iter().for_each(foreign::wake);
            }
        });
    }
}
