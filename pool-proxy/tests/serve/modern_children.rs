//! Children of revision 2026-07-28, and its clients.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::era::{call, killed, text};
use crate::proxy::{Beacon, Proxy, Sighting, modern_server, scratch};
use crate::run;
use crate::stateless::{VERSION, modern, speaking};

const SHARED: &str = "sharing = 'shared'\nchildren_max = 1\n";
const TAG: &str = "io.modelcontextprotocol/subscriptionId";

async fn ask(client: &Client, method: &str, params: Value) -> Value {
    let client = speaking(client, method);
    client.post(&modern(method, params)).await.last().await
}

/// The stream of a client that listens, after its acknowledgement; and what that agreed to.
async fn listen(client: &Client, wanted: Value) -> (Reply, Value) {
    let method = "subscriptions/listen";
    let message = modern(method, json!({ "notifications": wanted }));
    let mut stream = speaking(client, method).post(&message).await;
    let first = stream.event().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["_meta"][TAG], "m");
    (stream, first["params"]["notifications"].clone())
}

/// Passes over what a child says before this line.
async fn says(child: &mut Sighting, wanted: &str) {
    loop {
        let line = child.line().await;
        assert!(!line.is_empty(), "it has ended without {wanted}");
        if line.trim_end() == wanted {
            return;
        }
    }
}

#[test]
fn a_child_is_discovered_and_called_with_the_words_of_the_client() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], SHARED));
        let client = Client::new(proxy.address);
        let result = ask(&client, "server/discover", json!({})).await["result"].clone();
        assert_eq!(result["supportedVersions"], json!([VERSION]));
        assert_eq!(result["instructions"], "be kind");
        let capabilities =
            json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true } });
        assert_eq!(
            result["capabilities"], capabilities,
            "less what cannot be shared"
        );
        assert_eq!(
            result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
            "modern.py"
        );
        assert_eq!(
            (&result["ttlMs"], &result["cacheScope"]),
            (&json!(60000), &json!("private"))
        );

        let mut future = modern("tools/list", json!({}));
        future["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
        let asker = speaking(&client, "tools/list").with("mcp-protocol-version", "2099-01-01");
        let error = asker.post(&future).await.last().await["error"].clone();
        let data = json!({ "supported": [VERSION], "requested": "2099-01-01" });
        assert_eq!((&error["code"], &error["data"]), (&json!(-32022), &data));

        let meta = json!({
            "io.modelcontextprotocol/clientCapabilities": { "sampling": {} },
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "x/y": [1.10],
        });
        let caller = speaking(&client, "tools/call").with("mcp-name", "meta");
        let message = modern("tools/call", json!({ "name": "meta", "_meta": meta }));
        let reply = caller.post(&message).await.last().await;
        let seen: Value = serde_json::from_str(text(&reply)).unwrap();
        assert_eq!(seen, message["params"]["_meta"]);

        let mut unknown = speaking(&client, "no/such")
            .post(&modern("no/such", json!({})))
            .await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        assert_eq!(unknown.json().await["error"]["code"], -32601);
        let get = client
            .with("mcp-protocol-version", VERSION)
            .send(Method::GET, "")
            .await;
        assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    });
}

#[test]
fn a_question_and_its_answer_pass_and_another_child_may_get_the_answer() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], SHARED));
        let client = Client::new(proxy.address);
        let asked = call(&client, "ask", json!({})).await["result"].clone();
        assert_eq!(asked["resultType"], "input_required");
        assert_eq!(
            asked["inputRequests"]["who"]["method"],
            "elicitation/create"
        );
        killed(beacon.next().await).await;
        let params = json!({
            "name": "ask",
            "inputResponses": { "who": { "action": "decline" } },
            "requestState": asked["requestState"],
        });
        let caller = speaking(&client, "tools/call").with("mcp-name", "ask");
        let reply = caller
            .post(&modern("tools/call", params))
            .await
            .last()
            .await;
        let seen: Value = serde_json::from_str(text(&reply)).unwrap();
        assert_eq!(
            seen,
            json!([{ "who": { "action": "decline" } }, asked["requestState"]])
        );
    });
}

#[test]
fn lists_are_kept_for_their_time_one_for_each_cursor() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], SHARED));
        let client = Client::new(proxy.address);
        let first = ask(&client, "tools/list", json!({})).await["result"].clone();
        let second = ask(&client, "tools/list", json!({ "cursor": "2" })).await["result"].clone();
        assert_eq!(second["page"], "2");
        killed(beacon.next().await).await;
        for (params, mut page) in [(json!({}), first), (json!({ "cursor": "2" }), second)] {
            let mut kept = ask(&client, "tools/list", params).await["result"].clone();
            let left = kept["ttlMs"].take().as_u64().unwrap();
            assert!(left <= page["ttlMs"].take().as_u64().unwrap());
            assert_eq!(kept, page);
        }
        assert!(beacon.is_quiet().await, "no child was started for a list");

        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[("TTL_MS", "0")], SHARED));
        let client = Client::new(proxy.address);
        for _ in 0..2 {
            ask(&client, "tools/list", json!({})).await;
        }
        assert_eq!(
            text(&call(&client, "lists", json!({})).await),
            "2",
            "at once outdated"
        );
    });
}

#[test]
fn a_header_that_repeats_an_argument_is_checked_though_the_list_is_not_kept() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[("TTL_MS", "0")], SHARED));
        let client = Client::new(proxy.address);
        ask(&client, "tools/list", json!({})).await;
        let caller = speaking(&client, "tools/call").with("mcp-name", "region");
        let params = json!({ "name": "region", "arguments": { "region": "north" } });
        let message = modern("tools/call", params);
        let right = caller
            .with("mcp-param-region", "north")
            .post(&message)
            .await
            .last()
            .await;
        assert_eq!(text(&right), "north");
        let mut wrong = caller
            .with("mcp-param-region", "south")
            .post(&message)
            .await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
        assert_eq!(wrong.json().await["error"]["code"], -32020);
    });
}

