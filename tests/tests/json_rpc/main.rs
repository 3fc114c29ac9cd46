//! JSON-RPC over real children: what is promised to callers, and how children end.
//!
//! Real children live in real time, so nothing here pauses the clock. Every wait is for an event,
//! under one outer deadline, and every test ends with a census.

#![cfg(any(target_os = "linux", windows))]
#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by where it panics"
)]

#[cfg(not(windows))]
#[path = "../common/mod.rs"]
mod common;
#[cfg(windows)]
#[path = "../common/windows_scene.rs"]
mod common;

#[path = "../stdio_connections/bed.rs"]
#[expect(dead_code, reason = "each binary uses a part of it")]
mod bed;

mod calls;
#[cfg(not(windows))]
mod cleanness;
#[cfg(not(windows))]
mod clients_apart;
#[cfg(not(windows))]
mod defects;
#[cfg(not(windows))]
mod ends;
mod exchanges;
#[cfg(not(windows))]
mod goodbye;
#[cfg(not(windows))]
mod health;
mod metrics;
mod retries;
#[cfg(not(windows))]
mod servers;
mod sessions;
#[cfg(not(windows))]
mod shared;
#[cfg(not(windows))]
mod suspects;

use std::sync::Arc;
use std::time::Duration;

use bed::{Bed, context};
use pool_core::Connector;
use pool_stdio::{JsonRpcConnection, JsonRpcConnector, Protocol, RpcError};
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::OUTER_DEADLINE;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A connector whose children are counted.
fn connector(bed: &Bed, behaviour: &Behaviour, protocol: Protocol) -> JsonRpcConnector {
    let connector = JsonRpcConnector::new(bed.scene.spec(behaviour), protocol).unwrap();
    bed.note(connector.children());
    connector
}

#[cfg(not(windows))]
fn ping_within(limit: Duration) -> pool_stdio::RpcLimits {
    pool_stdio::RpcLimits {
        ping_timeout: limit,
        ..Default::default()
    }
}

fn server() -> Behaviour {
    Behaviour::new().then(Step::ServeRpc)
}

/// A child that belongs to no pool, and has answered once.
async fn child(bed: &Bed, behaviour: &Behaviour) -> JsonRpcConnection {
    let connector = connector(bed, behaviour, Protocol::Mcp);
    let child = connector.connect(&context()).await.unwrap();
    assert_eq!(child.call::<Value>("ping", &()).await.unwrap(), json!({}));
    child
}

/// A child that never reads.
#[cfg(not(windows))]
async fn wedged(bed: &Bed) -> JsonRpcConnection {
    let connector = connector(bed, &Behaviour::new().hang(), Protocol::Mcp);
    connector.connect(&context()).await.unwrap()
}

type Calls = JoinSet<Result<Value, RpcError>>;

/// Calls that are not answered, as tasks, once the child has them.
async fn held(child: &Arc<JsonRpcConnection>, count: usize) -> Calls {
    let mut calls = Calls::new();
    for number in 0..count {
        let child = Arc::clone(child);
        calls.spawn(async move { child.call("hold", &[number]).await });
    }
    while child.status().pending < count {
        tokio::task::yield_now().await;
    }
    child.call::<Value>("ping", &()).await.unwrap();
    calls
}

/// More than a pipe holds, and ready to be sent.
#[cfg(not(windows))]
fn megabyte() -> Box<serde_json::value::RawValue> {
    serde_json::value::RawValue::from_string(format!("[\"{}\"]", "x".repeat(1 << 20))).unwrap()
}

/// Never waited out.
const AMPLE: Duration = OUTER_DEADLINE;
