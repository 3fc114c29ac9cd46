//! The end of a slot, of a pool, and of its background task, while others still use them.

use std::future::poll_fn;

use loom::future::block_on;
use loom::thread;

use crate::engine::Lends;
use crate::handle::Handle;
use crate::id::CloseReason;
use crate::lease::{Leased, PooledConnection};
use crate::store::models::rig::{Pool, open_one, opened, run_errands, start, take, tear_down};
use crate::store::{Condition, Errand, Exclusive, Resized, SlotKey, State};
use crate::sync::Arc;

// ---- return against close ------------------------------------------------------------------------

fn return_against_close(give_back: fn(PooledConnection<()>)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let lease = take(&pool);
        let closer = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.close())
        };
        give_back(lease);
        closer.join().expect("no panic");
        run_errands(&pool, &mut errands);
        assert_eq!(pool.lock().status().size(), 0, "nothing outlives the close");
    });
}

#[test]
fn return_that_races_a_close_is_closed() {
    return_against_close(drop);
}

#[test]
#[should_panic(expected = "nothing outlives the close")]
fn parking_in_a_closed_pool_is_found() {
    return_against_close(|lease| {
        let open = lease.into_open();
        let pool = Arc::clone(open.engine());
        let is_closed = pool.lock().is_closed();
        if is_closed {
            return Exclusive::give_back(open, &pool, Condition::Clean);
        }
        // Planted: it decides in one critical section and parks in another.
        let key: SlotKey = open.key();
        let mut store = pool.enter();
        store.slots.set_state(key, State::Idle);
        store.idle.push((key, open));
        pool.finish(store);
    });
}

// ---- the last drop of two handles ----------------------------------------------------------------

fn two_handles<H: Send + 'static>(pair: fn(&Pool) -> (H, H)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let (first, second) = pair(&pool);
        let other = thread::spawn(move || drop(first));
        drop(second);
        other.join().expect("no panic");
        assert!(pool.lock().is_closed(), "the last handle closes the pool");
        run_errands(&pool, &mut errands);
    });
}

#[test]
fn last_of_two_handles_dropped_at_once_closes_the_pool() {
    two_handles(|pool| {
        let handle = Arc::new(Handle::without_runtime(Arc::clone(pool)));
        (Arc::clone(&handle), handle)
    });
}

/// Planted: the count is compared instead of left to the inner `Arc`.
struct Counting(Pool, Arc<()>);

impl Drop for Counting {
    fn drop(&mut self) {
        if Arc::strong_count(&self.1) == 1 {
            self.0.close();
        }
    }
}

#[test]
#[should_panic(expected = "the last handle closes the pool")]
fn comparing_the_strong_count_is_found() {
    two_handles(|pool| {
        let count = Arc::new(());
        (
            Counting(Arc::clone(pool), Arc::clone(&count)),
            Counting(Arc::clone(pool), count),
        )
    });
}

// ---- the order in which a permit is released -----------------------------------------------------

fn freed_slot_is_used_again(free: fn(PooledConnection<()>)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let lease = take(&pool);
        let freer = thread::spawn(move || free(lease));
        // Hangs, which loom reports, if it is kicked before there is a permit to be had.
        while !open_one(&pool) {
            let received = block_on(poll_fn(|cx| errands.poll(cx)));
            assert!(received.errands.is_empty(), "nothing is closed here");
        }
        freer.join().expect("no panic");
        tear_down(pool, errands);
    });
}

#[test]
fn freed_slot_comes_with_its_permit() {
    freed_slot_is_used_again(PooledConnection::detach);
}

#[test]
#[should_panic(expected = "deadlock")]
fn permit_released_after_the_kick_is_found() {
    freed_slot_is_used_again(|lease| {
        let ((), mut slot) = lease.into_open().into_parts();
        let pool = Arc::clone(&slot.engine);
        let mut store = pool.enter();
        store.detach(slot.key);
        pool.finish(store);
        // Planted: the slot goes first, and the permit when it is too late.
        let permit = slot.take_permit();
        drop(slot);
        drop(permit);
    });
}

// ---- a resize against a connect that is not wanted -----------------------------------------------

fn resize_against_connect(open: fn(&Pool)) {
    loom::model(move || {
        let (pool, errands) = start(0);
        let opener = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || open(&pool))
        };
        let mut store = pool.enter();
        let Some(Resized::Remove(count)) = store.resize(0) else {
            panic!("the pool shrinks");
        };
        // Panics if the free slot's permit is not free.
        pool.permits.remove(count);
        pool.finish(store);
        opener.join().expect("no panic");
        tear_down(pool, errands);
    });
}

#[test]
fn resize_finds_the_permit_of_each_free_slot() {
    resize_against_connect(|pool| assert!(!open_one(pool), "nothing is wanted"));
}

#[test]
#[should_panic(expected = "a free slot has a free permit")]
fn permit_taken_before_looking_is_found() {
    resize_against_connect(|pool| {
        // Planted: between the two a resize finds the slot free and its permit taken.
        let permit = pool.permits.try_take();
        let opening = pool.lock().open(pool.clock.now());
        assert!(opening.is_none(), "nothing is wanted");
        drop(permit);
    });
}

// ---- the inbox against the end of its receiver ---------------------------------------------------

fn send_against_end(send: fn(&Pool, Leased<()>)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let open = take(&pool).into_open();
        let sender = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || send(&pool, open))
        };
        run_errands(&pool, &mut errands);
        sender.join().expect("no panic");
        drop(errands);
        assert_eq!(pool.lock().status().size(), 0, "the errand was not lost");
    });
}

#[test]
fn errand_sent_to_an_ending_receiver_is_not_lost() {
    send_against_end(|pool, open| {
        if let Err(errand) = pool.inbox.send(Errand::Close(open, CloseReason::Dirty)) {
            pool.drop_errand(errand);
        }
    });
}

#[test]
#[should_panic(expected = "the errand was not lost")]
fn looking_before_sending_is_found() {
    send_against_end(|pool, open| {
        // Planted: whether it is open is asked in one critical section and used in another.
        if pool.inbox.is_open() {
            pool.inbox.push(Errand::Close(open, CloseReason::Dirty));
        } else {
            open.dispose();
        }
    });
}
