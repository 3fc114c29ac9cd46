//! Pools that outlive their runtime, and pools that are built or used outside of it.

use std::time::Duration;

use pool_core::{
    AcquireError, BuildError, ConnectionPool, EventKind, PooledConnection, TryAcquireError,
};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, pair};
use pool_tests::bed::{Bed, HandPolled, Lease, MINUTE, SECOND, Watchdog, assert_clean, quiesce};
use tokio::runtime::{Builder, Runtime};

fn single() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built")
}

fn paused() -> Runtime {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs no descriptors")
}

fn several() -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime can be built")
}

/// A pool with a lease, an idle connection, a connect, a reset and a close in flight.
async fn busy() -> (Bed, Lease) {
    let bed = Bed::new(5);
    let mut leases = bed.leases(4).await;
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.fake.set(Call::Reset, Answer::Manual);
    bed.fake.set(Call::Close, Answer::Manual);
    let waiter = HandPolled::waiting(bed.pool.acquire());
    drop(bed.fake.next(Call::Connect).await);
    drop(waiter);
    leases.pop().expect("four were leased").mark_needs_reset();
    drop(bed.fake.next(Call::Reset).await);
    PooledConnection::discard(leases.pop().expect("four were leased"));
    drop(bed.fake.next(Call::Close).await);
    drop(leases.pop());
    (bed, leases.pop().expect("four were leased"))
}

/// On both kinds of runtime. A connection that is returned later is dropped at once.
#[test]
fn runtime_that_goes_closes_the_pool_and_wakes_its_waiters() {
    for runtime in [single(), several()] {
        let (bed, lease) = runtime.block_on(busy());
        // These callers are not on the runtime that goes.
        let mut leases = vec![lease, bed.pool.try_acquire().expect("one is idle")];
        let mut waiter = HandPolled::waiting(bed.pool.acquire());
        let mut close = HandPolled::new(async { bed.pool.warm_up(5).await });
        assert!(close.poll().is_pending());
        drop(runtime);
        assert_eq!((waiter.wakes(), close.wakes()), (1, 1));
        let error = waiter.ready().expect_err("nobody is left to serve it");
        assert!(matches!(error, AcquireError::Closed { .. }), "{error}");
        close.ready().expect_err("nobody is left to open one");
        let status = bed.pool.status();
        assert_eq!(
            (status.leased, status.size(), status.is_closed),
            (2, 2, true)
        );
        drop(leases.pop());
        assert_eq!(bed.pool.status().size(), 1);
        PooledConnection::discard(leases.pop().expect("two were leased"));
        assert_eq!(bed.pool.status().size(), 0);
        bed.ledger.assert_settled();
        let counts = bed.fake.counts();
        assert_eq!((counts.alive, counts.watchers), (0, 0));
        assert_eq!((counts.connect.running(), counts.close.running()), (0, 0));
        drop((waiter, close));
    }
}

/// Calls are answered without a runtime, and on another runtime.
#[test]
fn pool_without_its_runtime_answers_at_once() {
    let runtime = single();
    let bed = runtime.block_on(async { Bed::new(1) });
    drop(runtime);
    assert!(matches!(
        bed.pool.try_acquire(),
        Err(TryAcquireError::Closed { .. })
    ));
    let error = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect_err("it is closed");
    assert!(matches!(error, AcquireError::Closed { .. }));
    bed.pool.resize(3).expect_err("it is closed");
    assert_eq!(bed.pool.evict_all(), 0);
    HandPolled::new(bed.pool.warm_up(1))
        .ready()
        .expect_err("it is closed");
    assert!(
        HandPolled::new(bed.pool.close(MINUTE))
            .ready()
            .is_complete()
    );
    several().block_on(async {
        bed.pool.acquire().await.expect_err("it is closed");
        assert!(bed.pool.close(MINUTE).await.is_complete());
    });
}

#[test]
fn close_without_the_runtime_does_not_wait_for_leases() {
    let runtime = single();
    let (bed, lease) = runtime.block_on(async {
        let bed = Bed::new(1);
        let lease = bed.lease().await;
        (bed, lease)
    });
    drop(runtime);
    let report = HandPolled::new(bed.pool.close(MINUTE)).ready();
    assert_eq!((report.still_leased, report.is_complete()), (1, false));
    drop(lease);
    assert!(
        HandPolled::new(bed.pool.close(MINUTE))
            .ready()
            .is_complete()
    );
}

#[test]
fn close_that_waits_is_woken_when_the_runtime_goes() {
    let runtime = single();
    let (bed, lease) = runtime.block_on(async {
        let bed = Bed::new(1);
        let lease = bed.lease().await;
        (bed, lease)
    });
    let mut close = HandPolled::waiting(bed.pool.close(MINUTE));
    drop(runtime);
    assert_eq!(close.ready().still_leased, 1);
    drop((lease, close));
}

