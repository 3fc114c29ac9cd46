//! How many requests may be in flight, and for how long.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::client::{Client, NEWEST, Reply, tool};
use crate::proxy::{Beacon, Proxy, Sighting, legacy, modern_server};
use crate::run;
use crate::stateless::{modern, speaking};

/// Asserts that one more request is refused, with what says how many there may be.
async fn refused(client: &Client, key: &str) {
    let mut reply = client
        .post(&tool("more", "echo", json!({ "text": "more" })))
        .await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.headers["retry-after"], "1");
    let said = reply.json().await;
    assert_eq!(
        (&said["id"], &said["error"]["code"]),
        (&json!("more"), &json!(-32000))
    );
    let reason = said["error"]["message"].as_str().unwrap();
    assert!(reason.contains(key), "{reason}");
}

/// A session has one request in flight at most. There is one child at most.
fn one_at_a_time(sharing: &str) -> (Beacon, Proxy) {
    let beacon = Beacon::new();
    let limits = "[limits]\nrequests_per_session_max = 1\n";
    let config = legacy(&beacon, &format!("sharing = '{sharing}'\nchildren_max = 1"));
    let proxy = Proxy::configured(&format!("{limits}{config}"));
    (beacon, proxy)
}

async fn waits(child: &mut Sighting) {
    while child.line().await != "waiting\n" {}
}

#[test]
fn a_session_has_so_many_requests_in_flight_and_its_cancel_is_none_of_them() {
    run(async {
        for sharing in ["session", "shared"] {
            let (beacon, proxy) = one_at_a_time(sharing);
            let client = Client::new(proxy.address);
            let session = client.begin(NEWEST).await;
            let mut child = beacon.next().await;
            let held = async { session.call("held", "wait", json!({})).await };
            let others = async {
                waits(&mut child).await;
                refused(&session, "limits.requests_per_session_max").await;
                let cancel = json!({
                    "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "another" }
                });
                assert_eq!(session.post(&cancel).await.status, StatusCode::ACCEPTED);
                // Another session has a place of its own.
                client.begin(NEWEST).await;
                child.tell("go").await;
            };
            let (said, ()) = tokio::join!(held, others);
            assert_eq!(said, "go");
            assert_eq!(
                session.call(2, "echo", json!({ "text": "next" })).await,
                "next"
            );
        }
    });
}

#[test]
fn a_principal_has_so_many_requests_in_flight_in_all_sessions_and_without() {
    run(async {
        let beacon = Beacon::new();
        let limits = "[limits]\nrequests_per_principal_max = 1\nlistens_per_principal_max = 0\n";
        let server = modern_server(&beacon, &[], "sharing = 'shared'");
        let config = legacy(&beacon, "sharing = 'shared'\nchildren_max = 1");
        let proxy = Proxy::configured(&format!("{limits}{config}{server}"));
        let client = Client::at(proxy.address, "/servers/legacy/mcp");
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut child = beacon.next().await;
        let held = async { one.call("held", "wait", json!({})).await };
        let others = async {
            waits(&mut child).await;
            refused(&two, "limits.requests_per_principal_max").await;
            refused(&client, "limits.requests_per_principal_max").await;
            let other = Client::at(proxy.address, "/servers/modern/mcp");
            let other = speaking(&other, "tools/list");
            let reply = other.post(&modern("tools/list", json!({}))).await;
            assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
            let listener = speaking(&other, "subscriptions/listen");
            let wanted = json!({ "notifications": { "toolsListChanged": true } });
            let mut reply = listener.post(&modern("subscriptions/listen", wanted)).await;
            assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
            assert!(
                reply
                    .text()
                    .await
                    .contains("limits.listens_per_principal_max")
            );
            child.tell("go").await;
        };
        let (said, ()) = tokio::join!(held, others);
        assert_eq!(said, "go");
        assert_eq!(two.call(2, "echo", json!({ "text": "next" })).await, "next");
    });
}

#[test]
fn what_is_answered_without_a_child_is_not_in_flight() {
    run(async {
        for sharing in ["session", "shared"] {
            let beacon = Beacon::new();
            let limits = "[limits]\nrequests_per_principal_max = 1\n";
            // In `session` one has a child, and the other one has none.
            let config = legacy(&beacon, &format!("sharing = '{sharing}'\nchildren_max = 1"));
            let proxy = Proxy::configured(&format!("{limits}{config}"));
            let client = Client::new(proxy.address);
            let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
            let mut child = beacon.next().await;
            one.ask(1, "tools/list", json!({})).await;
            let held = async { one.call("held", "wait", json!({})).await };
            let others = async {
                waits(&mut child).await;
                refused(&two, "limits.requests_per_principal_max").await;
                for method in ["ping", "tools/list"] {
                    let reply = two.ask(2, method, json!({})).await;
                    assert!(reply["result"].is_object(), "{sharing}: {reply}");
                }
                child.tell("go").await;
            };
            let (said, ()) = tokio::join!(held, others);
            assert_eq!(said, "go");
        }
    });
}

