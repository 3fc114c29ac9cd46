//! A connection that goes to a waiter, against whatever else the waiter does.

use std::panic::Location;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::thread;

use crate::acquire::Acquire;
use crate::engine::{Lends, PoolStore};
use crate::lease::{Leased, PooledConnection};
use crate::store::models::rig::{LONG, Pool, acquire, opened, take, tear_down};
use crate::store::{Deadline, Exclusive, Found, Turn, WaitEnd, WaitRequest, WaiterKey};
use crate::sync::{Arc, Mutex, MutexGuard};

// ---- hand-off against cancel ---------------------------------------------------------------------

fn hand_off_against_cancel(cancel: fn(&Pool, Acquire<'_, ()>)) {
    loom::model(move || {
        let (pool, errands) = opened();
        let lease = take(&pool);
        let canceller = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let mut future = acquire(&pool);
                let mut cx = Context::from_waker(Waker::noop());
                match std::pin::Pin::new(&mut future).poll(&mut cx) {
                    Poll::Ready(result) => drop(result),
                    Poll::Pending => cancel(&pool, future),
                }
            })
        };
        let returner = thread::spawn(move || drop(lease));
        // Hangs, or ends without a connection, if the cancelled waiter swallows it.
        drop(block_on(acquire(&pool)).expect("served"));
        canceller.join().expect("no panic");
        returner.join().expect("no panic");
        assert_eq!(pool.lock().status().idle, 1, "the connection is idle");
        tear_down(pool, errands);
    });
}

#[test]
fn cancelled_waiter_passes_on_what_it_was_served() {
    hand_off_against_cancel(|_, future| drop(future));
}

#[test]
#[should_panic(expected = "the connection is idle")]
fn cancelled_waiter_that_keeps_what_it_was_served_is_found() {
    hand_off_against_cancel(|pool, future| {
        // Planted: it leaves the queue, but not with what it was served in the meantime.
        let key = future.forget_place().expect("it is queued");
        let mut store = pool.enter();
        let served = store.cancel(key);
        let open = served.map(|served| Exclusive::claim(&store, served));
        pool.finish(store);
        KEPT.with(|kept| kept.lock().extend(open.map(PooledConnection::new)));
    });
}

loom::thread_local! {
    static KEPT: Mutex<Vec<PooledConnection<()>>> = Mutex::new(Vec::new());
}

// ---- queueing against a return -------------------------------------------------------------------

/// `poll` looks for the connection, or joins the queue, or looks at its place in it.
fn queue_against_return(poll: fn(&Pool, &mut Option<WaiterKey>) -> Option<Leased<()>>) {
    loom::model(move || {
        let (pool, errands) = opened();
        let lease = take(&pool);
        let returner = thread::spawn(move || drop(lease));
        let mut place = None;
        let served = poll(&pool, &mut place);
        returner.join().expect("no panic");
        let served = served.or_else(|| poll(&pool, &mut place));
        drop(PooledConnection::new(
            served.expect("the return is not missed"),
        ));
        tear_down(pool, errands);
    });
}

fn look_at_place(pool: &Pool, key: WaiterKey) -> Option<Leased<()>> {
    let mut store = pool.enter();
    let found = store.poll_waiter(key, Waker::noop());
    pool.finish(store);
    match found {
        Found::Done(WaitEnd::Served(open), _) => Some(open),
        Found::Done(WaitEnd::Refused(..), _) | Found::Waiting | Found::Moved => None,
    }
}

fn join_queue(pool: &Pool, mut store: MutexGuard<'_, PoolStore<(), Exclusive>>) -> WaiterKey {
    let request = WaitRequest {
        deadline: Deadline::At(pool.clock.now().after(LONG)),
        site: Location::caller(),
    };
    let key = store.enqueue(Waker::noop().clone(), request, Turn::New);
    pool.finish(store);
    key
}

#[test]
fn return_before_queueing_is_not_missed() {
    queue_against_return(|pool, place| {
        if let Some(key) = *place {
            return look_at_place(pool, key);
        }
        let mut store = pool.enter();
        let open = store.take_idle(Location::caller());
        if open.is_some() {
            pool.finish(store);
        } else {
            *place = Some(join_queue(pool, store));
        }
        open
    });
}

#[test]
#[should_panic(expected = "the return is not missed")]
fn looking_and_queueing_in_two_steps_is_found() {
    queue_against_return(|pool, place| {
        if let Some(key) = *place {
            return look_at_place(pool, key);
        }
        let mut store = pool.enter();
        let open = store.take_idle(Location::caller());
        pool.finish(store);
        if open.is_none() {
            // Planted: it queues without looking again.
            *place = Some(join_queue(pool, pool.enter()));
        }
        open
    });
}

#[test]
fn acquire_against_return_is_served() {
    loom::model(|| {
        let (pool, errands) = opened();
        let lease = take(&pool);
        let returner = thread::spawn(move || drop(lease));
        drop(block_on(acquire(&pool)).expect("served"));
        returner.join().expect("no panic");
        tear_down(pool, errands);
    });
}
