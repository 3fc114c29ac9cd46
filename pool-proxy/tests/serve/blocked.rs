//! Clients, children and a reader of the log that do not take what they are sent.

use std::process::Stdio;

use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::client::{Client, NEWEST, Reply, tool};
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
fn a_notification_or_an_answer_that_a_child_does_not_take_is_refused_with_a_status() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "request_timeout = '3s'"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let child = beacon.next().await;
        let mut asking = client.post(&tool(1, "ask", json!({}))).await;
        assert_eq!(asking.event().await.unwrap()["id"], "question");
        child.signal(Signal::SIGSTOP);
        // More than a pipe holds: so many wait to be written that there is no room for another.
        let large = "x".repeat(1 << 20);
        let note =
            json!({ "jsonrpc": "2.0", "method": "notifications/x", "params": { "x": large } });
        let mut reply = client.post(&note).await;
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/x" });
        while reply.status == StatusCode::ACCEPTED {
            reply = client.post(&note).await;
        }
        assert_not_taken(reply).await;
        let answer = json!({ "jsonrpc": "2.0", "id": "question", "result": {} });
        assert_not_taken(client.post(&answer).await).await;
    });
}

async fn assert_not_taken(mut reply: Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.headers.contains_key("retry-after"));
    let said = reply.json().await;
    assert!(said["id"].is_null() && said["error"].is_object(), "{said}");
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
