//! The close of a keyed pool while another thread makes the pool of a key.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pool_core::{
    AcquireError, CloseReport, ConnectionPool, Event, EventKind, KeyedAcquireError, KeyedPool,
    KeyedSharedPool, Observer, SharedPool, connector_fn,
};
use pool_tests::bed::{HandPolled, MINUTE, SECOND, Watchdog, quiesce};
use tokio::sync::mpsc as unbounded;

/// A gate in the function that makes pools.
#[derive(Clone)]
struct Gate {
    entered: mpsc::Sender<()>,
    opened: Arc<Mutex<mpsc::Receiver<()>>>,
    /// Connections that exist.
    alive: Arc<AtomicUsize>,
}

/// The test's end of it.
struct GateKeeper {
    entered: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
    alive: Arc<AtomicUsize>,
}

fn gate() -> (Gate, GateKeeper) {
    let (entered, has_entered) = mpsc::channel();
    let (open, opened) = mpsc::channel();
    let alive = Arc::<AtomicUsize>::default();
    let gate = Gate {
        entered,
        opened: Arc::new(Mutex::new(opened)),
        alive: Arc::clone(&alive),
    };
    let keeper = GateKeeper {
        entered: has_entered,
        open,
        alive,
    };
    (gate, keeper)
}

impl Gate {
    fn pass(&self) {
        self.entered.send(()).expect("the test waits");
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.recv().expect("the test opens it");
    }
}

/// A connection that is counted.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn exclusive(gate: &Gate) -> KeyedPool<u32, Counted> {
    let gate = gate.clone();
    let pools = KeyedPool::builder(move |_key: &u32| {
        gate.pass();
        let alive = Arc::clone(&gate.alive);
        let connector = connector_fn(move |_| std::future::ready(Ok(Counted::new(&alive))));
        ConnectionPool::builder(connector).min_idle(1)
    });
    pools.build().expect("the settings are valid")
}

fn shared(gate: &Gate) -> KeyedSharedPool<u32, Counted> {
    let gate = gate.clone();
    let pools = KeyedSharedPool::builder(move |_key: &u32| {
        gate.pass();
        let alive = Arc::clone(&gate.alive);
        let connector = connector_fn(move |_| std::future::ready(Ok(Counted::new(&alive))));
        SharedPool::builder(connector).min_idle(1)
    });
    pools.build().expect("the settings are valid")
}

type Entered = Result<(), KeyedAcquireError>;

