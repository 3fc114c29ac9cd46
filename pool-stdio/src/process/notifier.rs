//! Runs other people's code for the threads of this crate: wakers, drops, log events.
//!
//! A waker can block or panic, and so can the drop of a value that a user gave us. Neither may delay
//! the end of a child. So the custodian and the spawners hand such things to a thread of its own, in
//! order. What waits there behind a slow waker is told later, but has happened.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::Waker;

use super::lock::lock;
use super::{service, sys};

/// Has wakers woken.
pub(crate) fn wake(wakers: Vec<Waker>) {
    if !wakers.is_empty() {
        post(Errand::Wake(wakers));
    }
}

/// Has a value dropped.
pub(crate) fn drop_there(value: impl Send + 'static) {
    post(Errand::Drop(Box::new(value)));
}

/// Has something logged or measured, by whatever the user has installed for that.
pub(crate) fn run(errand: impl FnOnce() + Send + 'static) {
    post(Errand::Run(Box::new(errand)));
}

/// Starts the thread, unless it runs.
pub(crate) fn prepare() -> std::io::Result<()> {
    let mut is_started = lock(&STARTED);
    if !*is_started {
        service::start("stdio-notifier", serve)?;
        *is_started = true;
    }
    Ok(())
}

trait Droppable: Send {}

impl<T: Send> Droppable for T {}

enum Errand {
    Wake(Vec<Waker>),
    Drop(Box<dyn Droppable>),
    Run(Box<dyn FnOnce() + Send>),
}

fn post(errand: Errand) {
    lock(&ERRANDS).push_back(errand);
    POSTED.notify_one();
}

fn serve() {
    sys::block_signals();
    loop {
        let mut errands = POSTED
            .wait_while(lock(&ERRANDS), |errands| errands.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let errand = errands.pop_front();
        drop(errands);
        match errand {
            Some(Errand::Wake(wakers)) => wakers
                .into_iter()
                .for_each(|waker| carefully(|| waker.wake())),
            Some(Errand::Drop(value)) => carefully(|| drop(value)),
            Some(Errand::Run(run)) => carefully(run),
            None => {}
        }
    }
}

/// The panic hook has reported a panic. It must not keep the rest from being done.
fn carefully(errand: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(errand)));
}

static STARTED: Mutex<bool> = Mutex::new(false);
/// At most a few for each child: its futures and what it was given.
static ERRANDS: Mutex<VecDeque<Errand>> = Mutex::new(VecDeque::new());
static POSTED: Condvar = Condvar::new();
