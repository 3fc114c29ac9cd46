//! How it is found out which era a child speaks, for clients of both.

use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::client::{Client, NEWEST, initialize};
use crate::proxy::{Beacon, Proxy, Sighting, legacy, modern_server, scratch, script};
use crate::run;
use crate::stateless::{VERSION, modern, speaking};

const SHARED: &str = "sharing = 'shared'\nchildren_max = 1\n";

/// The reply to a call of a client of revision 2026-07-28.
pub(crate) async fn call(client: &Client, tool: &str, arguments: Value) -> Value {
    let client = speaking(client, "tools/call").with("mcp-name", tool);
    let params = json!({ "name": tool, "arguments": arguments });
    let mut reply = client.post(&modern("tools/call", params)).await;
    reply.last().await
}

pub(crate) fn text(reply: &Value) -> &str {
    let text = reply["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("{reply}"))
}

/// A legacy server that takes the question of its era in this way.
fn asked(beacon: &Beacon, way: &str, lines: &str) -> String {
    let env = format!("env = {{ DISCOVER = '{way}',");
    legacy(beacon, &format!("{SHARED}{lines}")).replace("env = {", &env)
}

pub(crate) async fn killed(child: Sighting) {
    child.signal(Signal::SIGKILL);
    child.gone().await;
}

#[test]
fn a_child_that_answers_is_a_modern_one_and_is_not_initialized() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&modern_server(&beacon, &[], SHARED));
        let client = Client::new(proxy.address);
        for _ in 0..2 {
            let reply = call(&client, "echo", json!({ "text": "hi" })).await;
            assert_eq!(text(&reply), "hi");
            let mut child = beacon.next().await;
            assert_eq!(child.line().await, "server/discover\n");
            assert_eq!(
                child.line().await,
                "listen toolsListChanged\n",
                "and not initialize"
            );
            killed(child).await;
        }
    });
}

#[test]
fn a_child_that_answers_with_any_error_is_initialized_and_the_next_one_is_not_asked() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&asked(&beacon, "error", ""));
        let client = Client::new(proxy.address);
        let reply = call(&client, "client", json!({})).await;
        let initialized: Value = serde_json::from_str(text(&reply)).unwrap();
        assert_eq!(initialized["protocolVersion"], NEWEST);
        let mut child = beacon.next().await;
        assert_eq!(child.line().await, "discover\n");
        killed(child).await;
        call(&client, "mark", json!({})).await;
        assert_eq!(
            beacon.next().await.line().await,
            "mark\n",
            "without the question"
        );
    });
}

#[test]
fn silence_is_remembered_as_nothing() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&asked(&beacon, "silent", "probe_timeout = '50ms'"));
        let client = Client::new(proxy.address);
        for _ in 0..2 {
            call(&client, "mark", json!({})).await;
            let mut child = beacon.next().await;
            assert_eq!(child.line().await, "discover\n", "it is asked");
            let mut line = child.line().await;
            if line == "cancelled\n" {
                // Of the question, which nobody waits for any more.
                line = child.line().await;
            }
            assert_eq!(line, "mark\n", "and served nevertheless");
            killed(child).await;
        }
    });
}

#[test]
fn a_child_that_exits_when_it_is_asked_is_followed_by_one_that_is_not() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&asked(&beacon, "exit", ""));
        let client = Client::new(proxy.address);
        call(&client, "mark", json!({})).await;
        let mut first = beacon.next().await;
        assert_eq!(first.line().await, "discover\n");
        first.gone().await;
        assert_eq!(beacon.next().await.line().await, "mark\n");
    });
}

#[test]
fn a_server_of_sessions_whose_child_exits_is_not_taken_for_a_legacy_one() {
    run(async {
        let beacon = Beacon::new();
        let config = asked(&beacon, "exit", "").replace("'shared'", "'session'");
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address);
        let asked = async {
            for _ in 0..2 {
                let mut child = beacon.next().await;
                assert_eq!(child.line().await, "discover\n");
                child.gone().await;
            }
        };
        let (reply, ()) = tokio::join!(call(&client, "mark", json!({})), asked);
        let words = reply["error"]["message"].as_str().unwrap();
        assert!(words.contains("cannot be started"), "{words}");
    });
}