#[test]
fn a_change_of_a_list_drops_it_and_is_told_to_those_who_listen() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], SHARED));
        let client = Client::new(proxy.address);
        let (mut stream, agreed) = listen(&client, json!({ "toolsListChanged": true })).await;
        assert_eq!(agreed, json!({ "toolsListChanged": true }));
        assert!(beacon.is_quiet().await, "it holds no child");
        ask(&client, "tools/list", json!({})).await;
        says(&mut beacon.next().await, "listen toolsListChanged").await;
        call(&client, "change", json!({})).await;
        let changed = stream.event().await.unwrap();
        assert_eq!(changed["method"], "notifications/tools/list_changed");
        assert_eq!(changed["params"]["_meta"][TAG], "m");
        ask(&client, "tools/list", json!({})).await;
        assert_eq!(text(&call(&client, "lists", json!({})).await), "2");
        let wanted = json!({ "toolsListChanged": true, "resourcesListChanged": true });
        let (_stream, agreed) = listen(&client, wanted).await;
        assert_eq!(
            agreed,
            json!({ "toolsListChanged": true }),
            "it tells of no other"
        );
    });
}

#[test]
fn resources_are_told_of_as_long_as_somebody_listens_over_the_death_of_a_child() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], SHARED));
        let client = Client::new(proxy.address);
        let wanted = json!({ "resourceSubscriptions": ["a:1", "a:none"] });
        let (mut stream, agreed) = listen(&client, wanted).await;
        assert_eq!(agreed, json!({ "resourceSubscriptions": ["a:1"] }));
        for uri in ["a:2", "a:1"] {
            call(&client, "update", json!({ "uri": uri })).await;
        }
        let updated = stream.event().await.unwrap();
        assert_eq!(updated["method"], "notifications/resources/updated");
        assert_eq!(
            updated["params"],
            json!({ "uri": "a:1", "_meta": { TAG: "m" } })
        );

        killed(beacon.next().await).await;
        let mut child = beacon.next().await;
        says(&mut child, "listen toolsListChanged,a:1").await;
        call(&client, "update", json!({ "uri": "a:1" })).await;
        assert_eq!(stream.event().await.unwrap()["params"]["uri"], "a:1");

        // Another client joins, and the first one leaves.
        let wanted = json!({ "resourceSubscriptions": ["a:3"] });
        let (mut other, _) = listen(&client, wanted).await;
        says(&mut child, "listen toolsListChanged,a:1,a:3").await;
        drop(stream);
        says(&mut child, "listen toolsListChanged,a:3").await;
        call(&client, "update", json!({ "uri": "a:3" })).await;
        assert_eq!(other.event().await.unwrap()["params"]["uri"], "a:3");
        drop(other);
        says(&mut child, "listen toolsListChanged").await;
        says(&mut child, "unlisten").await;
    });
}

#[test]
fn a_refused_subscription_takes_nothing_from_others() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], SHARED));
        let client = Client::new(proxy.address);
        let (mut stream, _) = listen(&client, json!({ "resourceSubscriptions": ["a:1"] })).await;
        let (_other, agreed) =
            listen(&client, json!({ "resourceSubscriptions": ["a:refused"] })).await;
        assert_eq!(agreed, json!({}));
        call(&client, "update", json!({ "uri": "a:1" })).await;
        assert_eq!(stream.event().await.unwrap()["params"]["uri"], "a:1");
    });
}

#[test]
fn a_client_that_closes_its_stream_cancels_at_a_modern_child() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], SHARED));
        let client = Client::new(proxy.address);
        let caller = speaking(&client, "tools/call").with("mcp-name", "hold");
        let params = json!({ "name": "hold", "_meta": { "progressToken": 1 } });
        let mut stream = caller.post(&modern("tools/call", params)).await;
        let progress = stream.event().await.unwrap();
        assert_eq!(progress["params"]["progressToken"], 1);
        let mut child = beacon.next().await;
        assert_eq!(child.line().await, "server/discover\n");
        drop(stream);
        says(&mut child, "cancelled").await;
        // Whether it still works on that is asked as the revision has it.
        says(&mut child, "server/discover").await;
    });
}

#[test]
fn what_a_child_says_of_itself_is_told_anew_when_another_kind_of_child_comes() {
    run(async {
        let beacon = Beacon::new();
        let grown = scratch("grown");
        let variables = [("GROWN", grown.to_str().unwrap())];
        let proxy = Proxy::configured(&modern_server(&beacon, &variables, SHARED));
        let client = Client::new(proxy.address);
        let discover = async || ask(&client, "server/discover", json!({})).await["result"].clone();
        assert!(discover().await["capabilities"].get("prompts").is_none());
        std::fs::write(&grown, "").unwrap();
        killed(beacon.next().await).await;
        assert!(
            discover().await["capabilities"].get("prompts").is_none(),
            "no child was needed"
        );
        call(&client, "pid", json!({})).await;
        assert!(discover().await["capabilities"].get("prompts").is_some());
        std::fs::remove_file(&grown).unwrap();
    });
}

#[test]
fn a_server_of_sessions_serves_clients_without_if_its_children_are_modern() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], "children_max = 1"));
        let client = Client::new(proxy.address);
        let pid = text(&call(&client, "pid", json!({})).await).to_owned();
        assert_eq!(text(&call(&client, "pid", json!({})).await), pid);
        let child = beacon.next().await;
        assert_eq!(child.pid.to_string(), pid);
        proxy.terminate();
        assert!(proxy.ended().await.success());
        child.gone().await;
    });
}
