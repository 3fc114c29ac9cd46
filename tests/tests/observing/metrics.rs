//! Metrics, seen by a recorder that keeps them.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pool_core::{Budget, ConnectionPool, PooledConnection, SharedLease, SharedPool, TargetLeases};
use pool_testkit::connector::{Answer, FakeConnection, FakeHandle, QueryAnswer, pair};
use pool_testkit::{Call, Query};
use pool_tests::bed::{HandPolled, Lease, Pool, SECOND, TICK, Watchdog, pass, quiesce};
use tokio::runtime::{Builder, Runtime};

/// Everything that was recorded since the last call, by name and labels.
fn read(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> = key
            .key()
            .labels()
            .map(|label| label.value().to_owned())
            .collect();
        let name = format!("{} {}", key.key().name(), labels.join(" "));
        let value = match value {
            DebugValue::Counter(count) => {
                f64::from(u32::try_from(count).expect("it is a small number"))
            }
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => {
                f64::from(u32::try_from(values.len()).expect("it is a small number"))
            }
        };
        all.insert(name, value);
    }
    all
}

fn pool(recorder: &DebuggingRecorder, name: &'static str) -> (Pool, FakeHandle) {
    let (connector, fake) = pair();
    let builder = ConnectionPool::builder(connector).name(name).max_size(2);
    let builder = builder.acquire_timeout(SECOND).max_waiters(1);
    let pool = metrics::with_local_recorder(recorder, || builder.build());
    (pool.expect("the settings are valid"), fake)
}

/// Two pools in a process stay apart.
#[tokio::test(start_paused = true)]
async fn pools_are_told_apart_by_their_label() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let (busy, _) = pool(&recorder, "busy");
    let (lazy, _) = pool(&recorder, "lazy");
    for _ in 0..10 {
        drop(busy.acquire().await.expect("it connects"));
    }
    let lease = busy.acquire().await.expect("it is idle");
    drop(lazy.acquire().await.expect("it connects"));
    pass(3 * TICK).await;
    let all = read(&snapshotter);
    let of = |name: &str| all.get(name).copied();
    assert_eq!(of("pool_leases_total busy"), Some(11.0));
    assert_eq!(of("pool_leases_total lazy"), Some(1.0));
    assert_eq!(of("pool_opened_total busy"), Some(1.0));
    assert_eq!(of("pool_max_size lazy"), Some(2.0));
    assert_eq!(of("pool_connections busy leased"), Some(1.0));
    assert_eq!(of("pool_connections lazy leased"), Some(0.0));
    assert_eq!(of("pool_connections lazy idle"), Some(1.0));
    assert_eq!(of("pool_connect_seconds busy"), Some(1.0));
    drop(lease);
    busy.close(SECOND).await;
    lazy.close(SECOND).await;
}

/// However it ends, with the time it took.
#[tokio::test(start_paused = true)]
async fn every_lease_is_timed() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let (exclusive, _) = pool(&recorder, "exclusive");
    let (connector, _fake) = pair();
    let builder = SharedPool::builder(connector).name("shared");
    let shared = metrics::with_local_recorder(&recorder, || builder.build()).expect("it is valid");
    let ends: [fn(Lease); 3] = [drop, PooledConnection::discard, |lease| {
        drop(PooledConnection::detach(lease));
    }];
    for end in ends {
        let lease = exclusive.acquire().await.expect("it connects");
        pass(SECOND / 4).await;
        end(lease);
    }
    let ends: [fn(SharedLease<FakeConnection>); 2] = [drop, SharedLease::discard];
    for end in ends {
        let lease = shared.acquire().await.expect("it connects");
        pass(SECOND / 4).await;
        end(lease);
    }
    let mut seconds = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if let ("pool_lease_seconds", DebugValue::Histogram(values)) = (key.key().name(), value) {
            seconds.extend(values.into_iter().map(f64::from));
        }
    }
    assert_eq!(seconds.len(), 5);
    assert!(
        seconds.iter().all(|time| (0.25..0.3).contains(time)),
        "{seconds:?}"
    );
    exclusive.close(SECOND).await;
    shared.close(SECOND).await;
}

