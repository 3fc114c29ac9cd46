//! What does not take what it is sent: clients, and the reader of the log.

use std::process::Stdio;

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::client::{Client, NEWEST, tool};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

const ONE_CONNECTION: &str = "[http]\nconnections_max = 1\nwrite_timeout = '300ms'\n";

#[test]
fn a_client_that_does_not_read_its_reply_gives_its_place_to_another() {
    run(async {
        let beacon = Beacon::new();
        let config = legacy(&beacon, "sharing = 'shared'");
        let proxy = Proxy::configured(&format!("{ONE_CONNECTION}{config}"));
        let client = Client::new(proxy.address);
        // More than the system keeps for a connection.
        let large = tool(1, "fill", json!({ "bytes": 15_000_000 }));
        let unread = client.post(&large).await;
        assert_eq!(unread.status, StatusCode::OK);
        assert_eq!(
            client.call(2, "echo", json!({ "text": "next" })).await,
            "next"
        );
        drop(unread);
    });
}

#[test]
fn a_client_that_does_not_read_its_stream_gives_its_place_to_another() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&format!("{ONE_CONNECTION}{}", legacy(&beacon, "")));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let flood = tool(1, "flood", json!({ "bytes": 10_000, "silent": true }));
        let unread = client.post(&flood).await;
        assert_eq!(unread.headers["content-type"], "text/event-stream");
        let other = client.without("mcp-session-id").begin(NEWEST).await;
        assert_eq!(
            other.call(2, "echo", json!({ "text": "next" })).await,
            "next"
        );
        drop(unread);
    });
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request_and_its_losses_are_counted() {
    run(async {
        let beacon = Beacon::new();
        let config = format!(
            "[log]\nlines_max = 16\n{}",
            legacy(&beacon, "sharing = 'shared'")
        );
        let mut proxy = Proxy::with_stderr(&config, Stdio::piped());
        let unread = proxy.stderr();
        let client = Client::new(proxy.address);
        // A pipe takes 64 KiB.
        for id in 0..1000 {
            client.ask(id, "ping", json!({})).await;
        }
        let mut metrics = Client::at(proxy.address, "/metrics")
            .send(Method::GET, "")
            .await;
        let metrics = metrics.text().await;
        let lost = metrics
            .lines()
            .find_map(|line| line.strip_prefix("proxy_log_lines_lost_total "));
        assert!(lost.unwrap().parse::<u32>().unwrap() > 0, "{metrics}");
        proxy.terminate();
        assert!(proxy.ended().await.success());
        drop(unread);
    });
}
