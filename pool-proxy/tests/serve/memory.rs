//! How much memory children may occupy, alone and together.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::client::{Client, NEWEST, initialize, tool};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

/// More than a child has that did nothing.
const LIMIT: u64 = 64 << 20;
const LEAKED: u64 = 96 << 20;

#[test]
fn a_child_that_leaks_is_killed_and_its_callers_are_told_why() {
    run(async {
        for sharing in ["shared", "session"] {
            let beacon = Beacon::new();
            let lines = format!("sharing = '{sharing}'\nmemory_bytes_max = {LIMIT}");
            let proxy = Proxy::configured(&legacy(&beacon, &lines));
            let client = Client::new(proxy.address).begin(NEWEST).await;
            let leak = json!({ "name": "leak", "arguments": { "bytes": LEAKED, "silent": true } });
            let reply = client.ask(1, "tools/call", leak).await;
            let text = reply["error"]["message"].as_str().unwrap();
            assert!(text.contains("more memory than it may"), "{reply}");
            assert!(text.contains("outcome unknown"), "{reply}");
            beacon.next().await.gone().await;
            let metrics = Client::at(proxy.address, "/metrics");
            let counted = async |what: &str| {
                let text = metrics.send(Method::GET, "").await.text().await;
                number(&text, what)
            };
            assert_eq!(counted("pool_killed_total").await, 1);
            let failed = r#"proxy_requests_total{server="legacy",outcome="too heavy"}"#;
            // It is counted when its answer is over.
            while counted(failed).await == 0 {}
            let next = client.post(&tool(2, "pid", json!({}))).await;
            let expected = match sharing {
                "shared" => StatusCode::OK,
                _ => StatusCode::NOT_FOUND,
            };
            assert_eq!(next.status, expected);
        }
    });
}

#[test]
fn a_shared_child_that_grew_is_replaced_without_a_failed_request() {
    run(async {
        let beacon = Beacon::new();
        let lines = format!("sharing = 'shared'\nmemory_bytes_soft = {LIMIT}");
        let proxy = Proxy::configured(&legacy(&beacon, &lines));
        let client = Client::new(proxy.address);
        client.call(1, "leak", json!({ "bytes": LEAKED })).await;
        let grown = beacon.next().await;
        let pid = grown.pid;
        grown.gone().await;
        assert_ne!(client.call(2, "pid", json!({})).await, pid.to_string());
    });
}

#[test]
fn while_all_children_together_are_too_heavy_callers_are_told_so_or_idle_sessions_end() {
    run(async {
        let beacon = Beacon::new();
        let limits = format!("[limits]\nmemory_bytes_max = {LIMIT}\nsession_idle_min = '1ms'\n");
        let others = ["wait_timeout = '100ms'", "wait_timeout = '1m'"];
        let others = others.map(|line| legacy(&beacon, &format!("sharing = 'shared'\n{line}")));
        let [hasty, patient] = others;
        let proxy = Proxy::configured(&format!(
            "{limits}{}{}{}",
            legacy(&beacon, ""),
            hasty.replace("servers.legacy", "servers.hasty"),
            patient.replace("servers.legacy", "servers.patient"),
        ));
        let at = |path: &str| Client::at(proxy.address, path);
        let heavy = at("/servers/legacy/mcp").begin(NEWEST).await;
        let mut child = beacon.next().await;
        heavy.call(1, "leak", json!({ "bytes": LEAKED })).await;
        let waiting = heavy.call(2, "wait", json!({}));
        let refused = async {
            assert_eq!(child.line().await, "waiting\n");
            let metrics = at("/metrics");
            let weight = async || {
                let text = metrics.send(Method::GET, "").await.text().await;
                number(&text, "pool_budget_weight")
            };
            while weight().await < LIMIT {}
            let mut reply = at("/servers/hasty/mcp").post(&initialize(NEWEST)).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(reply.headers.contains_key("retry-after"));
            let text = reply.text().await;
            assert!(text.contains("limits.memory_bytes_max"), "{text}");
            child.tell("go").await;
        };
        assert_eq!(tokio::join!(waiting, refused).0, "go");
        // Now the heavy child is idle.
        at("/servers/patient/mcp").call(3, "pid", json!({})).await;
        child.gone().await;
        let ended = heavy.post(&tool(3, "pid", json!({}))).await;
        assert_eq!(ended.status, StatusCode::NOT_FOUND);
    });
}

/// The sum of a metric over its labels.
fn number(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    });
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}
