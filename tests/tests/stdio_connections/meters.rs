//! What a connector tells the `metrics` facade.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pool_core::ConnectionPool;
use pool_stdio::{StdioConnection, StdioConnector};
use pool_testkit::fixture::Behaviour;
use tokio::runtime;

use crate::bed::{Bed, assert_line, settled};

#[test]
fn children_requests_and_bytes_are_counted_from_spawn_to_exit() {
    let recorder = DebuggingRecorder::new();
    let bed = Bed::new();
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap();
    let lasting = Behaviour::new().print_error("a line\n").then_echo();
    let brief = Behaviour::new()
        .read_lines(1)
        .print("one\nstray\n")
        .read_lines(1)
        .exit(7);
    // The handles are resolved here; the tasks of the pool need no recorder.
    let [lasting, brief] = metrics::with_local_recorder(&recorder, || {
        [lasting, brief].map(|behaviour| {
            let connector = StdioConnector::new(bed.scene.spec(&behaviour).name("ours")).unwrap();
            bed.watch(connector.discard_stray_output())
        })
    });
    runtime.block_on(async {
        let pool = ConnectionPool::builder(lasting).build().unwrap();
        for _ in 0..3 {
            let mut lease = pool.acquire().await.unwrap();
            assert_line(lease.request("1234").await, "1234");
        }
        let mut lease = pool.acquire().await.unwrap();
        lease.request("two\nlines").await.unwrap_err();
        heard(&lease).await;
        drop(lease);
        pool.close(Duration::from_secs(20)).await;

        let pool = ConnectionPool::builder(brief).build().unwrap();
        let mut lease = pool.acquire().await.unwrap();
        assert_line(lease.request("go").await, "one");
        drop(lease);
        // What was read with the reply was thrown away, so it is lent again.
        let mut lease = pool.acquire().await.unwrap();
        lease.request("more").await.unwrap_err();
        drop(lease);
        settled(&pool, 0).await;
    });
    drop(runtime);
    let counts = counts(&recorder.snapshotter());
    let expected = [
        ("stdio_spawns_total", 2),
        ("stdio_spawn_seconds", 2),
        ("stdio_children", 0),
        ("stdio_exits_total clean", 1),
        ("stdio_exits_total failure", 1),
        ("stdio_exits_total dropped", 0),
        ("stdio_requests_total", 6),
        ("stdio_request_failures_total bad_request", 1),
        ("stdio_request_failures_total exited", 1),
        ("stdio_request_seconds", 4),
        ("stdio_written_bytes_total", 23),
        ("stdio_read_bytes_total", 25),
        ("stdio_stray_frames_total", 1),
        ("stdio_stderr_lines_total", 1),
        ("stdio_spawn_failures_total", 0),
    ];
    for (name, count) in expected {
        assert_eq!(counts.get(name), Some(&count), "{name}: {counts:#?}");
    }
    bed.end();
}

async fn heard(child: &StdioConnection) {
    while child.process().stderr_tail().lines_total == 0 {
        tokio::task::yield_now().await;
    }
}

/// Counters and gauges, and of histograms the number of their samples, by name and further label.
fn counts(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    all.map(|(key, _, _, value)| {
        let labels = key.key().labels();
        let further = labels.filter(|label| label.key() != "connector");
        let words = std::iter::once(key.key().name()).chain(further.map(metrics::Label::value));
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Gauge(value) => {
                assert!(value.abs() < 0.5, "all children have ended");
                0
            }
            DebugValue::Histogram(samples) => samples.len() as u64,
        };
        (words.collect::<Vec<_>>().join(" "), count)
    })
    .collect()
}
