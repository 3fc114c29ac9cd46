//! Faults of one thread.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{
    BoxFuture, CloseReason, ConnectContext, ConnectError, ConnectionPool, Connector, EventKind,
    PooledConnection, WarmUpError, async_trait,
};
use pool_testkit::connector::{Answer, QueryAnswer, pair};
use pool_testkit::ledger::Ledger;
use pool_testkit::{Call, Query};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// ---- ramp ----

#[tokio::test(start_paused = true)]
async fn a_cold_pool_needs_n_over_max_connecting_connect_times() {
    let (connector, fake) = pair();
    fake.set(Call::Connect, Answer::After(10 * MS));
    let pool = ConnectionPool::builder(connector)
        .max_size(8)
        .max_connecting(1)
        .build()
        .expect("the settings are valid");
    let began = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.acquire().await.expect("the connector connects") })
        })
        .collect();
    let mut held = Vec::new();
    for task in tasks {
        held.push(task.await.expect("the task does not panic"));
    }
    let took = began.elapsed();
    assert!(
        took <= 100 * MS,
        "8 connects of 10 ms, one at a time, took {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_whose_connects_all_succeed_in_time_succeeds() {
    let (connector, fake) = pair();
    fake.set(Call::Connect, Answer::After(MS));
    let pool = ConnectionPool::builder(connector)
        .max_size(8)
        .max_connecting(1)
        .connect_timeout(20 * MS)
        .build()
        .expect("the settings are valid");
    pool.warm_up(4)
        .await
        .expect("four connects of 1 ms, with 80 ms to do so");
}

// ---- pacer ----

/// How many connects one acquire may cause, at most, in five seconds.
const MANY: u64 = 200;

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dead_when_drawn_counts_as_a_failure_even_with_max_uses_one() {
    let (connector, fake) = pair();
    fake.stop_telling_deaths();
    fake.set_query(Query::IsAlive, QueryAnswer::No);
    fake.set_with(Call::Connect, |site| {
        if site.number < MANY {
            Answer::Ok
        } else {
            Answer::Never
        }
    });
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .max_uses(1)
        .build()
        .expect("the settings are valid");
    let error = pool.acquire_within(5 * SECOND).await.unwrap_err();
    let connects = fake.counts().connect.started;
    assert!(
        connects < 20,
        "{connects} connects in no time for one acquire: {error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lived_for_min_uptime_did_not_die_early() {
    let (connector, fake) = pair();
    fake.stop_telling_deaths();
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .min_uptime(50 * MS)
        .retry_delay(3600 * SECOND, 3600 * SECOND)
        .build()
        .expect("the settings are valid");
    let lease = pool.acquire().await.expect("the connector connects");
    tokio::time::sleep(90 * MS).await;
    lease.die();
    drop(lease);
    let Err(error) = pool.acquire_within(SECOND).await else {
        return;
    };
    let source = |error: &dyn std::error::Error| error.source().map(ToString::to_string);
    let died = error
        .context()
        .last_failure
        .as_ref()
        .and_then(|failure| source(failure));
    panic!("it lived for 90 ms, min_uptime is 50 ms: {error}: {died:?}");
}

#[tokio::test(start_paused = true)]
async fn a_young_connection_that_died_and_is_then_discarded_counts_as_a_failure() {
    let (connector, _fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .build()
        .expect("the settings are valid");
    let began = Instant::now();
    for _ in 0..20 {
        let Ok(lease) = pool.acquire().await else {
            return;
        };
        lease.die();
        for _ in 0..4 {
            tokio::task::yield_now().await; // the pool hears of it
        }
        PooledConnection::discard(lease);
    }
    let took = began.elapsed();
    assert!(took > 100 * MS, "a crash loop of 20 connects took {took:?}");
}

// ---- foreign code ----

struct DiedPanics {
    closes: Arc<AtomicUsize>,
}

#[async_trait]
impl Connector for DiedPanics {
    type Connection = ();
    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }
    fn died(&self, (): &()) -> Option<BoxFuture<'static, ()>> {
        panic!("died")
    }
    async fn close(&self, (): (), _reason: CloseReason) {
        self.closes.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_died_panicked_is_closed() {
    let closes = Arc::new(AtomicUsize::new(0));
    let connector = DiedPanics {
        closes: Arc::clone(&closes),
    };
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .fail_fast_after(1)
        .build()
        .expect("the settings are valid");
    drop(pool.acquire_within(SECOND).await);
    pool.close(SECOND).await;
    assert!(
        closes.load(Ordering::Relaxed) > 0,
        "opened, not detached, and never closed"
    );
}

/// A payload whose own drop panics, once.
struct Nasty;
impl Drop for Nasty {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload's drop");
        }
    }
}

