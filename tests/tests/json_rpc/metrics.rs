//! Numbers that must be right.

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pool_core::Connector;
use pool_stdio::{JsonRpcConnection, JsonRpcConnector, Protocol};
use pool_tests::children::poll_times;
use serde_json::{Value, json};
use tokio::runtime;

use crate::bed::{Bed, context};
use crate::server;

/// What was counted under this name.
fn counted(snapshotter: &Snapshotter, name: &str) -> u64 {
    let all = snapshotter.snapshot().into_vec();
    all.into_iter()
        .filter(|(key, ..)| key.key().name() == name)
        .map(|(_, _, _, value)| match value {
            DebugValue::Counter(count) => count,
            DebugValue::Gauge(_) | DebugValue::Histogram(_) => 0,
        })
        .sum()
}

/// With a child whose connector counts.
fn counting(test: impl AsyncFn(&JsonRpcConnection)) -> Snapshotter {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let bed = Bed::new();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let spec = bed.scene.spec(&server());
    let connector = metrics::with_local_recorder(&recorder, || {
        JsonRpcConnector::new(spec, Protocol::Mcp).unwrap()
    });
    bed.note(connector.children());
    runtime.block_on(async {
        let child = connector.connect(&context()).await.unwrap();
        test(&child).await;
    });
    drop((connector, runtime));
    bed.end();
    snapshotter
}

#[test]
fn requests_of_a_batch_are_counted() {
    let snapshotter = counting(async |child| {
        let one = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let replies = child.forward(format!("[{one},{one}]")).await.unwrap();
        let replies: Value = serde_json::from_slice(&replies.unwrap()).unwrap();
        assert_eq!(replies[1]["result"], json!({}));
    });
    assert_eq!(counted(&snapshotter, "stdio_requests_total"), 2);
}

#[test]
fn replies_that_meet_nobody_are_counted() {
    let snapshotter = counting(async |child| {
        // Who is alone writes by itself, once the connection is under way.
        child.call::<Value>("ping", &()).await.unwrap();
        poll_times(child.call::<Value>("hold", &()), 1).await;
        // It answers what it has held.
        child.call::<Value>("release", &()).await.unwrap();
        assert_eq!(child.status().late, 1);
    });
    assert_eq!(counted(&snapshotter, "stdio_unclaimed_replies_total"), 1);
}

#[test]
fn what_was_written_last_is_counted() {
    let snapshotter = counting(async |child| {
        assert_eq!(child.call::<Value>("ping", &()).await.unwrap(), json!({}));
        child.notify("last", &()).await.unwrap();
    });
    let request = r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#;
    let notification = r#"{"jsonrpc":"2.0","method":"last"}"#;
    let all = request.len() + 1 + notification.len() + 1;
    assert_eq!(
        counted(&snapshotter, "stdio_written_bytes_total"),
        all as u64
    );
}

#[test]
fn a_notification_that_fails_is_counted() {
    let snapshotter = counting(async |child| {
        child
            .call::<Value>("close_stdout", &())
            .await
            .expect_err("no reply can come");
        child.notify("n", &()).await.expect_err("it is over");
    });
    assert_eq!(counted(&snapshotter, "stdio_request_failures_total"), 2);
}
