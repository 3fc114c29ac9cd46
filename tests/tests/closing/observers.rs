//! Observers that block do not hold up a close beyond its deadline.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use pool_core::{ConnectionPool, Event, EventKind, Observer, PooledConnection, connector_fn};
use pool_tests::bed::{MINUTE, SECOND, Watchdog};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// Blocks each thread that tells it of a close until it is allowed to go on.
struct Blocking {
    begun: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
    blocks: fn(&EventKind) -> bool,
}

impl Observer for Blocking {
    fn on_event(&self, event: &Event) {
        if (self.blocks)(&event.kind) {
            let begun = self.begun.lock().expect("nothing panics with it");
            begun.send(()).expect("the test listens");
            let go_on = self.go_on.lock().expect("nothing panics with it");
            go_on.recv().expect("the test allows it");
        }
    }
}

fn blocking(blocks: fn(&EventKind) -> bool) -> (Arc<Blocking>, Receiver<()>, Sender<()>) {
    let (begun_sender, begun) = channel();
    let (go_on, go_on_receiver) = channel();
    let observer = Arc::new(Blocking {
        begun: Mutex::new(begun_sender),
        go_on: Mutex::new(go_on_receiver),
        blocks,
    });
    (observer, begun, go_on)
}

#[tokio::test(start_paused = true)]
async fn close_ends_at_its_deadline_although_an_observer_blocks_another_thread() {
    let _watchdog = Watchdog::start();
    let (observer, begun, go_on) = blocking(|kind| matches!(kind, EventKind::Discarded { .. }));
    let pool = ConnectionPool::builder(connector_fn(async |_| Ok(())))
        .observer(observer)
        .build()
        .expect("the settings are valid");
    let lease = pool.acquire().await.expect("it can be opened");
    let holder = thread::spawn(move || PooledConnection::discard(lease));
    begun.recv().expect("the observer was told");

    let since = Instant::now();
    let report = pool.close(5 * SECOND).await;
    assert_eq!(since.elapsed(), 5 * SECOND);
    assert_eq!((report.closed, report.delivering), (1, 1));
    assert!(!report.is_complete());

    go_on.send(()).expect("the observer waits");
    holder.join().expect("the holder does not panic");
    let report = pool.close(5 * SECOND).await;
    assert_eq!(since.elapsed(), 5 * SECOND, "at once");
    assert_eq!((report.closed, report.delivering), (1, 0));
    assert!(report.is_complete());
}

/// The deadline does not depend on the pool's own task, which the observer may block.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_ends_at_its_deadline_although_an_observer_blocks_the_pool() {
    let _watchdog = Watchdog::start();
    let (observer, begun, go_on) = blocking(|kind| matches!(kind, EventKind::Opening { .. }));
    let pool = ConnectionPool::builder(connector_fn(async |_| Ok(())))
        .min_idle(1)
        .observer(observer)
        .build()
        .expect("the settings are valid");
    begun.recv().expect("the observer was told");
    let report = pool.close(SECOND / 20).await;
    assert_eq!((report.closing, report.delivering), (1, 1));
    go_on.send(()).expect("the observer waits");
    assert!(pool.close(MINUTE).await.is_complete());
}

/// Nor on all workers of its runtime, if the close is awaited elsewhere.
#[test]
fn close_ends_at_its_deadline_although_all_workers_are_blocked() {
    let _watchdog = Watchdog::start();
    let one_thread = Builder::new_current_thread().enable_all().build();
    let driver = Arc::new(one_thread.expect("a runtime can be built"));
    let workers = [1, 2].map(|count| {
        let mut workers = Builder::new_multi_thread();
        let workers = workers.worker_threads(count).enable_all().build();
        Arc::new(workers.expect("a runtime can be built"))
    });
    for runtime in [driver].into_iter().chain(workers) {
        keep_deadline_beside_blocked_workers(&runtime);
    }
}

fn keep_deadline_beside_blocked_workers(runtime: &Arc<Runtime>) {
    let (observer, begun, go_on) = blocking(|kind| matches!(kind, EventKind::Opening { .. }));
    let pool = ConnectionPool::builder(connector_fn(async |_| Ok(())))
        .min_idle(1)
        .observer(observer)
        .runtime(runtime.handle().clone())
        .build()
        .expect("the settings are valid");
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let driver = thread::spawn({
        let runtime = Arc::clone(runtime);
        move || runtime.block_on(ended)
    });
    begun.recv().expect("the observer was told");
    // The observer blocks one of them.
    let others: Vec<_> = (1..runtime.metrics().num_workers())
        .map(|_| block_worker(runtime))
        .collect();
    let elsewhere = Builder::new_current_thread().build();
    let elsewhere = elsewhere.expect("a runtime can be built");
    let since = Instant::now();
    let report = elsewhere.block_on(pool.close(SECOND / 20));
    assert!(since.elapsed() >= SECOND / 20);
    assert_eq!((report.closing, report.delivering), (1, 1));
    drop(others);
    go_on.send(()).expect("the observer waits");
    assert!(elsewhere.block_on(pool.close(MINUTE)).is_complete());
    end.send(()).expect("the driver runs");
    let driven = driver.join().expect("the driver does not panic");
    driven.expect("the end was told");
}

/// Blocks a worker until what this returns is dropped.
fn block_worker(runtime: &Runtime) -> Sender<()> {
    let ((begin, begun), (end, ended)) = (channel(), channel::<()>());
    runtime.spawn(async move {
        begin.send(()).expect("the test waits for it");
        ended.recv().expect_err("nothing is ever sent");
    });
    begun.recv().expect("a worker is free");
    end
}
