//! The queue: first come, first served, and what happens to a place that a caller gives up.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use pool_core::{Acquire, EventKind, PooledConnection};
use pool_testkit::connector::FakeConnection;
use pool_tests::bed::{Bed, HandPolled, SECOND, TICK, pass, quiesce};

use crate::cloned_wakers;

/// Invariant 4.
#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_they_came() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut waiters: Vec<_> = (0..50)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    drop(lease);
    for place in 0..waiters.len() {
        let woken: Vec<_> = waiters.iter().map(HandPolled::wakes).collect();
        let expected: Vec<_> = (0..waiters.len())
            .map(|other| usize::from(other <= place))
            .collect();
        assert_eq!(woken, expected, "only those up to {place} are woken");
        drop(waiters[place].ready().expect("it was served"));
    }
    drop(waiters);
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

/// Two connections are returned before any waiter is polled. Two waiters are woken, and each gets one.
#[tokio::test(start_paused = true)]
async fn two_returns_wake_two_waiters() {
    let bed = Bed::new(2);
    let leases = bed.leases(2).await;
    let mut waiters: Vec<_> = (0..3)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    drop(leases);
    let woken: Vec<_> = waiters.iter().map(HandPolled::wakes).collect();
    assert_eq!(woken, [1, 1, 0]);
    let first = waiters[0].ready().expect("it was served");
    let second = waiters[1].ready().expect("it was served");
    drop((first, second));
    drop(waiters[2].ready().expect("it was served next"));
    drop(waiters);
    bed.finish().await;
}

/// A caller that comes later does not overtake, even after a return has served the waiter and before
/// the waiter is polled.
#[tokio::test(start_paused = true)]
async fn nobody_overtakes_a_waiter_that_was_served_but_not_polled() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    assert!(bed.pool.try_acquire().is_err(), "it is lent already");
    let mut late = HandPolled::waiting(bed.pool.acquire());
    drop(waiter.ready().expect("it was served"));
    drop(late.ready().expect("it was served next"));
    drop((waiter, late));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn cancelled_after_service_hands_the_connection_to_the_next() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    let first = HandPolled::waiting(bed.pool.acquire());
    let second = HandPolled::waiting(bed.pool.acquire());
    let mut third = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    assert_eq!((first.wakes(), second.wakes(), third.wakes()), (1, 0, 0));
    drop(first);
    assert_eq!((second.wakes(), third.wakes()), (1, 0));
    drop(second);
    assert_eq!(third.wakes(), 1);
    let lease = third.ready().expect("it was handed on");
    assert_eq!(PooledConnection::id(&lease), id);
    drop((lease, third));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn cancelled_acquire_gives_its_place_to_the_next() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut first = HandPolled::waiting(bed.pool.acquire());
    let second = HandPolled::waiting(bed.pool.acquire());
    let mut third = HandPolled::waiting(bed.pool.acquire());
    drop(second);
    assert_eq!(bed.pool.status().waiting, 2);
    drop(lease);
    drop(first.ready().expect("it was first"));
    drop(third.ready().expect("it moved up"));
    drop((first, third));
    let cancelled = |kind: &EventKind| matches!(kind, EventKind::Cancelled { .. });
    assert_eq!(bed.ledger.count_events(cancelled), 1);
    bed.finish().await;
}

/// An acquire joins the queue at its first poll.
#[tokio::test(start_paused = true)]
async fn acquire_that_is_never_polled_leaves_no_trace() {
    let bed = Bed::new(1);
    drop(bed.pool.acquire());
    quiesce().await;
    assert_eq!(bed.pool.status().waiting, 0);
    assert!(bed.ledger.events().is_empty());
    bed.finish().await;
}

/// Callers that gave up leave nothing in the count of waiters.
#[tokio::test(start_paused = true)]
async fn waiting_is_zero_again_after_timeouts_and_cancellations() {
    let bed = Bed::with(1, |builder| builder.acquire_timeout(SECOND));
    let lease = bed.lease().await;
    let mut late: Vec<_> = (0..5)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    let given_up: Vec<_> = (0..5)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    assert_eq!(bed.pool.status().waiting, 10);
    drop(given_up);
    pass(SECOND).await;
    for waiter in &mut late {
        waiter.ready().expect_err("its time is up");
    }
    drop(late);
    assert_eq!(bed.pool.status().waiting, 0);
    drop(lease);
    assert_eq!(bed.pool.status().idle, 1);
    bed.finish().await;
}

/// A waiter that was served in time gets its connection, however late it is polled.
#[tokio::test(start_paused = true)]
async fn served_waiter_gets_its_connection_after_its_deadline() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire_within(SECOND));
    pass(SECOND / 2).await;
    drop(lease);
    pass(SECOND).await;
    drop(waiter.ready().expect("it was served in time"));
    drop(waiter);
    bed.finish().await;
}

/// The pool must neither spin nor lose the wake.
#[tokio::test(start_paused = true)]
async fn waker_whose_clones_are_other_wakers_is_woken_once() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let log = Arc::default();
    let waker = cloned_wakers::waker(&log);
    assert!(!waker.will_wake(&waker.clone()), "a clone is another waker");
    let mut acquire = Box::pin(bed.pool.acquire());
    for _ in 0..3 {
        let poll = acquire.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    assert_eq!(log.wakes(), 0);
    drop(lease);
    assert_eq!(log.wakes(), 1, "woken once, through the latest clone");
    let poll = acquire.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_ready());
    drop((poll, acquire, waker));
    assert_eq!(log.alive(), 0, "no waker is kept");
    bed.finish().await;
}

/// Each waiter's waker drops the future that it should wake, which hands the connection to the next
/// waiter. If the pool did this by recursion, it would need ten thousand stack frames.
#[tokio::test(start_paused = true)]
async fn ten_thousand_wakes_that_drop_their_future_do_not_overflow_the_stack() {
    const WAITERS: usize = 10_000;
    type Place = Arc<Mutex<Option<Acquire<'static, FakeConnection>>>>;

    /// Drops the future that it should wake.
    struct Abandon(Place);
    impl Wake for Abandon {
        fn wake(self: Arc<Self>) {
            let future = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(future);
        }
    }

    let bed = Bed::new(1);
    let lease = bed.lease().await;
    // The wakers own the futures, so the pool that the futures borrow must live for ever.
    let pool: &'static _ = Box::leak(Box::new(bed.pool.clone()));
    let mut places = Vec::new();
    for _ in 0..WAITERS {
        let place = Place::default();
        let waker = Waker::from(Arc::new(Abandon(Arc::clone(&place))));
        let mut acquire = pool.acquire();
        let mut cx = Context::from_waker(&waker);
        let poll = tokio::task::coop::unconstrained(&mut acquire);
        assert!(std::pin::pin!(poll).poll(&mut cx).is_pending());
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(acquire);
        places.push(place);
    }
    drop(lease);
    let left = places.iter().filter(|place| {
        place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    });
    assert_eq!(
        left.count(),
        0,
        "the connection went from each waiter to the next"
    );
    assert_eq!((bed.pool.status().idle, bed.pool.status().waiting), (1, 0));
    pass(TICK).await;
    bed.finish().await;
}

/// A waker that panics affects only its own task.
#[tokio::test(start_paused = true)]
async fn waker_that_panics_harms_neither_the_holder_nor_the_queue() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("this waker was told to panic");
        }
    }
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    let waker = Waker::from(Arc::new(Panics));
    let mut acquire = Box::pin(bed.pool.acquire());
    assert!(
        acquire
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let mut second = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    drop(acquire);
    drop(second.ready().expect("it was handed on"));
    drop(second);
    bed.finish().await;
}
