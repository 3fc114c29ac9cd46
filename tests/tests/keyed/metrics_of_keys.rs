//! The metrics of keys, which share their labels.

use std::collections::BTreeMap;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pool_core::{ConnectionPool, KeyedAcquireError, KeyedBuilder, KeyedPool, connector_fn};
use pool_tests::bed::{MINUTE, TICK, Watchdog, pass};

/// The gauges of all labels, by name and labels.
fn gauges(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> = key
            .key()
            .labels()
            .map(|label| label.value().to_owned())
            .collect();
        if let DebugValue::Gauge(value) = value {
            let name = format!("{} {}", key.key().name(), labels.join(" "));
            all.insert(name, value.into_inner());
        }
    }
    all
}

fn keyed(
    tune: impl FnOnce(KeyedBuilder<&'static str, ()>) -> KeyedBuilder<&'static str, ()>,
) -> KeyedPool<&'static str, ()> {
    let builder = KeyedPool::builder(|_key: &&'static str| {
        ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(2)
    });
    tune(builder.name("servers"))
        .build()
        .expect("the settings are valid")
}

#[tokio::test(start_paused = true)]
async fn keys_add_up_under_one_label() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let pools = keyed(|builder| builder);
    let mut leases = Vec::new();
    for key in ["a", "b", "c"] {
        let acquire = metrics::with_local_recorder(&recorder, || pools.acquire(&key));
        leases.push(acquire.await.expect("it opens"));
    }
    pass(3 * TICK).await;
    let all = gauges(&recorder.snapshotter());
    assert_eq!(all.get("pool_connections servers leased"), Some(&3.0));
    assert_eq!(all.get("pool_max_size servers"), Some(&6.0));
    assert!(all.keys().all(|name| name.contains(" servers")), "{all:?}");
    drop(leases);
    assert!(pools.close(MINUTE).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn key_that_is_gone_takes_its_part_of_the_gauges_along() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let pools = keyed(|builder| builder.key_idle_timeout(MINUTE));
    for key in ["a", "b"] {
        let acquire = metrics::with_local_recorder(&recorder, || pools.acquire(&key));
        drop(acquire.await.expect("it opens"));
    }
    let lease = pools.acquire(&"a").await.expect("it is idle");
    pass(2 * MINUTE).await;
    assert_eq!(pools.status().keys, 1);
    let all = gauges(&recorder.snapshotter());
    assert_eq!(all.get("pool_connections servers leased"), Some(&1.0));
    assert_eq!(all.get("pool_connections servers idle"), Some(&0.0));
    assert_eq!(all.get("pool_max_size servers"), Some(&2.0));
    drop(lease);
    assert!(pools.close(MINUTE).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn function_maps_keys_to_labels() {
    let _watchdog = Watchdog::start();
    let recorder = DebuggingRecorder::new();
    let pools = keyed(|builder| builder.metrics_label(|key| &key[..1]));
    let mut leases = Vec::new();
    for key in ["a1", "a2", "b1"] {
        let acquire = metrics::with_local_recorder(&recorder, || pools.acquire(&key));
        leases.push(acquire.await.expect("it opens"));
    }
    pass(3 * TICK).await;
    let all = gauges(&recorder.snapshotter());
    assert_eq!(all.get("pool_connections a leased"), Some(&2.0));
    assert_eq!(all.get("pool_connections b leased"), Some(&1.0));
    drop(leases);
    assert!(pools.close(MINUTE).await.is_complete());
}

/// The metrics of the keyed pool itself as Prometheus shows them, but for those that are zero.
fn shown(recorder: &PrometheusRecorder) -> Vec<String> {
    let text = recorder.handle().render();
    let own = |line: &&str| {
        let is_own = line.starts_with("pool_keys{") || line.starts_with("pool_max_keys{");
        (is_own || line.starts_with("pool_acquire_failures_total{")) && !line.ends_with(" 0")
    };
    let mut lines: Vec<_> = text.lines().filter(own).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(start_paused = true)]
async fn keys_and_callers_whose_key_got_no_pool_are_counted() {
    let _watchdog = Watchdog::start();
    let recorder = PrometheusBuilder::new().build_recorder();
    let pools = metrics::with_local_recorder(&recorder, || {
        let builder = KeyedPool::builder(|key: &&'static str| {
            let max_size = usize::from(*key != "bad");
            ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(max_size)
        });
        let builder = builder.name("servers").max_keys(2).key_idle_timeout(MINUTE);
        builder.build().expect("the settings are valid")
    });
    let max_keys = r#"pool_max_keys{pool="servers"} 2"#;
    assert_eq!(shown(&recorder), [max_keys]);
    let first = pools.acquire(&"a").await.expect("it opens");
    let second = pools.acquire(&"b").await.expect("it opens");
    assert_eq!(
        shown(&recorder),
        [r#"pool_keys{pool="servers"} 2"#, max_keys]
    );
    for _ in 0..2 {
        let refused = pools.acquire(&"c").await.map(drop);
        assert!(matches!(
            refused,
            Err(KeyedAcquireError::TooManyKeys { .. })
        ));
    }
    drop(second);
    pass(3 * MINUTE).await;
    let refused = pools.acquire(&"bad").await.map(drop);
    assert!(matches!(refused, Err(KeyedAcquireError::NotBuilt { .. })));
    let failures = |error, count| {
        format!("pool_acquire_failures_total{{pool=\"servers\",error=\"{error}\"}} {count}")
    };
    let (not_built, too_many) = (failures("not_built", 1), failures("too_many_keys", 2));
    let one_key = r#"pool_keys{pool="servers"} 1"#;
    assert_eq!(shown(&recorder), [&not_built, &too_many, one_key, max_keys]);
    drop(first);
    assert!(pools.close(MINUTE).await.is_complete());
    let refused = pools.acquire(&"a").await.map(drop);
    assert!(matches!(refused, Err(KeyedAcquireError::Closed { .. })));
    let closed = failures("closed", 1);
    assert_eq!(shown(&recorder), [&closed, &not_built, &too_many, max_keys]);
    drop(pools);
    pass(MINUTE).await;
    assert_eq!(
        shown(&recorder),
        [closed, not_built, too_many],
        "it is gone"
    );
}