/// One meaning per counter, each counted once.
#[tokio::test(start_paused = true)]
async fn each_thing_is_counted_once_where_it_belongs() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let (pool, fake) = pool(&recorder, "p");
    fake.queue(Call::Connect, [Answer::Transient]);
    let leases = [
        pool.acquire().await.expect("the second attempt connects"),
        pool.acquire().await.expect("it connects"),
    ];
    let waiter = HandPolled::waiting(pool.acquire());
    pool.acquire().await.expect_err("the queue is full");
    drop(waiter);
    pool.acquire().await.expect_err("all are lent");
    pass(2 * SECOND).await;
    let [first, second] = leases;
    PooledConnection::discard(first);
    drop(PooledConnection::detach(second));
    quiesce().await;
    pool.close(SECOND).await;
    pool.acquire().await.expect_err("it is closed");
    quiesce().await;
    let all = read(&snapshotter);
    let of = |name: &str| all.get(name).copied().unwrap_or(f64::NAN);
    let expected = [
        ("pool_connect_failures_total p", 1.0),
        ("pool_opened_total p", 2.0),
        ("pool_acquire_failures_total p overloaded", 1.0),
        ("pool_acquire_failures_total p timeout", 1.0),
        ("pool_acquire_failures_total p closed", 1.0),
        ("pool_acquire_failures_total p unavailable", 0.0),
        ("pool_closed_total p discarded", 1.0),
        ("pool_closed_total p died", 0.0),
        ("pool_detached_total p", 1.0),
        ("pool_acquire_wait_seconds p", 2.0),
        ("pool_lease_seconds p", 2.0),
        ("pool_limit_reached_total p", 2.0),
        ("pool_connections p leased", 0.0),
        ("pool_connections p idle", 0.0),
        ("pool_waiting p", 0.0),
        ("pool_leases_total p", 2.0),
    ];
    for (name, value) in expected {
        assert!(
            (of(name) - value).abs() < 0.5,
            "{name} is {}, not {value}",
            of(name)
        );
    }
}

/// What was served to a caller that had gone is no lease of it.
#[tokio::test(start_paused = true)]
async fn lease_that_nobody_took_is_not_counted() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let (pool, fake) = pool(&recorder, "exclusive");
    pool.resize(1).expect("it is open");
    let lease = pool.acquire().await.expect("it connects");
    let gone = HandPolled::waiting(pool.acquire());
    drop(lease);
    drop(gone);
    fake.queue_query(Query::IsAlive, [QueryAnswer::No]);
    drop(pool.acquire().await.expect("it connects again"));

    let (connector, _fake) = pair();
    let builder = SharedPool::builder(connector).name("shared").max_size(1);
    let builder = builder.target_leases(1).max_leases_per_connection(1);
    let shared = metrics::with_local_recorder(&recorder, || builder.build());
    let shared = shared.expect("the settings are valid");
    let lease = shared.acquire().await.expect("it connects");
    let gone = HandPolled::waiting(shared.acquire());
    drop(lease);
    drop(gone);
    drop(shared.acquire().await.expect("it is open"));
    pass(2 * TICK).await;
    let all = read(&snapshotter);
    assert_eq!(all.get("pool_leases_total exclusive"), Some(&2.0));
    assert_eq!(all.get("pool_leases_total shared"), Some(&2.0));
    pool.close(SECOND).await;
    shared.close(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn target_of_leases_is_a_gauge_of_shared_pools_only() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let (exclusive, _fake) = pool(&recorder, "exclusive");
    let shared = |name, target: TargetLeases| {
        let builder = SharedPool::builder(pair().0).name(name).max_size(2);
        let builder = builder.target_leases(target).max_leases_per_connection(9);
        metrics::with_local_recorder(&recorder, || builder.build()).expect("they are valid")
    };
    let fixed = shared("fixed", TargetLeases::Fixed(3));
    let learned = shared("learned", TargetLeases::default());
    assert_eq!(exclusive.status().target_leases, None);
    assert_eq!(fixed.status().target_leases, Some(3));
    assert_eq!(
        learned.status().target_leases,
        Some(9),
        "nothing is known yet"
    );
    drop(exclusive.acquire().await.expect("it connects"));
    drop(fixed.acquire().await.expect("it connects"));
    drop(learned.acquire().await.expect("it connects"));
    pass(2 * TICK).await;
    let all = read(&snapshotter);
    assert_eq!(all.get("pool_target_leases fixed"), Some(&3.0));
    assert_eq!(all.get("pool_target_leases learned"), Some(&9.0));
    assert!(!all.contains_key("pool_target_leases exclusive"));
    exclusive.close(SECOND).await;
    fixed.close(SECOND).await;
    learned.close(SECOND).await;
}

