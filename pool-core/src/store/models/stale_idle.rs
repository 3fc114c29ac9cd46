//! A connection that is checked before it is lent, against a close, an eviction and a caller that leaves.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::thread;

use crate::acquire::Acquire;
use crate::error::{AcquireError, CheckError};
use crate::id::{CloseReason, ConnectionId};
use crate::lease::{Leased, PooledConnection};
use crate::store::exclusive::Upkeep;
use crate::store::models::rig::{
    Errands, LONG, Pool, acquire, open_one, run_errands, start_with_checks, tear_down,
};
use crate::store::{Deadline, Errand, State, Turn, WaitRequest};
use crate::sync::Arc;
use crate::time::Time;

/// A pool whose one connection was idle for so long that it is checked first.
fn stale() -> (Pool, Errands, Time) {
    let (pool, errands) = start_with_checks(1);
    assert!(open_one(&pool), "min_idle wants one");
    let later = pool.clock.now().after(LONG);
    let mut store = pool.enter();
    store.note_time(later);
    pool.finish(store);
    (pool, errands, later)
}

/// The check has ended well: what production does then.
fn pass(pool: &Pool, open: Leased<()>, later: Time) {
    let key = open.key();
    let mut store = pool.enter();
    store.checked(key, open, later);
    pool.finish(store);
}

/// The check has failed: what production does then.
fn fail(pool: &Pool, open: Leased<()>, _later: Time) {
    let key = open.key();
    let mut store = pool.enter();
    store.rejected(key, open, CheckError::new("no answer"));
    pool.finish(store);
}

type EndCheck = fn(&Pool, Leased<()>, Time);

/// What the maintenance task does: waits for errands or a kick, runs the errands, opens what is wanted.
fn maintain(pool: &Pool, errands: &mut Errands, later: Time, end_check: EndCheck) {
    let received = block_on(poll_fn(|cx| errands.poll(cx)));
    for errand in received.errands {
        match errand {
            Errand::Upkeep(Upkeep::Check(open)) => end_check(pool, open, later),
            errand @ (Errand::Upkeep(_) | Errand::Close(..) | Errand::Weigh(_)) => {
                pool.drop_errand(errand);
            }
        }
    }
    while received.is_kicked && open_one(pool) {}
}

const FIRST: ConnectionId = ConnectionId::from_u64(0);

/// Polls an acquire once: it joins the queue, and the check of the stale connection begins.
fn wait(acquire: &mut Acquire<'_, ()>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(acquire).poll(&mut cx).is_pending(), "it is stale");
}

// ---- the end of the check against a close --------------------------------------------------------

fn check_against_close(end_check: EndCheck) {
    loom::model(move || {
        let (pool, mut errands, later) = stale();
        {
            let mut waiting = acquire(&pool);
            wait(&mut waiting);
            let closer = {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.close())
            };
            maintain(&pool, &mut errands, later, end_check);
            closer.join().expect("no panic");
            match block_on(waiting) {
                Ok(lease) => drop(lease),
                Err(error) => assert!(matches!(error, AcquireError::Closed { .. }), "{error}"),
            }
        }
        run_errands(&pool, &mut errands);
        assert_eq!(pool.lock().status().size(), 0, "nothing outlives the close");
    });
}

#[test]
fn checked_connection_that_races_a_close_is_closed() {
    check_against_close(pass);
}

#[test]
#[should_panic(expected = "nothing outlives the close")]
fn parking_a_checked_connection_in_a_closed_pool_is_found() {
    check_against_close(|pool, open, later| {
        let is_closed = pool.lock().is_closed();
        if is_closed {
            return pass(pool, open, later);
        }
        // Planted: it decides in one critical section and parks in another.
        let key = open.key();
        let mut store = pool.enter();
        store.slots.set_state(key, State::Idle);
        store.idle.push((key, open));
        pool.finish(store);
    });
}

// ---- the end of the check against an eviction ----------------------------------------------------

fn check_against_eviction(end_check: EndCheck) {
    loom::model(move || {
        let (pool, mut errands, later) = stale();
        {
            let mut waiting = acquire(&pool);
            wait(&mut waiting);
            let evictor = {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.evict(|id| id == FIRST))
            };
            maintain(&pool, &mut errands, later, end_check);
            evictor.join().expect("no panic");
            let mut cx = Context::from_waker(Waker::noop());
            let lease = loop {
                match Pin::new(&mut waiting).poll(&mut cx) {
                    Poll::Ready(served) => break served.expect("another is opened"),
                    // Hangs, which loom reports, if there is nothing to do.
                    Poll::Pending => maintain(&pool, &mut errands, later, end_check),
                }
            };
            let is_first = PooledConnection::id(&lease) == FIRST;
            drop(lease);
            run_errands(&pool, &mut errands);
            // Not earlier: what is left of a model cannot be dropped while it panics.
            assert!(!is_first, "no evicted connection is lent");
        }
        pool.close();
        run_errands(&pool, &mut errands);
        assert_eq!(pool.lock().status().size(), 0, "everything is closed");
    });
}

#[test]
fn caller_whose_checked_connection_was_evicted_gets_another() {
    check_against_eviction(pass);
}

#[test]
fn caller_whose_check_failed_gets_another() {
    check_against_eviction(fail);
}

#[test]
#[should_panic(expected = "no evicted connection is lent")]
fn lending_a_checked_connection_that_was_evicted_is_found() {
    check_against_eviction(|pool, open, later| {
        let key = open.key();
        let is_evicted = pool.lock().slots.get(key).close_reason.is_some();
        let mut store = pool.enter();
        if !is_evicted {
            // Planted: it was looked at in another critical section.
            store.slots.get_mut(key).close_reason = None;
        }
        store.checked(key, open, later);
        pool.finish(store);
    });
}

// ---- the end of the check against the end of the wait --------------------------------------------

fn check_against_timeout(end_check: EndCheck) {
    loom::model(move || {
        let (pool, mut errands, later) = stale();
        let key = {
            let mut store = pool.enter();
            assert!(store.take_idle(Location::caller()).is_none(), "it is stale");
            store.check_next();
            let request = WaitRequest {
                deadline: Deadline::At(later.after(LONG)),
                site: Location::caller(),
            };
            let key = store.enqueue(Waker::noop().clone(), request, Turn::Deferred);
            pool.finish(store);
            key
        };
        let timer = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let mut store = pool.enter();
                store.sweep(later.after(LONG).after(LONG));
                pool.finish(store);
            })
        };
        maintain(&pool, &mut errands, later, end_check);
        timer.join().expect("no panic");
        let mut store = pool.enter();
        let served = store.cancel(key);
        pool.finish(store);
        drop(served.map(PooledConnection::new));
        assert_eq!(pool.lock().status().idle, 1, "the connection is idle");
        tear_down(pool, errands);
    });
}

#[test]
fn checked_connection_is_not_lost_with_a_caller_that_timed_out() {
    check_against_timeout(pass);
}

#[test]
#[should_panic(expected = "the connection is idle")]
fn serving_a_caller_that_was_seen_before_is_found() {
    check_against_timeout(|pool, open, later| {
        let is_waiting = !pool.lock().queue.is_empty();
        let key = open.key();
        let mut store = pool.enter();
        if is_waiting && store.queue.is_empty() {
            // Planted: it is meant for a caller that has gone, so it is not parked.
            store.retire(key, open, CloseReason::Idle);
        } else {
            store.checked(key, open, later);
        }
        pool.finish(store);
    });
}
