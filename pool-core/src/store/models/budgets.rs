//! Pools of one budget: where the lock of a store and that of the budget's accounts follow each other.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use loom::thread;

use crate::acquire::Acquire;
use crate::budget::Budget;
use crate::lease::PooledConnection;
use crate::store::models::rig::{
    Errands, Pool, acquire, open_one, run_errands, start_in, take, tear_down,
};
use crate::sync::Arc;

/// A budget of one connection, and a pool that has leased it.
fn holder() -> (Budget, Pool, Errands, PooledConnection<()>) {
    let budget = Budget::builder("model").max_connections(1).build();
    let budget = budget.expect("valid settings");
    let (pool, errands) = start_in(&budget, 1);
    assert!(open_one(&pool), "min_idle wants one");
    let lease = take(&pool);
    (budget, pool, errands, lease)
}

/// Polls an acquire once: it joins the queue.
fn wait(acquire: &mut Acquire<'_, ()>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        Pin::new(acquire).poll(&mut cx).is_pending(),
        "nothing is open"
    );
}

/// What the maintenance task does with what it has received.
fn maintain(pool: &Pool, errands: &mut Errands) {
    let cx = Context::from_waker(Waker::noop());
    if let Poll::Ready(received) = errands.poll(&cx) {
        for errand in received.errands {
            pool.drop_errand(errand);
        }
        while received.is_kicked && open_one(pool) {}
    }
}

// ---- reclaim against return ----------------------------------------------------------------------

fn reclaim_against_return(ask: fn(asker: &Pool, holder: &Pool)) {
    loom::model(move || {
        let (budget, one, mut errands, lease) = holder();
        let (asker, asker_errands) = start_in(&budget, 0);
        {
            let mut waiting = acquire(&asker);
            wait(&mut waiting);
            let returner = thread::spawn(move || drop(lease));
            ask(&asker, &one);
            returner.join().expect("no panic");
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(received) = errands.poll(&cx) {
                received
                    .errands
                    .into_iter()
                    .for_each(|errand| one.drop_errand(errand));
            }
            assert!(open_one(&asker), "the connection was given up");
            let served = pin!(waiting).poll(&mut cx);
            assert!(served.is_ready());
        }
        tear_down(one, errands);
        tear_down(asker, asker_errands);
    });
}

#[test]
fn connection_that_comes_home_while_a_pool_asks_is_given_up() {
    reclaim_against_return(|asker, _| assert!(!open_one(asker), "it is leased, or being closed"));
}

#[test]
#[should_panic(expected = "the connection was given up")]
fn looking_before_asking_is_found() {
    reclaim_against_return(|asker, holder| {
        let now = asker.clock.now();
        let demand = asker.lock().ask(now);
        // Planted: a connection that comes home between the two is neither found nor given up.
        if holder.lock().oldest_idle(now).is_some() {
            assert!(!open_one(asker), "it is being closed");
        } else {
            asker.membership().ask_only(demand, now);
        }
    });
}

// ---- grant against cancel ------------------------------------------------------------------------

fn grant_against_cancel(maintain: fn(&Pool, &mut Errands)) {
    loom::model(move || {
        let (budget, one, errands, lease) = holder();
        let (leaver, mut leaver_errands) = start_in(&budget, 0);
        let (next, next_errands) = start_in(&budget, 0);
        let mut leaving = acquire(&leaver);
        wait(&mut leaving);
        assert!(!open_one(&leaver), "it is leased");
        let mut waiting = acquire(&next);
        wait(&mut waiting);
        assert!(!open_one(&next), "it is leased");
        let releaser = thread::spawn(move || PooledConnection::detach(lease));
        drop(leaving);
        maintain(&leaver, &mut leaver_errands);
        releaser.join().expect("no panic");
        maintain(&leaver, &mut leaver_errands);
        assert!(open_one(&next), "the permit went on");
        drop(waiting);
        tear_down(one, errands);
        tear_down(leaver, leaver_errands);
        tear_down(next, next_errands);
    });
}

#[test]
fn permit_that_is_granted_to_a_caller_that_leaves_goes_on() {
    grant_against_cancel(maintain);
}

#[test]
#[should_panic(expected = "the permit went on")]
fn ignoring_a_grant_without_a_caller_is_found() {
    grant_against_cancel(|pool, errands| {
        // Planted: nobody waits any more, so it does not look at what it was granted.
        if pool.lock().status().waiting > 0 {
            maintain(pool, errands);
        }
    });
}

// ---- close against grant -------------------------------------------------------------------------

fn close_against_grant(close: fn(&Pool)) {
    loom::model(move || {
        let (budget, one, errands, lease) = holder();
        let (closed, mut closed_errands) = start_in(&budget, 0);
        let (next, next_errands) = start_in(&budget, 0);
        let mut refused = acquire(&closed);
        wait(&mut refused);
        assert!(!open_one(&closed), "it is leased");
        let mut waiting = acquire(&next);
        wait(&mut waiting);
        assert!(!open_one(&next), "it is leased");
        let releaser = thread::spawn(move || PooledConnection::detach(lease));
        close(&closed);
        releaser.join().expect("no panic");
        drop(refused);
        // Its maintenance task ends with the pool.
        run_errands(&closed, &mut closed_errands);
        assert!(open_one(&next), "the permit went on");
        drop(waiting);
        closed.close();
        tear_down(one, errands);
        tear_down(closed, closed_errands);
        tear_down(next, next_errands);
    });
}

#[test]
fn permit_that_is_granted_to_a_pool_that_closes_goes_on() {
    close_against_grant(|pool| pool.close());
}

#[test]
#[should_panic(expected = "the permit went on")]
fn closing_without_leaving_the_budget_is_found() {
    close_against_grant(|pool| {
        // Planted: what was granted to it stays with it.
        let mut store = pool.enter();
        store.close();
        pool.finish(store);
    });
}

/// The members of a budget are kept in memory by it until they leave.
#[test]
fn closed_pools_are_not_kept_in_memory_by_their_budget() {
    loom::model(|| {
        let (budget, pool, mut errands, lease) = holder();
        drop(lease);
        assert!(
            Arc::strong_count(&pool) > 2,
            "its budget and its slot hold it"
        );
        pool.close();
        run_errands(&pool, &mut errands);
        assert_eq!(Arc::strong_count(&pool), 1);
        assert_eq!(budget.status().used, 0);
    });
}
