//! The way from a lease's `Drop` to the maintenance task, which alone owns the receiving end.
//!
//! Unbounded in type, bounded in fact: every errand holds a slot, so there are at most as many as
//! the pool may have connections. Sending never blocks, never fails for lack of room, and needs no
//! runtime. When the receiver goes, errands that were sent come out in [`Receiver::close`] and later
//! ones come back to their sender, under one lock: none is lost in between.
//!
//! # Locking
//!
//! Its lock is held for a push or a swap only, never together with the store's.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex};

/// The sending end.
#[derive(Debug)]
pub(crate) struct Inbox<E>(Mutex<Contents<E>>);

#[derive(Debug)]
struct Contents<E> {
    errands: VecDeque<E>,
    /// There is something to look at beside the errands.
    is_kicked: bool,
    is_open: bool,
    waker: Option<Waker>,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Receiver<E>(Arc<Inbox<E>>);

impl<E> Inbox<E> {
    pub(crate) fn new() -> (Arc<Self>, Receiver<E>) {
        let contents = Contents {
            errands: VecDeque::new(),
            is_kicked: false,
            is_open: true,
            waker: None,
        };
        let inbox = Arc::new(Self(Mutex::new(contents)));
        (Arc::clone(&inbox), Receiver(inbox))
    }

    /// Sends an errand, or returns it if nobody will ever receive it.
    pub(crate) fn send(&self, errand: E) -> Result<(), E> {
        let mut contents = self.0.lock();
        if !contents.is_open {
            return Err(errand);
        }
        contents.errands.push_back(errand);
        let waker = contents.waker.take();
        drop(contents);
        wake(waker);
        Ok(())
    }

    /// Makes the receiver look at the store.
    pub(crate) fn kick(&self) {
        let mut contents = self.0.lock();
        contents.is_kicked = true;
        let waker = contents.waker.take();
        drop(contents);
        wake(waker);
    }
}

#[cfg(all(test, loom))]
impl<E> Inbox<E> {
    /// For a model that looks before it sends.
    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().is_open
    }

    /// For a model that sends without looking.
    pub(crate) fn push(&self, errand: E) {
        self.0.lock().errands.push_back(errand);
    }
}

impl<E> Receiver<E> {
    /// Resolves when an errand or a kick has come, with all errands there are.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<VecDeque<E>> {
        let waker = cx.waker().clone();
        let mut contents = self.0.0.lock();
        if contents.is_kicked || !contents.errands.is_empty() {
            contents.is_kicked = false;
            let errands = std::mem::take(&mut contents.errands);
            drop(contents);
            return Poll::Ready(errands);
        }
        let previous = contents.waker.replace(waker);
        drop(contents);
        drop(previous);
        Poll::Pending
    }

    /// Refuses all further errands and returns those that had been sent.
    pub(crate) fn close(&mut self) -> VecDeque<E> {
        let mut contents = self.0.0.lock();
        contents.is_open = false;
        std::mem::take(&mut contents.errands)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
