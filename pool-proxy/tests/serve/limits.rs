//! How many requests may be in flight, and for how long.

use hyper::StatusCode;
use serde_json::json;

use crate::client::{Client, NEWEST, tool};
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

async fn waits(child: &mut Sighting) {
    while child.line().await != "waiting\n" {}
}

#[test]
fn a_session_has_so_many_requests_in_flight_and_its_cancel_is_none_of_them() {
    run(async {
        for sharing in ["session", "shared"] {
            let beacon = Beacon::new();
            let limits = "[limits]\nrequests_per_session_max = 1\n";
            let config = legacy(&beacon, &format!("sharing = '{sharing}'\nchildren_max = 1"));
            let proxy = Proxy::configured(&format!("{limits}{config}"));
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
fn a_request_without_its_client_is_in_flight_until_its_reply() {
    run(async {
        for sharing in ["session", "shared"] {
            let beacon = Beacon::new();
            let limits = "[limits]\nrequests_per_session_max = 1\n";
            let config = legacy(&beacon, &format!("sharing = '{sharing}'\nchildren_max = 1"));
            let proxy = Proxy::configured(&format!("{limits}{config}"));
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
fn a_tool_ends_at_its_own_limit_and_its_child_is_told() {
    run(async {
        for sharing in ["session", "shared"] {
            let beacon = Beacon::new();
            let lines =
                "request_timeout = '110s'\ntool_timeouts = { hold = '200ms' }\nchildren_max = 1";
            let config = legacy(&beacon, &format!("sharing = '{sharing}'\n{lines}"));
            let proxy = Proxy::configured(&config);
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