struct AliveThrows;

#[async_trait]
impl Connector for AliveThrows {
    type Connection = ();
    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }
    fn is_clean(&self, (): &()) -> bool {
        std::panic::panic_any(Nasty)
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_lease_never_panics_whatever_the_connector_throws() {
    let pool = ConnectionPool::builder(AliveThrows)
        .max_size(1)
        .build()
        .expect("the settings are valid");
    let lease = pool.acquire().await.expect("the connector connects");
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(lease)));
    assert!(dropped.is_ok(), "the drop of a lease panicked");
}

// ---- warm-up ----

#[tokio::test(start_paused = true)]
async fn a_warm_up_says_that_a_connect_hung() {
    let (connector, fake) = pair();
    fake.set(Call::Connect, Answer::Never);
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .build()
        .expect("the settings are valid");
    let mut warm_up = pin!(pool.warm_up(1));
    assert!(poll_once(warm_up.as_mut()).is_pending());
    // As on a real clock: the connect starts a moment later.
    let mut moment = pin!(tokio::time::advance(MS));
    assert!(poll_once(moment.as_mut()).is_pending());
    let error = warm_up.await.unwrap_err();
    assert!(matches!(error, WarmUpError::Connect { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_during_the_delay_after_failures_carries_the_failure() {
    let (connector, fake) = pair();
    fake.set(Call::Connect, Answer::Transient);
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .connect_timeout(MS)
        .retry_delay(3600 * SECOND, 3600 * SECOND)
        .build()
        .expect("the settings are valid");
    drop(pool.acquire_within(SECOND).await);
    let error = pool.warm_up(1).await.unwrap_err();
    assert!(
        std::error::Error::source(&error).is_some(),
        "says nothing of the failure, and its docs blame slow closes: {error}"
    );
}

// ---- queue ----

#[tokio::test(start_paused = true)]
async fn a_closed_pool_does_not_say_that_it_waits_for_a_connection() {
    let (connector, _fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .build()
        .expect("the settings are valid");
    pool.close(SECOND).await;
    let text = pool.acquire().await.unwrap_err().to_string();
    assert!(
        !text.contains("waiting for a connection to come back"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn no_acquire_succeeds_after_close_began() {
    let (connector, _fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .build()
        .expect("the settings are valid");
    let lease = pool.acquire().await.expect("the connector connects");
    let mut acquire = pin!(pool.acquire());
    assert!(poll_once(acquire.as_mut()).is_pending());
    drop(lease); // hands over
    let mut close = pin!(pool.close(SECOND));
    assert!(poll_once(close.as_mut()).is_pending());
    let result = acquire.await;
    assert!(
        result.is_err(),
        "invariant 11: an acquire succeeded after the close began"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_served_to_a_future_that_nobody_polls_is_reported_as_overdue() {
    let (connector, _fake) = pair();
    let ledger = Ledger::new(1);
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .lease_warn_after(SECOND)
        .observer(Arc::new(ledger.clone()))
        .build()
        .expect("the settings are valid");
    let lease = pool.acquire().await.expect("the connector connects");
    let mut acquire = Box::pin(pool.acquire());
    assert!(poll_once(acquire.as_mut()).is_pending());
    drop(lease);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(pool.status().leased, 1);
    let warned = ledger.count_events(|kind| matches!(kind, EventKind::LeaseOverdue { .. }));
    drop(acquire);
    assert_eq!(warned, 1, "out for a minute, without a word");
}

// ---- runtimes ----

fn current_thread(paused: bool) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(paused)
        .build()
        .expect("the settings are valid")
}

#[tokio::test(start_paused = true)]
async fn an_acquire_timeout_is_never_too_short() {
    let (connector, _fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .build()
        .expect("the settings are valid");
    let _lease = pool.acquire().await.expect("the connector connects");
    // The home runtime is busy for eleven seconds: time passes, its tasks do not run.
    let mut busy = pin!(tokio::time::advance(11 * SECOND));
    assert!(poll_once(busy.as_mut()).is_pending());
    let began = Instant::now();
    let error = pool.acquire_within(10 * SECOND).await.unwrap_err();
    let took = began.elapsed();
    assert!(took >= 9 * SECOND, "after {took:?}: {error}");
}

#[test]
fn events_make_sense_when_the_runtime_goes_during_a_check() {
    let home = current_thread(true);
    let (connector, fake) = pair();
    let ledger = Ledger::new(1);
    let pool = home.block_on(async {
        fake.set(Call::Check, Answer::Never);
        let pool = ConnectionPool::builder(connector)
            .max_size(1)
            .observer(Arc::new(ledger.clone()))
            .check_timeout(3600 * SECOND)
            .build()
            .expect("the settings are valid");
        drop(pool.acquire().await.expect("the connector connects"));
        fake.until(|counts| counts.check.started == 1).await;
        pool
    });
    drop(home);
    drop(pool);
    ledger.assert_settled();
}

// ---- second round ----

struct Throwing;
impl std::task::Wake for Throwing {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any(Nasty)
    }
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);
impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_does_not_silence_the_next_one() {
    let (connector, _fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .build()
        .expect("the settings are valid");
    let lease = pool.acquire().await.expect("the connector connects");
    let mut first = Box::pin(pool.acquire());
    let waker = Waker::from(Arc::new(Throwing));
    assert!(
        first
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(
        || drop(lease),
    )));
    let mut second = Box::pin(pool.acquire());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(
        second
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(first); // gives its connection to the second
    assert!(
        woken.0.load(Ordering::Relaxed),
        "served, but no wake of this thread arrives any more"
    );
}

#[tokio::test(start_paused = true)]
async fn every_failure_is_followed_by_a_delay_and_a_permanent_one_by_an_answer() {
    let (connector, fake) = pair();
    fake.set(Call::Connect, Answer::Manual);
    let pool = ConnectionPool::builder(connector)
        .max_size(2)
        .build()
        .expect("the settings are valid");
    let (one, two) = (pool.clone(), pool.clone());
    let one = tokio::spawn(async move { one.acquire().await.map(drop) });
    let two = tokio::spawn(async move { two.acquire().await.map(drop) });
    let first = fake.next(Call::Connect).await;
    let second = fake.next(Call::Connect).await;
    one.abort(); // one caller is left, and one connect in flight is enough for it
    first.fail_permanently("no such program");
    tokio::time::sleep(10 * SECOND).await;
    assert!(fake.try_next(Call::Connect).is_none());
    second.fail_permanently("no such program");
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    let is_delayed = fake.try_next(Call::Connect).is_none();
    assert!(
        two.is_finished() && is_delayed,
        "not answered; next connect delayed: {is_delayed}"
    );
}

struct DropPanics;
impl Drop for DropPanics {
    fn drop(&mut self) {
        panic!("the connector's drop");
    }
}

#[async_trait]
impl Connector for DropPanics {
    type Connection = ();
    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }
}

#[test]
fn the_last_lease_does_not_panic_when_the_connector_does() {
    let home = current_thread(true);
    let (pool, lease) = home.block_on(async {
        let pool = ConnectionPool::builder(DropPanics)
            .build()
            .expect("the settings are valid");
        let lease = pool.acquire().await.expect("the connector connects");
        (pool, lease)
    });
    drop(home);
    drop(pool);
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(lease)));
    assert!(dropped.is_ok(), "the drop of the last lease panicked");
}

struct Logger;
impl tracing::Subscriber for Logger {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "pool_core" && *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        panic!("the disk is full");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_does_not_close_the_pool() {
    let _default = tracing::subscriber::set_default(Logger);
    let (connector, _fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .lease_warn_after(SECOND)
        .build()
        .expect("the settings are valid");
    let lease = pool.acquire().await.expect("the connector connects");
    tokio::time::sleep(10 * SECOND).await; // the maintenance task warns
    assert!(!pool.status().is_closed, "the pool is closed");
    drop(lease);
}
