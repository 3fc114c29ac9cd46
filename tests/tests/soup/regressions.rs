//! What the soup found, each boiled down to its bones.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use pool_core::{ConnectionPool, EventKind, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, pair};
use pool_testkit::ledger::Ledger;

use crate::ending::paused;
use crate::scenario::Flavour;
use crate::world::Lease;

/// A connect took its permit before it looked at the limit, so a resize in between found one
/// permit fewer than it had to take away.
#[test]
fn a_resize_finds_the_permits_of_all_free_slots_while_connects_begin() {
    let runtime = crate::runtime(Flavour::Threads);
    let pool = runtime.block_on(async { ConnectionPool::builder(pair().0).max_size(1).build() });
    let pool = pool.expect("the settings are valid");
    // Each resize lets the maintenance task look for something to open.
    let sizes = [1, 0].into_iter().cycle().take(100_000);
    let results: Vec<_> = sizes.map(|size| pool.resize(size)).collect();
    assert!(results.iter().all(Result::is_ok));
}

/// A connection that was being reset or checked when the runtime went was told as closed without
/// ever being told as closing.
#[test]
fn a_connection_in_a_reset_is_closing_before_it_is_closed_with_its_runtime() {
    let runtime = paused();
    let (connector, fake) = pair();
    fake.set(Call::Reset, Answer::Never);
    let ledger = Ledger::new(1);
    let observer = Arc::new(ledger.clone());
    let pool = runtime.block_on(async {
        let builder = ConnectionPool::builder(connector).max_size(1);
        let pool = builder
            .observer(observer)
            .build()
            .expect("the settings are valid");
        let lease = pool.acquire().await.expect("the fake connects");
        lease.mark_needs_reset();
        drop(lease);
        fake.until(|counts| counts.reset.running() == 1).await;
        pool
    });
    drop(runtime);
    let closings = ledger.count_events(|kind| matches!(kind, EventKind::Closing { .. }));
    assert_eq!(closings, 1);
    ledger.assert_settled();
    assert_eq!((fake.alive().len(), pool.status().size()), (0, 0));
}

/// The time of last use is measured by the coarse clock, that of birth by the real one.
#[test]
fn no_connection_is_idle_for_longer_than_it_is_old() {
    paused().block_on(async {
        let (connector, fake) = pair();
        fake.set(Call::Connect, Answer::After(Duration::from_millis(30)));
        let pool = ConnectionPool::builder(connector)
            .build()
            .expect("the settings are valid");
        assert!(pool.warm_up(1).await.is_ok());
        let kept =
            pool.retain(|stats| stats.idle_for.is_some_and(|idle_for| idle_for <= stats.age));
        assert_eq!(kept, 0, "it is kept");
    });
}

/// A lease that a thread-local owned found the queue of wakers destroyed when its thread ended, and
/// the panic in that destructor ended the process.
#[test]
fn a_lease_may_be_dropped_by_the_end_of_its_thread() {
    thread_local! {
        static KEPT: RefCell<Vec<Lease>> = const { RefCell::new(Vec::new()) };
    }
    paused().block_on(async {
        let pool = ConnectionPool::builder(pair().0).max_size(2).build();
        let pool = pool.expect("the settings are valid");
        let first = pool.acquire().await.expect("the fake connects");
        let second = pool.acquire().await.expect("the fake connects");
        let mut waiting = pin!(async { tokio::join!(pool.acquire(), pool.acquire()) });
        let early = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
        assert!(early.is_pending(), "both are lent");
        let thread = thread::spawn(move || {
            // Order: registered before whatever the pool keeps for a thread, so destroyed after it.
            KEPT.with_borrow_mut(|kept| kept.push(second));
            drop(first);
        });
        assert!(thread.join().is_ok());
        let (one, other) = waiting.await;
        assert!(one.is_ok() && other.is_ok());
    });
}

/// A runtime that is shutting down drops what is spawned. The maintenance task, still running on
/// another worker, found the slot free again and the connect wanted, without end, and the runtime
/// waited for it.
#[test]
fn a_runtime_ends_while_connects_are_wanted() {
    let (done, ends) = mpsc::channel();
    let rounds = thread::spawn(move || {
        for _ in 0..100 {
            let runtime = crate::runtime(Flavour::Threads);
            let pool = runtime.block_on(async {
                let builder = ConnectionPool::builder(pair().0).max_size(4);
                builder.min_idle(4).build().expect("the settings are valid")
            });
            for _ in 0..4 {
                let pool = pool.clone();
                drop(runtime.spawn(async move {
                    while let Ok(lease) = pool.acquire().await {
                        PooledConnection::discard(lease);
                    }
                }));
            }
            let first = runtime.block_on(pool.acquire());
            assert!(first.is_ok());
            drop(runtime);
            assert!(done.send(()).is_ok());
        }
    });
    for round in 0..100 {
        let end = ends.recv_timeout(Duration::from_secs(20));
        assert!(end.is_ok(), "the runtime of round {round} does not end");
    }
    assert!(rounds.join().is_ok());
}
