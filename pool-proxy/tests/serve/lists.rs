//! Lists that are seen while no child lives, and what they say of tools.

use hyper::Method;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::client::{Client, NEWEST, tool};
use crate::proxy::{Beacon, Proxy, legacy, scratch};
use crate::run;

const SHARED: &str = "sharing = 'shared'\nchildren_max = 1\n";

#[test]
fn clients_of_both_eras_see_their_lists_while_no_child_lives() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, SHARED));
        let client = Client::new(proxy.address);
        let session = client.begin(NEWEST).await;
        let page = |cursor: &'static str| json!({ "cursor": cursor });
        let first = session.ask("a", "tools/list", json!({})).await;
        let second = session.ask("b", "tools/list", page("2")).await;
        assert_eq!(second["result"]["page"], "2");
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let modern = client
            .with("mcp-protocol-version", "2026-07-28")
            .with("mcp-method", "tools/list");
        let listed = async || {
            let params = json!({ "_meta": meta });
            modern.ask(1, "tools/list", params).await["result"].clone()
        };
        listed().await;
        // Each era has a child of its own.
        for _ in 0..2 {
            let child = beacon.next().await;
            child.signal(Signal::SIGKILL);
            child.gone().await;
        }

        let other = client.begin(NEWEST).await;
        let again = other.ask("c", "tools/list", json!({})).await;
        assert_eq!(
            (&again["id"], &again["result"]),
            (&json!("c"), &first["result"])
        );
        let again = other.ask("d", "tools/list", page("2")).await;
        assert_eq!(again["result"], second["result"]);
        let again = listed().await;
        assert_eq!(again["tools"], first["result"]["tools"]);
        assert_eq!(again["resultType"], "complete");
        assert!(beacon.is_quiet().await, "no child was started for a list");
        assert_eq!(other.call(1, "lists", json!({})).await, "0");
    });
}

#[test]
fn a_list_that_has_changed_is_asked_for_again() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, SHARED));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut stream = client.send(Method::GET, "").await;
        client.ask(1, "tools/list", json!({})).await;
        client.ask(1, "tools/list", json!({})).await;
        assert_eq!(client.call(1, "lists", json!({})).await, "1");
        client.call(1, "change", json!({})).await;
        assert!(stream.event().await.is_some());
        client.ask(1, "tools/list", json!({})).await;
        assert_eq!(client.call(1, "lists", json!({})).await, "2");
    });
}

#[test]
fn a_list_of_an_earlier_kind_of_child_is_not_shown() {
    run(async {
        let beacon = Beacon::new();
        let grown = scratch("grown");
        let config = legacy(&beacon, SHARED);
        let config = config.replace(
            "env = {",
            &format!("env = {{ GROWN = '{}',", grown.display()),
        );
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address);
        let session = client.begin(NEWEST).await;
        session.ask(1, "tools/list", json!({})).await;
        std::fs::write(&grown, "").unwrap();
        let child = beacon.next().await;
        child.signal(Signal::SIGKILL);
        child.gone().await;
        // Outside of a session, because that ends with its promise.
        let newest = client.with("mcp-protocol-version", NEWEST);
        newest.call(2, "pid", json!({})).await;
        std::fs::remove_file(&grown).unwrap();
        newest.ask(3, "tools/list", json!({})).await;
        assert_eq!(newest.call(4, "lists", json!({})).await, "1");
    });
}

#[test]
fn lists_of_one_principal_are_not_shown_to_another() {
    run(async {
        let beacon = Beacon::new();
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"; // test
        let other = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"; // test2
        let tokens = format!("[tokens.a]\nsha256 = '{hash}'\n[tokens.b]\nsha256 = '{other}'\n");
        let proxy = Proxy::configured(&legacy(&beacon, &format!("{SHARED}{tokens}")));
        let client = Client::new(proxy.address);
        for token in ["test", "test2"] {
            let client = client.with("authorization", &format!("Bearer {token}"));
            let session = client.begin(NEWEST).await;
            session.ask(1, "tools/list", json!({})).await;
            session.ask(2, "tools/list", json!({})).await;
            assert_eq!(
                session.call(3, "lists", json!({})).await,
                "1",
                "of its own child"
            );
        }
    });
}

#[test]
fn a_list_is_not_kept_where_the_operator_wants_none_kept() {
    run(async {
        let beacon = Beacon::new();
        let lines = format!("{SHARED}lists_ttl = '0s'");
        let proxy = Proxy::configured(&legacy(&beacon, &lines));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        client.ask(1, "tools/list", json!({})).await;
        client.ask(1, "tools/list", json!({})).await;
        assert_eq!(client.call(1, "lists", json!({})).await, "2");
    });
}

#[test]
fn a_read_only_tool_is_called_again_where_annotations_are_trusted() {
    run(async {
        for is_trusted in [true, false] {
            let beacon = Beacon::new();
            let lines = format!("{SHARED}trust_annotations = {is_trusted}");
            let proxy = Proxy::configured(&legacy(&beacon, &lines));
            let client = Client::new(proxy.address).begin(NEWEST).await;
            client.ask(1, "tools/list", json!({})).await;
            let call = tool(2, "wait", json!({}));
            let killed = async {
                let mut first = beacon.next().await;
                assert_eq!(first.line().await, "waiting\n");
                first.signal(Signal::SIGKILL);
                if is_trusted {
                    let mut next = beacon.next().await;
                    assert_eq!(next.line().await, "waiting\n");
                    next.tell("again").await;
                }
            };
            let (mut reply, ()) = tokio::join!(client.post(&call), killed);
            let reply = reply.last().await;
            match is_trusted {
                true => assert_eq!(reply["result"]["content"][0]["text"], "again", "{reply}"),
                false => {
                    let text = reply["error"]["message"].as_str().unwrap();
                    assert!(text.contains("outcome unknown"), "{text}");
                }
            }
        }
    });
}