/// The pool's tasks run on the runtime of its builder, not on the one around `build`.
#[test]
fn pool_lives_on_the_runtime_it_was_given() {
    let _watchdog = Watchdog::start();
    let (home, other) = (several(), single());
    let (connector, fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .runtime(home.handle().clone())
        .build();
    let pool = pool.expect("no runtime is needed around `build`");
    let lease = other
        .block_on(pool.acquire())
        .expect("the home runtime connects");
    drop(other);
    drop(lease);
    assert_eq!(pool.status().idle, 1, "the other runtime does not matter");
    assert!(home.block_on(pool.close(10 * SECOND)).is_complete());
    assert_eq!(fake.counts().alive, 0);
}

#[test]
fn connections_serve_callers_of_several_runtimes() {
    let (home, other) = (several(), several());
    let bed = home.block_on(async { Bed::new(1) });
    for _ in 0..100 {
        drop(other.block_on(bed.lease()));
        drop(home.block_on(bed.lease()));
    }
    assert_eq!(bed.fake.counts().connect.started, 1);
    let (ledger, fake) = (bed.ledger.clone(), bed.fake.clone());
    assert!(other.block_on(bed.pool.close(10 * SECOND)).is_complete());
    home.block_on(async {
        ledger.until(|counts| counts.is_closed).await;
        assert_clean(&ledger, &fake, 1, 0).await;
    });
}

#[test]
fn build_outside_a_runtime_says_so() {
    let (connector, _fake) = pair();
    let error = ConnectionPool::builder(connector)
        .build()
        .expect_err("there is no runtime");
    assert_eq!(error, BuildError::NoRuntime);
}

#[test]
#[should_panic(expected = "enable_time")]
fn build_on_a_runtime_without_a_timer_says_so() {
    let runtime = Builder::new_current_thread()
        .build()
        .expect("a runtime can be built");
    let (connector, _fake) = pair();
    let builder = ConnectionPool::builder(connector).runtime(runtime.handle().clone());
    drop(builder.build());
}

/// Nothing hangs.
#[test]
fn pool_on_a_runtime_that_has_gone_is_closed() {
    let _watchdog = Watchdog::start();
    let runtime = single();
    let handle = runtime.handle().clone();
    drop(runtime);
    let (connector, _fake) = pair();
    let Ok(pool) = ConnectionPool::builder(connector).runtime(handle).build() else {
        return;
    };
    let error = single()
        .block_on(pool.acquire_within(SECOND))
        .expect_err("nobody serves");
    assert!(matches!(error, AcquireError::Closed { .. }), "{error}");
}

/// The runtime shuts down without waiting for the close.
#[test]
fn stuck_close_does_not_keep_the_runtime() {
    let runtime = several();
    let bed = runtime.block_on(async {
        let bed = Bed::with(1, |builder| builder.close_timeout(Duration::from_millis(1)));
        bed.fake.set(Call::Close, Answer::Never);
        PooledConnection::discard(bed.lease().await);
        bed.ledger.until(|counts| counts.stuck == 1).await;
        quiesce().await;
        bed
    });
    drop(runtime);
    assert_eq!(bed.pool.status().size(), 0);
    assert_eq!(
        (bed.fake.counts().alive, bed.fake.counts().close.aborted),
        (0, 1)
    );
    bed.ledger.assert_settled();
}

#[test]
fn runtime_that_goes_during_a_check_leaves_complete_events() {
    let runtime = paused();
    let bed = runtime.block_on(async {
        let bed = Bed::with(1, |builder| builder.check_timeout(60 * MINUTE));
        bed.fake.set(Call::Check, Answer::Never);
        bed.idle(1).await;
        bed.begin_check(30 * SECOND).await;
        bed.fake.until(|counts| counts.check.started == 1).await;
        bed
    });
    drop(runtime);
    bed.ledger.assert_settled();
}

#[test]
fn runtime_that_goes_during_a_reset_leaves_complete_events() {
    let runtime = paused();
    let bed = runtime.block_on(async {
        let bed = Bed::new(1);
        bed.fake.set(Call::Reset, Answer::Never);
        bed.lease().await.mark_needs_reset();
        bed.fake.until(|counts| counts.reset.running() == 1).await;
        bed
    });
    drop(runtime);
    let closing = |kind: &EventKind| matches!(kind, EventKind::Closing { .. });
    assert_eq!(bed.ledger.count_events(closing), 1);
    bed.ledger.assert_settled();
    assert_eq!((bed.fake.alive().len(), bed.pool.status().size()), (0, 0));
}

/// A runtime that is shutting down drops what is spawned. The maintenance task, which still runs on
/// another worker, must not find the slot free again and start the connect again, without end.
#[test]
fn runtime_ends_while_connects_are_wanted() {
    let _watchdog = Watchdog::start();
    for _ in 0..100 {
        let runtime = several();
        let pool = runtime.block_on(async {
            let builder = ConnectionPool::builder(pair().0).max_size(4).min_idle(4);
            // Otherwise what the tasks discard counts as failures, and callers are refused.
            let builder = builder.min_uptime(Duration::ZERO);
            builder.build().expect("the settings are valid")
        });
        for _ in 0..4 {
            let pool = pool.clone();
            drop(runtime.spawn(async move {
                while let Ok(lease) = pool.acquire().await {
                    PooledConnection::discard(lease);
                }
            }));
        }
        drop(runtime.block_on(pool.acquire()).expect("the pool is open"));
        drop(runtime);
    }
}
