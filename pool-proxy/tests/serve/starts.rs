//! How many children are started at a time.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::client::{Client, children};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

/// Clients of unequal revisions have no child in common.
const REVISIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
/// A start that takes longer counts no longer.
const OVERDUE: Duration = Duration::from_secs(1);

#[test]
fn no_more_children_start_at_a_time_than_are_allowed_and_each_client_gets_its_own() {
    run(async {
        for sharing in ["session", "shared", "request"] {
            while !the_third_start_waits(sharing).await {}
        }
    });
}

/// Whether that was seen. On a busy machine the first starts can be overdue before; then there is nothing to see.
async fn the_third_start_waits(sharing: &str) -> bool {
    let beacon = Beacon::new();
    let limits = "[limits]\nstarts_max = 2\n";
    // A child starts when the test says so.
    let config = legacy(&beacon, &format!("sharing = '{sharing}'"));
    let config = config.replace("env = {", "env = { GATED = 'yes',");
    let proxy = Proxy::configured(&format!("{limits}{config}"));
    let client = Client::new(proxy.address);
    let begun = Instant::now();
    let served = async {
        let sessions = join_all(REVISIONS.map(|revision| client.begin(revision))).await;
        let calls = sessions
            .iter()
            .map(|session| session.call(1, "calls", json!({})));
        join_all(calls).await
    };
    let mut is_seen = false;
    let gate = async {
        while children(proxy.address).await < 2 {}
        // Time for the third one, which would start as soon.
        for _ in 0..5 {
            let count = children(proxy.address).await;
            is_seen = begun.elapsed() < OVERDUE;
            assert!(count == 2 || !is_seen, "{sharing}: {count}");
        }
        let mut told = Vec::new();
        loop {
            let mut child = beacon.next().await;
            assert_eq!(child.line().await, "asked\n");
            child.tell("go").await;
            told.push(child);
        }
    };
    let served = tokio::select! {
        served = served => served,
        () = gate => unreachable!("it has no end"),
    };
    assert_eq!(served, ["1"; 3], "{sharing}");
    is_seen
}
