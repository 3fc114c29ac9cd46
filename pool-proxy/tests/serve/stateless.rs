//! Clients of revision 2026-07-28, in front of children that speak an earlier one.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Client, request};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

pub(crate) const VERSION: &str = "2026-07-28";

/// A request with all that the revision wants to be said of it.
pub(crate) fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(VERSION);
    let capabilities = &mut params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    if capabilities.is_null() {
        *capabilities = json!({});
    }
    request("m", method, params)
}

/// A client whose headers say the same.
pub(crate) fn speaking(client: &Client, method: &str) -> Client {
    client
        .with("mcp-protocol-version", VERSION)
        .with("mcp-method", method)
}

#[test]
fn results_are_said_as_the_revision_wants_them() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nlists_ttl = '5s'"));
        let client = Client::new(proxy.address);
        let discover = speaking(&client, "server/discover");
        let found = discover
            .post(&modern("server/discover", json!({})))
            .await
            .json()
            .await;
        let result = &found["result"];
        assert_eq!(result["supportedVersions"][0], VERSION);
        assert_eq!(
            result["capabilities"],
            json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true } })
        );
        assert_eq!(
            result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
            "legacy.py"
        );
        assert_eq!(
            (&result["resultType"], &result["ttlMs"]),
            (&json!("complete"), &json!(5000))
        );

        let list = speaking(&client, "tools/list");
        let listed = list
            .post(&modern("tools/list", json!({})))
            .await
            .json()
            .await;
        assert_eq!(listed["result"]["cacheScope"], "private");
        assert_eq!(listed["result"]["ttlMs"], 5000);

        let call = speaking(&client, "tools/call").with("mcp-name", "echo");
        let params = json!({ "name": "echo", "arguments": { "text": "hi" } });
        let called = call.post(&modern("tools/call", params)).await.json().await;
        assert_eq!(called["id"], "m");
        assert_eq!(called["result"]["content"][0]["text"], "hi");
        assert_eq!(called["result"]["resultType"], "complete");
        assert!(called["result"].get("ttlMs").is_none());
    });
}

#[test]
fn what_is_wrong_with_a_request_is_told_by_code_and_status() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address);
        let list = modern("tools/list", json!({}));
        let call = modern("tools/call", json!({ "name": "echo" }));
        let of = |method| speaking(&client, method);
        let cases = [
            (
                of("tools/list").with("mcp-protocol-version", "2099-01-01"),
                &list,
                400,
                -32020,
            ),
            (of("tools/call"), &list, 400, -32020),
            (of("tools/call"), &call, 400, -32020),
            (
                of("tools/call").with("mcp-name", "other"),
                &call,
                400,
                -32020,
            ),
            (
                of("tools/list"),
                &request(1, "tools/list", json!({})),
                400,
                -32602,
            ),
            (
                of("initialize"),
                &modern("initialize", json!({})),
                404,
                -32601,
            ),
            (of("ping"), &modern("ping", json!({})), 404, -32601),
            (of("no/such"), &modern("no/such", json!({})), 404, -32601),
        ];
        for (client, message, status, code) in cases {
            let mut reply = client.post(message).await;
            let error = reply.json().await;
            assert_eq!(
                (reply.status.as_u16(), &error["error"]["code"]),
                (status, &json!(code)),
                "{error}"
            );
            assert_eq!(error["id"], message["id"]);
        }
        let get = client.with("mcp-protocol-version", VERSION);
        assert_eq!(
            get.send(Method::GET, "").await.status,
            StatusCode::METHOD_NOT_ALLOWED
        );
        assert_eq!(
            get.send(Method::DELETE, "").await.status,
            StatusCode::METHOD_NOT_ALLOWED
        );
    });
}

#[test]
fn a_header_that_repeats_an_argument_is_checked_against_the_schema_of_the_tool() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address);
        let list = speaking(&client, "tools/list");
        list.post(&modern("tools/list", json!({})))
            .await
            .last()
            .await;
        let call = speaking(&client, "tools/call").with("mcp-name", "region");
        let params = json!({ "name": "region", "arguments": { "region": "north" } });
        let message = modern("tools/call", params);
        let right = call.with("mcp-param-region", "=?base64?bm9ydGg=?=");
        let reply = right.post(&message).await.last().await;
        assert_eq!(reply["result"]["content"][0]["text"], "north", "{reply}");
        for wrong in [call.with("mcp-param-region", "south"), call.clone()] {
            let mut reply = wrong.post(&message).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST);
            assert_eq!(reply.json().await["error"]["code"], -32020);
        }
    });
}

#[test]
fn a_legacy_server_of_sessions_says_which_versions_it_is_spoken_to_in() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "children_max = 1"));
        let client = speaking(&Client::new(proxy.address), "tools/list");
        for _ in 0..2 {
            let mut reply = client.post(&modern("tools/list", json!({}))).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST);
            let error = reply.json().await["error"].clone();
            assert_eq!(error["code"], -32022);
            let supported = json!(["2025-11-25", "2025-06-18", "2025-03-26"]);
            let data = json!({ "supported": supported, "requested": VERSION });
            assert_eq!(error["data"], data);
            let words = error["message"].as_str().unwrap();
            assert!(words.contains("sharing = \"shared\""), "{words}");
        }
        beacon.next().await.gone().await;
        assert!(beacon.is_quiet().await, "one child was asked");
    });
}

