//! Faults that need threads, a process of their own, or a subscriber.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};

struct Units;

#[async_trait]
impl Connector for Units {
    type Connection = ();
    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }
}

/// Whether another thread can use the pool: not while this one holds its lock.
fn lock_is_held(pool: &ConnectionPool<()>) -> bool {
    let (pool, (done, ended)) = (pool.clone(), mpsc::channel());
    std::thread::spawn(move || {
        assert!(!pool.status().is_closed);
        done.send(()).ok();
    });
    ended.recv_timeout(Duration::from_secs(2)).is_err()
}

type Site = Arc<OnceLock<ConnectionPool<()>>>;

#[derive(Debug)]
struct Failure {
    pool: Arc<OnceLock<ConnectionPool<()>>>,
    under_lock: Arc<AtomicBool>,
}
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failure")
    }
}
impl std::error::Error for Failure {}
impl Drop for Failure {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.get()
            && lock_is_held(pool)
        {
            self.under_lock.store(true, Ordering::Relaxed);
        }
    }
}

struct Failing {
    pool: Site,
    under_lock: Arc<AtomicBool>,
}

#[async_trait]
impl Connector for Failing {
    type Connection = ();
    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Err(ConnectError::transient(Failure {
            pool: Arc::clone(&self.pool),
            under_lock: Arc::clone(&self.under_lock),
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn the_errors_of_a_connector_are_not_dropped_under_the_lock() {
    let (site, under_lock) = (Site::default(), Arc::new(AtomicBool::new(false)));
    let connector = Failing {
        pool: Arc::clone(&site),
        under_lock: Arc::clone(&under_lock),
    };
    let pool = ConnectionPool::builder(connector)
        .fail_fast_after(2)
        .build()
        .expect("the settings are valid");
    site.set(pool.clone()).expect("it is set once");
    // Two failures: the second replaces the first as the last one.
    drop(pool.acquire().await);
    assert!(
        !under_lock.load(Ordering::Relaxed),
        "an error's Drop ran while the lock was held"
    );
}

struct Shipper {
    pool: Site,
    under_lock: Arc<AtomicBool>,
}
impl tracing::Subscriber for Shipper {
    fn register_callsite(
        &self,
        _: &'static tracing::Metadata<'static>,
    ) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        if metadata.target() == "pool_core"
            && let Some(pool) = self.pool.get()
            && !self.under_lock.load(Ordering::Relaxed)
            && lock_is_held(pool)
        {
            self.under_lock.store(true, Ordering::Relaxed);
        }
        false
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_not_asked_under_the_lock() {
    let (site, under_lock) = (Site::default(), Arc::new(AtomicBool::new(false)));
    let shipper = Shipper {
        pool: Arc::clone(&site),
        under_lock: Arc::clone(&under_lock),
    };
    let _default = tracing::subscriber::set_default(shipper);
    let pool = ConnectionPool::builder(Units)
        .max_size(1)
        .build()
        .expect("the settings are valid");
    site.set(pool.clone()).expect("it is set once");
    drop(pool.acquire().await.expect("the connector connects"));
    assert!(
        !under_lock.load(Ordering::Relaxed),
        "`Subscriber::enabled` ran while the lock was held"
    );
}

mod metering {
    use super::*;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

    fn leases(snapshotter: &Snapshotter) -> u64 {
        let all = snapshotter.snapshot().into_vec();
        let found = all
            .into_iter()
            .find(|(key, ..)| key.key().name() == "pool_leases_total");
        match found.map(|(.., value)| value) {
            Some(DebugValue::Counter(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    async fn lend(times: usize) {
        let pool = ConnectionPool::builder(Units)
            .name("same")
            .max_size(1)
            .build()
            .expect("the settings are valid");
        for _ in 0..times {
            drop(pool.acquire().await.expect("the connector connects"));
        }
        pool.close(Duration::from_secs(1)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    #[test]
    fn leases_of_a_pool_that_was_built_again_are_counted() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            let home = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("the settings are valid");
            home.block_on(lend(10));
            home.block_on(lend(5));
            assert_eq!(leases(&snapshotter), 15);
        });
    }
}

#[test]
fn gauges_do_not_outlive_the_connections() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let home = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("the settings are valid");
        let pool = home.block_on(async {
            let pool = ConnectionPool::builder(Units)
                .max_size(1)
                .build()
                .expect("the settings are valid");
            drop(pool.acquire().await.expect("the connector connects"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            pool
        });
        drop(home);
        assert_eq!(pool.status().size(), 0);
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            if key.key().name() == "pool_connections" {
                assert!(
                    matches!(value, DebugValue::Gauge(gauge) if gauge.0 == 0.0),
                    "{key:?} {value:?}"
                );
            }
        }
    });
}