/// They follow the pool within two ticks.
#[tokio::test(start_paused = true)]
async fn gauges_of_a_pool_at_rest_are_right() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let (pool, _fake) = pool(&recorder, "p");
    for _ in 0..5 {
        let lease = pool.acquire().await.expect("it connects");
        pass(2 * TICK).await;
        let leased = read(&snapshotter).get("pool_connections p leased").copied();
        assert_eq!(leased, Some(1.0));
        drop(lease);
        pass(2 * TICK).await;
        let leased = read(&snapshotter).get("pool_connections p leased").copied();
        assert_eq!(leased, Some(0.0));
        pass(SECOND).await;
    }
    pool.close(SECOND).await;
}

/// Its pools are quiet.
#[tokio::test(start_paused = true)]
async fn gauges_of_a_budget_follow_its_size_at_once_and_count_what_is_stuck() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let build = || Budget::builder("all").max_connections(2).build();
    let budget = metrics::with_local_recorder(&recorder, build).expect("valid settings");
    let gauge = |name: &str| read(&snapshotter).get(name).copied();
    for limit in [7, 3] {
        budget.resize(limit).expect("nothing is reserved");
        let limit = f64::from(u32::try_from(limit).expect("it is small"));
        assert_eq!(gauge("pool_budget_max_connections all"), Some(limit));
    }
    let (connector, fake) = pair();
    let builder = ConnectionPool::builder(connector).budget(&budget);
    let build = || builder.close_timeout(SECOND).build();
    let pool = metrics::with_local_recorder(&recorder, build).expect("valid settings");
    fake.set(Call::Close, Answer::Manual);
    PooledConnection::discard(pool.acquire().await.expect("it connects"));
    pass(3 * SECOND).await;
    assert_eq!(gauge("pool_budget_stuck all"), Some(1.0));
    fake.next(Call::Close).await.succeed();
    pool.close(SECOND).await;
}

/// Builds a pool, lends its connection this often, and closes it.
async fn lend(times: usize) {
    let builder = ConnectionPool::builder(pair().0).name("same").max_size(1);
    let pool = builder.build().expect("the settings are valid");
    for _ in 0..times {
        drop(pool.acquire().await.expect("it connects"));
    }
    pool.close(SECOND).await;
    pass(SECOND).await;
}

#[test]
fn leases_of_a_pool_that_is_built_again_add_up() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = paused();
        runtime.block_on(lend(10));
        runtime.block_on(lend(5));
    });
    let leases = read(&snapshotter).get("pool_leases_total same").copied();
    assert_eq!(leases, Some(15.0));
}

#[test]
fn gauges_are_zero_after_the_runtime_has_gone() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = paused();
        let pool = runtime.block_on(async {
            let (pool, _fake) = pool(&recorder, "p");
            drop(pool.acquire().await.expect("it connects"));
            pass(SECOND).await;
            pool
        });
        drop(runtime);
        assert_eq!(pool.status().size(), 0);
    });
    let metrics = read(&snapshotter);
    let mut gauges = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("pool_connections"));
    assert!(gauges.clone().count() > 0, "{metrics:?}");
    assert!(gauges.all(|(_, value)| *value == 0.0), "{metrics:?}");
}

fn paused() -> Runtime {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs no descriptors")
}