#[test]
fn a_legacy_child_is_told_that_it_may_not_ask_a_client_without_a_session() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let ask = speaking(&Client::new(proxy.address), "tools/call").with("mcp-name", "ask");
        let message = modern("tools/call", json!({ "name": "ask" }));
        let reply = ask.post(&message).await.last().await;
        let text = reply["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("-32601"), "{reply}");
    });
}

#[test]
fn a_subscription_of_lists_is_acknowledged_and_told_of_what_it_wants() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address);
        let wanted = json!({ "toolsListChanged": true, "resourceSubscriptions": [] });
        let listen = modern("subscriptions/listen", json!({ "notifications": wanted }));
        let mut stream = speaking(&client, "subscriptions/listen")
            .post(&listen)
            .await;
        let tag = "io.modelcontextprotocol/subscriptionId";
        let acknowledged = stream.event().await.unwrap();
        assert_eq!(
            acknowledged["method"],
            "notifications/subscriptions/acknowledged"
        );
        assert_eq!(
            acknowledged["params"]["notifications"],
            json!({ "toolsListChanged": true })
        );
        assert_eq!(acknowledged["params"]["_meta"][tag], "m");
        assert!(beacon.is_quiet().await, "it holds no child");

        let call = speaking(&client, "tools/call").with("mcp-name", "change");
        call.post(&modern("tools/call", json!({ "name": "change" })))
            .await
            .json()
            .await;
        let changed = stream.event().await.unwrap();
        assert_eq!(changed["method"], "notifications/tools/list_changed");
        assert_eq!(changed["params"]["_meta"][tag], "m");

        proxy.terminate();
        let closed = stream.event().await.unwrap();
        assert_eq!(
            (&closed["id"], &closed["result"]["_meta"][tag]),
            (&json!("m"), &json!("m"))
        );
        assert!(stream.event().await.is_none());
    });
}

#[test]
fn a_subscription_of_resources_is_acknowledged_for_those_that_the_child_knows() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address);
        let wanted = json!({ "resourceSubscriptions": ["a:none", "a:1"] });
        let listen = modern("subscriptions/listen", json!({ "notifications": wanted }));
        let mut stream = speaking(&client, "subscriptions/listen")
            .post(&listen)
            .await;
        let acknowledged = stream.event().await.unwrap();
        assert_eq!(
            acknowledged["params"]["notifications"],
            json!({ "resourceSubscriptions": ["a:1"] })
        );
        let update = speaking(&client, "tools/call").with("mcp-name", "update");
        for uri in ["a:2", "a:1"] {
            let params = json!({ "name": "update", "arguments": { "uri": uri } });
            update
                .post(&modern("tools/call", params))
                .await
                .json()
                .await;
        }
        let updated = stream.event().await.unwrap();
        assert_eq!(updated["method"], "notifications/resources/updated");
        assert_eq!(updated["params"]["uri"], "a:1");
        let tag = "io.modelcontextprotocol/subscriptionId";
        assert_eq!(updated["params"]["_meta"][tag], "m");

        let mut child = beacon.next().await;
        drop(stream);
        let mut lines = Vec::new();
        while lines
            .last()
            .is_none_or(|line: &String| !line.starts_with("un"))
        {
            lines.push(child.line().await);
        }
        assert_eq!(lines.last().unwrap(), "unsubscribe a:1\n", "{lines:?}");
    });
}

#[test]
fn a_client_that_closes_its_stream_cancels_at_the_child() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address);
        let call = speaking(&client, "tools/call").with("mcp-name", "begin");
        let params = json!({ "name": "begin", "_meta": { "progressToken": 1 } });
        let mut stream = call.post(&modern("tools/call", params)).await;
        assert_eq!(
            stream.event().await.unwrap()["method"],
            "notifications/progress"
        );
        let mut child = beacon.next().await;
        drop(stream);
        assert_eq!(child.line().await, "cancelled\n");
    });
}

#[test]
fn a_subscription_that_waits_for_a_child_is_a_stream_at_once() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'shared'\nrequest_timeout = '2s'";
        let proxy = Proxy::configured(&legacy(&beacon, lines));
        let client = Client::new(proxy.address);
        let wanted = json!({ "toolsListChanged": true, "resourceSubscriptions": ["a:never"] });
        let listen = modern("subscriptions/listen", json!({ "notifications": wanted }));
        let mut stream = speaking(&client, "subscriptions/listen")
            .post(&listen)
            .await;
        let first = stream.frame().await;
        assert!(first.starts_with(':'), "no comment: {first}");
        // The first message still is the acknowledgement, of what was agreed to in time.
        let acknowledged = stream.event().await.unwrap();
        assert_eq!(
            acknowledged["params"]["notifications"],
            json!({ "toolsListChanged": true })
        );
    });
}
