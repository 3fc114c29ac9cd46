//! The queue of errands from a lease's `Drop` to the maintenance task, which owns the receiving end.
//!
//! The type is unbounded, but every errand holds a slot, so there are at most as many errands as
//! slots. Sending never blocks, never fails for lack of room, and needs no runtime. When the receiver
//! ends, [`Receiver::close`] returns the errands that were sent, and later ones are handed back to
//! their sender. Both happen under one lock, so none is lost in between.
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
    /// The receiver must look at the store, even without errands.
    is_kicked: bool,
    is_open: bool,
    waker: Option<Waker>,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Receiver<E>(Arc<Inbox<E>>);

/// What has come since the receiver looked last.
#[derive(Debug)]
pub(crate) struct Received<E> {
    /// All errands there are.
    pub(crate) errands: VecDeque<E>,
    /// The receiver must look at the store. An errand alone asks for nothing else.
    pub(crate) is_kicked: bool,
}

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

    /// Sends an errand, or returns it if the receiver has ended.
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

    /// Takes errands back that the receiver has not seen.
    pub(crate) fn take_if(&self, is_wanted: impl Fn(&E) -> bool) -> Vec<E> {
        let mut contents = self.0.lock();
        let all = std::mem::take(&mut contents.errands);
        let (wanted, rest): (Vec<E>, Vec<E>) = all.into_iter().partition(is_wanted);
        contents.errands = rest.into();
        wanted
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
    /// Resolves when an errand or a kick has come.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Received<E>> {
        let waker = cx.waker().clone();
        let mut contents = self.0.0.lock();
        if contents.is_kicked || !contents.errands.is_empty() {
            let is_kicked = std::mem::take(&mut contents.is_kicked);
            let errands = std::mem::take(&mut contents.errands);
            drop(contents);
            return Poll::Ready(Received { errands, is_kicked });
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