/// Waits until `maker` makes a pool, and expects that `close` waits for it.
async fn close_waits(
    keeper: GateKeeper,
    maker: JoinHandle<Entered>,
    close: impl Future<Output = CloseReport>,
) {
    keeper.entered.recv().expect("a pool is being made");
    let close = HandPolled::waiting(close);
    assert_eq!(close.wakes(), 0, "nothing has happened");
    keeper.open.send(()).expect("the gate is there");
    let entered = maker.join().expect("no panic");
    assert!(
        matches!(entered, Err(KeyedAcquireError::Closed { .. })),
        "{entered:?}"
    );
    assert!(close.wakes() > 0, "it is told");
    let report = close.finish().await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(keeper.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_a_pool_that_another_thread_is_making() {
    let _watchdog = Watchdog::start();
    let (gate, keeper) = gate();
    let pools = exclusive(&gate);
    let making = pools.clone();
    let maker = thread::spawn(move || making.handle(&7).map(drop));
    close_waits(keeper, maker, pools.close(MINUTE)).await;
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_a_shared_pool_that_another_thread_is_making() {
    let _watchdog = Watchdog::start();
    let (gate, keeper) = gate();
    let pools = shared(&gate);
    let making = pools.clone();
    let maker = thread::spawn(move || making.handle(&7).map(drop));
    close_waits(keeper, maker, pools.close(MINUTE)).await;
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_a_pool_beyond_its_deadline_and_says_so() {
    let _watchdog = Watchdog::start();
    let (gate, keeper) = gate();
    let pools = exclusive(&gate);
    let making = pools.clone();
    let maker = thread::spawn(move || making.handle(&7).map(drop));
    keeper.entered.recv().expect("a pool is being made");
    let report = pools.close(SECOND).await;
    assert_eq!((report.building, report.is_complete()), (1, false));
    keeper.open.send(()).expect("the gate is there");
    drop(maker.join().expect("no panic"));
    let report = pools.close(SECOND).await;
    assert!(report.is_complete(), "{report:?}");
}

/// One that is not made after all.
#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_a_pool_whose_making_has_panicked() {
    let _watchdog = Watchdog::start();
    let (gate, keeper) = gate();
    let pools = exclusive(&gate);
    let making = pools.clone();
    let maker = thread::spawn(move || making.handle(&7).map(drop));
    keeper.entered.recv().expect("a pool is being made");
    let mut close = HandPolled::waiting(pools.close(MINUTE));
    // The gate panics if nobody can open it.
    drop(keeper.open);
    assert!(maker.join().is_err());
    assert!(close.ready().is_complete());
}

/// Dropped while it waits for the pool that another thread makes.
#[tokio::test(start_paused = true)]
async fn close_that_is_cancelled_while_a_pool_is_made_leaves_nothing_behind() {
    let _watchdog = Watchdog::start();
    let (gate, keeper) = gate();
    let pools = exclusive(&gate);
    let mut leases = Vec::new();
    for key in [1, 2] {
        keeper.open.send(()).expect("the gate is there");
        leases.push(pools.acquire(&key).await.expect("it opens"));
        keeper.entered.recv().expect("its pool was made");
    }
    let handle = pools.handle(&1).expect("it has a pool");
    let making = pools.clone();
    let maker = thread::spawn(move || making.handle(&7).map(drop));
    keeper.entered.recv().expect("a pool is being made");
    let close = HandPolled::waiting(pools.close(MINUTE));
    drop(leases.pop());
    quiesce().await;
    assert_eq!(close.wakes(), 0, "it does not wait for leases yet");
    drop(close);
    let refused = pools.acquire(&1).await;
    assert!(
        matches!(refused, Err(KeyedAcquireError::Closed { .. })),
        "the close goes on: {refused:?}"
    );
    let refused = handle.acquire().await;
    assert!(
        matches!(refused, Err(AcquireError::Closed { .. })),
        "also by a handle: {refused:?}"
    );
    let report = pools.close(Duration::ZERO).await;
    assert_eq!((report.building, report.still_leased), (1, 1), "{report:?}");
    keeper.open.send(()).expect("the gate is there");
    let entered = maker.join().expect("no panic");
    assert!(
        matches!(entered, Err(KeyedAcquireError::Closed { .. })),
        "{entered:?}"
    );
    drop(leases);
    let report = pools.close(MINUTE).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(keeper.alive.load(Ordering::SeqCst), 0);
}

/// An observer that takes its time over the last event of a connection.
struct Slow {
    entered: unbounded::UnboundedSender<()>,
    opened: Mutex<mpsc::Receiver<()>>,
}

impl Observer for Slow {
    fn on_event(&self, event: &Event) {
        if matches!(event.kind, EventKind::Closed { .. }) {
            self.entered.send(()).expect("the test waits");
            let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.recv().expect("the test opens it");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_is_not_complete_while_an_event_is_delivered() {
    let _watchdog = Watchdog::start();
    let (entered, mut has_entered) = unbounded::unbounded_channel();
    let (open, opened) = mpsc::channel();
    let slow = Arc::new(Slow {
        entered,
        opened: Mutex::new(opened),
    });
    let pools = KeyedPool::builder(move |_key: &u32| {
        let observer: Arc<dyn Observer> = slow.clone();
        ConnectionPool::builder(connector_fn(async |_| Ok(()))).observer(observer)
    });
    let pools = pools.build().expect("the settings are valid");
    drop(pools.acquire(&1).await.expect("it opens"));
    pools.close(Duration::ZERO).await;
    has_entered.recv().await.expect("it is closed");
    let report = pools.close(Duration::from_millis(1)).await;
    assert_eq!((report.delivering, report.is_complete()), (1, false));
    open.send(()).expect("the observer waits");
    let report = pools.close(MINUTE).await;
    assert_eq!((report.closed, report.is_complete()), (1, true));
}
