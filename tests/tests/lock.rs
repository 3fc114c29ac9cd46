//! No foreign code runs while the pool's lock is held.
//!
//! In a process of its own: whether an event is wanted is remembered for the whole process, so a
//! pool on a thread without a subscriber could keep the subscriber here from being asked.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use pool_core::{Acquire, ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
use pool_tests::bed::{HandPolled, SECOND, TICK, Watchdog, pass};
use tokio::time::Instant;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber, span};

/// Looks whether the lock of a pool is held while foreign code runs on this thread.
#[derive(Debug, Clone, Default)]
struct Probe {
    /// Set once there is a pool.
    pool: Arc<OnceLock<ConnectionPool<()>>>,
    found_held: Arc<AtomicBool>,
}

impl Probe {
    fn look(&self) {
        if let Some(pool) = self.pool.get()
            && !self.found_held.load(Ordering::Relaxed)
            && is_locked(pool)
        {
            self.found_held.store(true, Ordering::Relaxed);
        }
    }

    #[track_caller]
    fn assert_never_held(&self) {
        assert!(!self.found_held.load(Ordering::Relaxed));
    }
}

/// Whether another thread has to wait for the pool: it has, while this thread holds the lock.
fn is_locked(pool: &ConnectionPool<()>) -> bool {
    let (pool, (done, ended)) = (pool.clone(), mpsc::channel());
    drop(thread::spawn(move || {
        assert!(!pool.status().is_closed);
        // Nobody listens any more if this thread waited for too long.
        let (Ok(()) | Err(_)) = done.send(());
    }));
    ended.recv_timeout(2 * SECOND).is_err()
}

/// An error that looks when it is dropped.
#[derive(Debug)]
struct Failure(Probe);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told to fail")
    }
}

impl Error for Failure {}

impl Drop for Failure {
    fn drop(&mut self) {
        self.0.look();
    }
}

/// Connects, or fails with such an error.
struct Connects {
    failure: Option<Probe>,
}

#[async_trait]
impl Connector for Connects {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        match &self.failure {
            Some(probe) => Err(ConnectError::transient(Failure(probe.clone()))),
            None => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_connector_are_not_dropped_under_the_lock() {
    let _watchdog = Watchdog::start();
    let probe = Probe::default();
    let failure = Some(probe.clone());
    let builder = ConnectionPool::builder(Connects { failure });
    let pool = builder.fail_fast_after(2).build();
    let pool = pool.expect("the settings are valid");
    probe.pool.set(pool.clone()).expect("it is set once");
    // Two failures: the second replaces the first as the last one.
    pool.acquire().await.expect_err("it cannot connect");
    probe.assert_never_held();
}

/// A subscriber that does this when it is asked whether it wants an event of the pool.
struct Asked<F>(F);

impl<F: Fn() + Send + Sync + 'static> Subscriber for Asked<F> {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.target() == "pool_core" {
            self.0();
        }
        false
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn subscriber_is_not_asked_under_the_lock() {
    let _watchdog = Watchdog::start();
    let probe = Probe::default();
    let asked = probe.clone();
    let _guard = tracing::subscriber::set_default(Asked(move || asked.look()));
    let builder = ConnectionPool::builder(Connects { failure: None });
    let pool = builder.max_size(1).build();
    let pool = pool.expect("the settings are valid");
    probe.pool.set(pool.clone()).expect("it is set once");
    drop(pool.acquire().await.expect("it connects"));
    probe.assert_never_held();
}

/// The pool asks it at the beginning of a sweep. That sweep makes the deadline of a caller that comes meanwhile.
#[tokio::test(start_paused = true)]
async fn caller_that_comes_while_the_subscriber_is_asked_does_not_time_out_early() {
    type Waiting = (Instant, HandPolled<Acquire<'static, ()>>);

    let _watchdog = Watchdog::start();
    let builder = ConnectionPool::builder(Connects { failure: None });
    let pool = builder.max_size(1).build();
    let pool: &'static _ = Box::leak(Box::new(pool.expect("the settings are valid")));
    let lease = pool.acquire().await.expect("it connects");
    let waiting = Arc::new(Mutex::new(None::<Waiting>));
    let comes = Arc::clone(&waiting);
    let come = move || {
        let mut waiting = comes.lock().expect("nobody panics");
        if waiting.is_none() {
            // Time passes, and no task runs.
            assert!(
                HandPolled::new(tokio::time::advance(TICK / 2))
                    .poll()
                    .is_pending()
            );
            let acquire = pool.acquire_within(10 * SECOND);
            *waiting = Some((Instant::now(), HandPolled::waiting(acquire)));
        }
    };
    let _guard = tracing::subscriber::set_default(Asked(come));
    pass(TICK).await;
    let (came, mut waiter) = waiting
        .lock()
        .expect("nobody panics")
        .take()
        .expect("it came");
    pass(10 * SECOND - (Instant::now() - came) - Duration::from_millis(2)).await;
    assert!(waiter.poll().is_pending(), "after {:?}", came.elapsed());
    pass(2 * TICK).await;
    assert!(waiter.ready().is_err());
    drop(lease);
}