#[test]
fn a_client_of_2026_07_28_gets_what_is_known_while_no_more_may_be_in_flight() {
    run(async {
        let beacon = Beacon::new();
        let limits = "[limits]\nrequests_per_principal_max = 1\n";
        let config = legacy(&beacon, "sharing = 'shared'\nchildren_max = 1");
        let proxy = Proxy::configured(&format!("{limits}{config}"));
        let client = Client::new(proxy.address);
        let known = ["server/discover", "tools/list"];
        let ask = async |method| {
            let client = speaking(&client, method);
            client.post(&modern(method, json!({}))).await
        };
        for method in known {
            assert_eq!(ask(method).await.status, StatusCode::OK);
        }
        beacon.next().await;
        let session = client.begin(NEWEST).await;
        let mut child = beacon.next().await;
        let held = async { session.call("held", "wait", json!({})).await };
        let others = async {
            waits(&mut child).await;
            let refused = ask("prompts/list").await;
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
            for method in known {
                assert_eq!(ask(method).await.status, StatusCode::OK, "{method}");
            }
            child.tell("go").await;
        };
        let (said, ()) = tokio::join!(held, others);
        assert_eq!(said, "go");
    });
}

#[test]
fn each_request_of_a_batch_is_in_flight() {
    run(async {
        for sharing in ["session", "shared"] {
            let (beacon, proxy) = one_at_a_time(sharing);
            let session = Client::new(proxy.address).begin("2025-03-26").await;
            let mut child = beacon.next().await;
            let echo = |id| tool(id, "echo", json!({ "text": id }));
            // The second one finds no place, and its error stands beside the reply of the first.
            let both = json!([tool(1, "wait", json!({})), echo(2)]);
            let both = async { replies(&mut session.post(&both).await).await };
            let meanwhile = async {
                waits(&mut child).await;
                let mut refused = session.post(&json!([echo(3), echo(4)])).await;
                assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
                assert_eq!(refused.headers["retry-after"], "1");
                assert_eq!(replies(&mut refused).await.len(), 2);
                child.tell("go").await;
            };
            let (said, ()) = tokio::join!(both, meanwhile);
            let of = |id: u32| said.iter().find(|reply| reply["id"] == id).unwrap();
            assert_eq!(of(1)["result"]["content"][0]["text"], "go");
            let error = &of(2)["error"];
            assert_eq!(error["code"], -32000);
            let reason = error["message"].as_str().unwrap();
            assert!(
                reason.contains("limits.requests_per_session_max"),
                "{reason}"
            );
            // No place is lost.
            let next = replies(&mut session.post(&json!([echo(5)])).await).await;
            assert!(next[0]["result"].is_object(), "{next:?}");
        }
    });
}

/// The replies to a batch.
async fn replies(reply: &mut Reply) -> Vec<Value> {
    if reply.headers["content-type"] == "application/json" {
        return serde_json::from_value(reply.json().await).unwrap();
    }
    let mut all = Vec::new();
    while let Some(event) = reply.event().await {
        all.push(event);
    }
    all
}

#[test]
fn a_request_without_its_client_is_in_flight_until_its_reply() {
    run(async {
        for sharing in ["session", "shared"] {
            let (beacon, proxy) = one_at_a_time(sharing);
            let session = Client::new(proxy.address).begin(NEWEST).await;
            let mut child = beacon.next().await;
            let gone = session.abandoned(&tool("gone", "wait", json!({}))).await;
            waits(&mut child).await;
            drop(gone);
            // The proxy may see the end of the connection later than this; either way it is in flight.
            for _ in 0..20 {
                refused(&session, "limits.requests_per_session_max").await;
            }
            child.tell("go").await;
            let next = tool(2, "echo", json!({ "text": "next" }));
            let text = loop {
                let mut reply = session.post(&next).await;
                if reply.status != StatusCode::TOO_MANY_REQUESTS {
                    break reply.last().await;
                }
            };
            assert_eq!(text["result"]["content"][0]["text"], "next");
        }
    });
}

#[test]
fn a_request_ends_at_its_own_limit_and_its_child_is_told() {
    const OF_TOOL: &str = "request_timeout = '110s'\ntool_timeouts = { hold = '200ms' }";
    const OF_SERVER: &str = "request_timeout = '200ms'\ntool_timeouts = { wait = '110s' }";
    run(async {
        for (sharing, limits) in [
            ("session", OF_TOOL),
            ("shared", OF_TOOL),
            ("session", OF_SERVER),
            ("shared", OF_SERVER),
        ] {
            let beacon = Beacon::new();
            let lines = format!("sharing = '{sharing}'\n{limits}\nchildren_max = 1");
            let proxy = Proxy::configured(&legacy(&beacon, &lines));
            let session = Client::new(proxy.address).begin(NEWEST).await;
            let mut child = beacon.next().await;
            let longer = async { session.call("longer", "wait", json!({})).await };
            let shorter = async {
                waits(&mut child).await;
                let held = session
                    .ask("shorter", "tools/call", json!({ "name": "hold" }))
                    .await;
                assert_eq!(held["error"]["code"], -32001);
                let reason = held["error"]["message"].as_str().unwrap();
                assert!(reason.contains("no reply within 200ms"), "{reason}");
                child.tell("go").await;
                assert_eq!(child.line().await, "cancelled\n");
            };
            let (said, ()) = tokio::join!(longer, shorter);
            assert_eq!(said, "go", "it began before the other one");
        }
    });
}