#[test]
fn a_slow_modern_child_is_found_out_by_its_late_answer() {
    run(async {
        let beacon = Beacon::new();
        // It answers after it was initialized, which it refuses.
        let lines = format!("{SHARED}probe_timeout = '50ms'");
        let proxy = Proxy::configured(&modern_server(&beacon, &[("LATE", "1")], &lines));
        let client = Client::new(proxy.address);
        let reply = call(&client, "echo", json!({ "text": "late" })).await;
        assert_eq!(text(&reply), "late");
        let mut child = beacon.next().await;
        assert_eq!(child.line().await, "server/discover\n");
        assert_eq!(child.line().await, "initialize\n");
    });
}

#[test]
fn clients_with_sessions_are_told_that_a_server_has_none() {
    run(async {
        for lines in [SHARED, ""] {
            refuses_sessions(lines).await;
        }
    });
}

async fn refuses_sessions(lines: &str) {
    let beacon = Beacon::new();
    let proxy = Proxy::configured(&modern_server(&beacon, &[], lines));
    let client = Client::new(proxy.address);
    for _ in 0..2 {
        let mut reply = client.post(&initialize(NEWEST)).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(!reply.headers.contains_key("mcp-session-id"));
        let error = reply.last().await["error"].clone();
        assert_eq!(error["code"], -32602);
        assert_eq!(error["data"], json!({ "supported": [VERSION] }));
        let words = error["message"].as_str().unwrap();
        assert!(
            words.contains(VERSION) && words.contains("use a client"),
            "{words}"
        );
    }
    let ready = Client::at(proxy.address, "/readyz");
    let ready = ready.send(Method::GET, "").await.json().await;
    assert_eq!(ready["cannot_start"], json!([]), "it can");
    let reply = call(&client, "echo", json!({ "text": "hi" })).await;
    assert_eq!(text(&reply), "hi", "to clients that speak to it");
}

#[test]
fn clients_are_told_if_a_server_speaks_nothing_that_the_proxy_does() {
    run(async {
        let beacon = Beacon::new();
        let future = [("SPEAKS", "2099-01-01")];
        let proxy = Proxy::configured(&modern_server(&beacon, &future, SHARED));
        let client = Client::new(proxy.address);
        let error = call(&client, "echo", json!({ "text": "hi" })).await["error"].clone();
        assert_eq!(error["code"], -32022);
        assert!(
            error["message"].as_str().unwrap().contains("2099-01-01"),
            "{error}"
        );
        let mut child = beacon.next().await;
        assert_eq!(child.line().await, "server/discover\n");
        assert_eq!(
            child.line().await,
            "",
            "it was not initialized, and has ended"
        );
    });
}

#[test]
fn a_server_of_sessions_that_is_replaced_by_a_modern_one_serves_modern_clients() {
    run(async {
        let beacon = Beacon::new();
        let server = scratch("py");
        let replace = |name: &str| {
            drop(std::fs::remove_file(&server));
            std::os::unix::fs::symlink(script(name), &server).unwrap();
        };
        replace("legacy.py");
        let config = legacy(&beacon, "").replace(&script("legacy.py"), server.to_str().unwrap());
        let proxy = Proxy::configured(&format!("[log]\nformat = 'off'\n{config}"));
        let client = Client::new(proxy.address);
        let refused = call(&client, "echo", json!({ "text": "hi" })).await;
        assert_eq!(refused["error"]["code"], -32022);
        replace("modern.py");
        // A client with sessions finds out.
        let refused = client.post(&initialize(NEWEST)).await.last().await;
        assert_eq!(refused["error"]["data"], json!({ "supported": [VERSION] }));
        // The child that could serve nobody was a failed start, and the next one comes some seconds later.
        let reply = loop {
            let reply = call(&client, "echo", json!({ "text": "hi" })).await;
            if reply.get("error").is_none() {
                break reply;
            }
        };
        std::fs::remove_file(&server).unwrap();
        assert_eq!(text(&reply), "hi");
    });
}
