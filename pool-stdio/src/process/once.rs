//! A value that is set once, and the futures that wait for it. Needs no runtime.
//!
//! # Locking
//!
//! One mutex, held for a few instructions. [`Once::peek`] does not take it while there is no value. Wakers are cloned,
//! woken and dropped while it is unlocked, because they can run any code.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::lock::lock;
use super::notifier;

/// A value that is set once.
#[derive(Debug)]
pub(crate) struct Once<T> {
    /// Set under the lock, once there was a value.
    was_set: AtomicBool,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    value: Option<T>,
    next_key: u64,
    wakers: Vec<(u64, Waker)>,
}

impl<T> Once<T> {
    pub(crate) fn new() -> Arc<Self> {
        let inner = Inner {
            value: None,
            next_key: 0,
            wakers: Vec::new(),
        };
        Arc::new(Self {
            was_set: AtomicBool::new(false),
            inner: Mutex::new(inner),
        })
    }

    /// Sets the value and wakes all waiting tasks here and now. A value that was set before stays.
    pub(crate) fn set(&self, value: T) {
        for waker in self.replace(value) {
            // A waker can run any code. Its panic must not keep the others asleep.
            drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
        }
    }

    /// The same, for a thread of this crate: the tasks are woken on another one.
    pub(crate) fn publish(&self, value: T) {
        notifier::wake(self.replace(value));
    }

    /// The value stays if it was there before. Returns whom to wake.
    fn replace(&self, value: T) -> Vec<Waker> {
        let (surplus, wakers) = {
            let mut inner = lock(&self.inner);
            let surplus = match inner.value {
                None => inner.value.replace(value),
                Some(_) => Some(value),
            };
            self.was_set.store(true, Ordering::Release);
            (surplus, std::mem::take(&mut inner.wakers))
        };
        drop(surplus);
        wakers.into_iter().map(|(_, waker)| waker).collect()
    }
}

impl<T: Clone> Once<T> {
    pub(crate) fn peek(&self) -> Option<T> {
        match self.was_set.load(Ordering::Acquire) {
            true => lock(&self.inner).value.clone(),
            false => None,
        }
    }
}

/// Resolves with a copy of the value.
#[derive(Debug)]
pub(crate) struct Wait<T> {
    once: Arc<Once<T>>,
    key: Option<u64>,
}

/// Resolves with the value itself. There must be only one for a [`Once`].
#[derive(Debug)]
pub(crate) struct Take<T> {
    wait: Wait<T>,
}

impl<T> Wait<T> {
    pub(crate) const fn new(once: Arc<Once<T>>) -> Self {
        Self { once, key: None }
    }

    /// Ready with what `take` makes of the value, once there is one.
    fn poll_with<R>(
        &mut self,
        cx: &Context<'_>,
        take: impl FnOnce(&mut Option<T>) -> Option<R>,
    ) -> Poll<R> {
        let waker = cx.waker().clone();
        let replaced = {
            let mut inner = lock(&self.once.inner);
            if inner.value.is_some()
                && let Some(taken) = take(&mut inner.value)
            {
                return Poll::Ready(taken);
            }
            let inner = &mut *inner;
            if let Some((_, known)) = inner
                .wakers
                .iter_mut()
                .find(|(key, _)| Some(*key) == self.key)
            {
                Some(std::mem::replace(known, waker))
            } else {
                self.key = Some(inner.next_key);
                inner.wakers.push((inner.next_key, waker));
                inner.next_key += 1;
                None
            }
        };
        drop(replaced);
        Poll::Pending
    }
}

impl<T: Clone> Future for Wait<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.poll_with(cx, |value| value.clone())
    }
}

impl<T> Take<T> {
    pub(crate) const fn new(once: Arc<Once<T>>) -> Self {
        Self {
            wait: Wait::new(once),
        }
    }
}

impl<T> Future for Take<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.wait.poll_with(cx, Option::take)
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let forgotten = {
            let mut inner = lock(&self.once.inner);
            let place = inner.wakers.iter().position(|(known, _)| *known == key);
            place.map(|place| inner.wakers.swap_remove(place))
        };
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counter {
        woken: AtomicUsize,
    }

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.woken.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Panicking;

    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }

    fn poll<T: Clone>(wait: &mut Wait<T>, waker: &Waker) -> Poll<T> {
        Pin::new(wait).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn the_first_value_stays_and_each_waiting_task_is_woken_once() {
        let once = Once::new();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let mut waits = [(); 3].map(|()| Wait::new(Arc::clone(&once)));
        for wait in &mut waits {
            assert!(poll(wait, &waker).is_pending());
            assert!(poll(wait, &waker).is_pending());
        }
        once.set(1);
        once.set(2);
        assert_eq!(counter.woken.load(Ordering::Relaxed), 3);
        assert!(
            waits
                .iter_mut()
                .all(|wait| poll(wait, &waker) == Poll::Ready(1))
        );
        assert_eq!(once.peek(), Some(1));
    }

    #[test]
    fn a_dropped_wait_is_forgotten() {
        let once = Once::<u8>::new();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        for _ in 0..3 {
            let mut wait = Wait::new(Arc::clone(&once));
            assert!(poll(&mut wait, &waker).is_pending());
        }
        assert_eq!(lock(&once.inner).wakers.len(), 0);
        drop(waker);
        assert_eq!(Arc::strong_count(&counter), 1);
    }

    #[test]
    fn a_waker_that_panics_does_not_stop_the_others() {
        let once = Once::new();
        let counter = Arc::new(Counter::default());
        let wakers = [
            Waker::from(Arc::new(Panicking)),
            Waker::from(Arc::clone(&counter)),
        ];
        let mut waits = [(); 2].map(|()| Wait::new(Arc::clone(&once)));
        for (wait, waker) in waits.iter_mut().zip(&wakers) {
            assert!(poll(wait, waker).is_pending());
        }
        once.set(());
        assert_eq!(counter.woken.load(Ordering::Relaxed), 1);
    }
}
