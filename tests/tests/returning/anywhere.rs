//! A lease can be dropped wherever a value can be dropped.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use pool_core::{Acquire, CloseReason, ConnectionPool, PooledConnection};
use pool_testkit::connector::{FakeConnection, QueryAnswer};
use pool_tests::bed::{
    Bed, HandPolled, Lease, Pool, QUERIES, SECOND, Watchdog, assert_clean, quiesce, start,
};
use tokio::runtime::Builder;

#[test]
fn pool_and_leases_can_go_to_any_thread() {
    const fn is_send<T: Send>() {}
    const fn is_sync<T: Sync>() {}
    const fn is_static<T: 'static>() {}
    is_send::<Pool>();
    is_sync::<Pool>();
    is_static::<Pool>();
    is_send::<Lease>();
    is_sync::<Lease>();
    is_static::<Lease>();
    is_send::<Acquire<'static, FakeConnection>>();
    // Even if the connections cannot be shared between threads.
    is_send::<ConnectionPool<RefCell<u8>>>();
    is_sync::<ConnectionPool<RefCell<u8>>>();
    is_send::<PooledConnection<RefCell<u8>>>();
}

#[tokio::test(start_paused = true)]
async fn dropped_lease_is_idle_before_drop_returns() {
    let bed = Bed::new(2);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    drop(lease);
    let lease = bed
        .pool
        .try_acquire()
        .expect("it is idle as soon as the drop returns");
    assert_eq!(PooledConnection::id(&lease), id);
    drop(lease);
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn lease_can_be_dropped_on_a_plain_thread() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    thread::spawn(move || drop(lease))
        .join()
        .expect("the task does not panic");
    let lease = waiter.ready().expect("it was handed over");
    thread::spawn(move || PooledConnection::discard(lease))
        .join()
        .expect("the task does not panic");
    drop(waiter);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Discarded]);
    bed.finish().await;
}

/// In each condition of its connection.
#[test]
fn lease_can_be_dropped_after_the_runtime_has_gone() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let runtime = runtime.expect("a runtime can be built");
    let (mut leases, bed) = runtime.block_on(async {
        let bed = Bed::new(5);
        (bed.leases(5).await, bed)
    });
    drop(runtime);
    drop(leases.pop());
    PooledConnection::discard(leases.pop().expect("five were leased"));
    drop(PooledConnection::detach(
        leases.pop().expect("five were leased"),
    ));
    let lease = leases.pop().expect("five were leased");
    lease.mark_needs_reset();
    drop(lease);
    bed.fake.panic_on_drop(PooledConnection::id(&leases[0]));
    drop(leases);
    assert_eq!(bed.pool.status().size(), 0);
    assert_eq!(
        (bed.fake.counts().alive, bed.fake.counts().dropped_unclosed),
        (0, 5)
    );
    bed.ledger.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn lease_is_returned_by_a_panic_of_its_holder() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let holder = start(async move {
        let _lease = lease;
        panic!("the holder panics");
    });
    let ended: Result<(), _> = holder.await;
    assert!(ended.expect_err("it panicked").is_panic());
    assert_eq!(bed.pool.status().idle, 1);
    drop(bed.lease().await);
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

/// The second panic does not abort the process.
#[tokio::test(start_paused = true)]
async fn connector_that_panics_while_the_holder_unwinds_only_loses_the_connection() {
    for query in QUERIES {
        let bed = Bed::new(1);
        let lease = bed.lease().await;
        bed.fake.queue_query(query, [QueryAnswer::Panic]);
        let unwinding = catch_unwind(AssertUnwindSafe(|| {
            let _lease = lease;
            panic!("the holder panics");
        }));
        let ended: Result<(), _> = unwinding;
        ended.expect_err("it panicked");
        drop(bed.lease().await);
        assert_eq!(
            bed.reasons(),
            [CloseReason::Dirty],
            "after a panic of {query}"
        );
        bed.finish().await;
    }
}

/// The thread holds the lease in a thread-local, and has woken a waiter before. The lease serves the next
/// waiter while the thread's storage is being destroyed.
#[tokio::test(start_paused = true)]
async fn lease_can_be_dropped_by_the_end_of_its_thread() {
    thread_local! {
        static KEPT: RefCell<Option<Lease>> = const { RefCell::new(None) };
    }
    let bed = Bed::new(2);
    let (kept, other) = (bed.lease().await, bed.lease().await);
    let mut first = HandPolled::waiting(bed.pool.acquire());
    let mut second = HandPolled::waiting(bed.pool.acquire());
    let keeper = thread::spawn(move || {
        KEPT.with(|place| *place.borrow_mut() = Some(kept));
        // Order: this wakes the first waiter, so whatever the pool keeps for this thread is made after
        // `KEPT` and destroyed before it.
        drop(other);
    });
    keeper.join().expect("the task does not panic");
    drop(first.ready().expect("it was served by the return"));
    drop(
        second
            .ready()
            .expect("it was served by the end of the thread"),
    );
    assert_eq!((first.wakes(), second.wakes()), (1, 1));
    drop((first, second));
    bed.finish().await;
}

#[test]
fn last_handle_and_leases_can_be_dropped_on_a_plain_thread() {
    let _watchdog = Watchdog::start();
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    let (bed, lease) = runtime.block_on(async {
        let bed = Bed::new(2);
        let lease = bed.lease().await;
        bed.idle(1).await;
        (bed, lease)
    });
    let (fake, ledger) = (bed.fake.clone(), bed.ledger.clone());
    drop(bed);
    drop(lease);
    runtime.block_on(async {
        let ended = ledger.until(|counts| counts.is_closed);
        tokio::time::timeout(10 * SECOND, ended)
            .await
            .expect("the pool ends");
        assert_clean(&ledger, &fake, 2, 0).await;
    });
}
