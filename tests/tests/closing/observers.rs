//! Observers that block do not hold up a close beyond its deadline.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use pool_core::{ConnectionPool, Event, EventKind, Observer, PooledConnection, connector_fn};
use pool_tests::bed::{MINUTE, SECOND, Watchdog};
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
            self.begun.lock().unwrap().send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
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
