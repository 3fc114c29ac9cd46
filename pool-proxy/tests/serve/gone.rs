//! Clients that go away while their request waits for a child.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::client::{Client, NEWEST, tool};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

/// No request ends by its deadline.
const LONG: &str = "request_timeout = '10m'\n";

/// Resolves when so many requests wait for a child.
pub(crate) async fn until_waiting(proxy: &Proxy, count: u64) {
    let ready = Client::at(proxy.address, "/readyz");
    loop {
        let said = ready.send(Method::GET, "").await.json().await;
        if said["servers"]["legacy"]["waiting"] == count {
            return;
        }
    }
}

#[test]
fn a_request_for_a_shared_child_is_forgotten_and_the_child_starts_clean_for_the_next_one() {
    run(async {
        let beacon = Beacon::new();
        let lines = format!("sharing = 'shared'\n{LONG}children_max = 1");
        let config = legacy(&beacon, &lines);
        let proxy = Proxy::configured(&config.replace("env = {", "env = { GATED = 'yes',"));
        let client = Client::new(proxy.address);
        let gone = client.abandoned(&tool("gone", "mark", json!({}))).await;
        let mut child = beacon.next().await;
        assert_eq!(child.line().await, "asked\n");
        until_waiting(&proxy, 1).await;
        drop(gone);
        until_waiting(&proxy, 0).await;
        child.tell("go").await;
        assert_eq!(child.line().await, "goes on\n");
        // It was given nothing before, and is the only one.
        assert_eq!(client.call(1, "calls", json!({})).await, "1");
        assert_eq!(
            client.call(2, "pid", json!({})).await,
            child.pid.to_string()
        );
        assert!(beacon.is_quiet().await);
    });
}

#[test]
fn a_request_for_a_fresh_child_is_forgotten_and_the_next_request_gets_that_child() {
    run(async {
        let beacon = Beacon::new();
        let lines = format!("sharing = 'request'\nspare = 1\n{LONG}children_max = 1");
        let proxy = Proxy::configured(&legacy(&beacon, &lines));
        let client = Client::new(proxy.address);
        let holding = async { client.call(1, "wait", json!({})).await };
        let leaving = async {
            let mut busy = beacon.next().await;
            assert_eq!(busy.line().await, "waiting\n");
            let gone = client.abandoned(&tool("gone", "mark", json!({}))).await;
            until_waiting(&proxy, 1).await;
            drop(gone);
            until_waiting(&proxy, 0).await;
            busy.tell("go").await;
        };
        let (said, ()) = tokio::join!(holding, leaving);
        assert_eq!(said, "go");
        // Kept ready, and given nothing before.
        let next = beacon.next().await;
        assert_eq!(client.call(2, "pid", json!({})).await, next.pid.to_string());
    });
}

#[test]
fn a_request_for_a_child_of_its_session_is_forgotten_and_the_child_is_kept_for_the_next_one() {
    run(async {
        let beacon = Beacon::new();
        let limits = "[limits]\nrequests_per_session_max = 1\n";
        let config = legacy(&beacon, "children_max = 1");
        let proxy = Proxy::configured(&format!("{limits}{config}"));
        let client = Client::new(proxy.address);
        let (busy, other) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut child = beacon.next().await;
        let holding = async { busy.call(1, "wait", json!({})).await };
        let leaving = async {
            assert_eq!(child.line().await, "waiting\n");
            let gone = other.abandoned(&tool("gone", "mark", json!({}))).await;
            until_waiting(&proxy, 1).await;
            drop(gone);
            child.tell("go").await;
        };
        let (said, ()) = tokio::join!(holding, leaving);
        assert_eq!(said, "go");
        busy.send(Method::DELETE, "").await;
        // The start goes on, and what was forgotten is not in flight any more.
        let mut next = beacon.next().await;
        let calls = loop {
            let mut reply = other.post(&tool(2, "calls", json!({}))).await;
            if reply.status != StatusCode::TOO_MANY_REQUESTS {
                break reply.last().await;
            }
        };
        assert_eq!(calls["result"]["content"][0]["text"], "1");
        other.send(Method::DELETE, "").await;
        assert_eq!(next.line().await, "", "it was not asked to mark anything");
    });
}

#[test]
fn a_session_that_ends_while_it_waits_for_its_child_waits_no_longer() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "children_max = 1"));
        let client = Client::new(proxy.address);
        let (busy, other) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut child = beacon.next().await;
        let holding = async { busy.call(1, "wait", json!({})).await };
        let waiting = async { other.post(&tool(2, "mark", json!({}))).await.status };
        let ending = async {
            assert_eq!(child.line().await, "waiting\n");
            until_waiting(&proxy, 1).await;
            let ended = other.send(Method::DELETE, "").await;
            assert_eq!(ended.status, StatusCode::NO_CONTENT);
            until_waiting(&proxy, 0).await;
            child.tell("go").await;
        };
        let (said, status, ()) = tokio::join!(holding, waiting, ending);
        assert_eq!((said.as_str(), status), ("go", StatusCode::NOT_FOUND));
        busy.send(Method::DELETE, "").await;
        child.gone().await;
        assert!(beacon.is_quiet().await, "none was started for nobody");
    });
}
