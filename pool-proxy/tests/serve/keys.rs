//! Which clients have children in common.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::client::{Client, NEWEST, initialize, tool};
use crate::era;
use crate::proxy::{Beacon, Proxy, legacy, modern_server};
use crate::run;

/// Two principals, whose tokens are `test` and `test2`.
const TOKENS: &str = "[tokens.a]\nsha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'\n\
                      [tokens.b]\nsha256 = '60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752'\n";

#[test]
fn principals_share_children_only_where_that_is_declared() {
    run(async {
        for (sharing, is_shared) in [("shared", false), ("stateless", true)] {
            let beacon = Beacon::new();
            let lines = format!("sharing = '{sharing}'\nchildren_max = 1\n{TOKENS}");
            let proxy = Proxy::configured(&legacy(&beacon, &lines));
            let client = Client::new(proxy.address);
            let one = client
                .with("authorization", "Bearer test")
                .begin(NEWEST)
                .await;
            let two = client
                .with("authorization", "Bearer test2")
                .begin(NEWEST)
                .await;
            let pids = (
                one.call(1, "pid", json!({})).await,
                two.call(1, "pid", json!({})).await,
            );
            assert_eq!(pids.0 == pids.1, is_shared, "{sharing}");
            let stolen = one.with("authorization", "Bearer test2");
            assert_eq!(
                stolen.post(&tool(1, "pid", json!({}))).await.status,
                StatusCode::NOT_FOUND
            );
        }
    });
}

#[test]
fn principals_share_no_modern_child_either_unless_that_is_declared() {
    run(async {
        for sharing in ["session", "shared", "stateless"] {
            let beacon = Beacon::new();
            let lines = format!("sharing = '{sharing}'\nchildren_max = 1\n{TOKENS}");
            let proxy = Proxy::configured(&modern_server(&beacon, &[], &lines));
            let client = Client::new(proxy.address);
            let mut pids = Vec::new();
            for token in ["test", "test2"] {
                let client = client.with("authorization", &format!("Bearer {token}"));
                let reply = era::call(&client, "pid", json!({})).await;
                pids.push(era::text(&reply).to_owned());
            }
            assert_eq!(pids[0] == pids[1], sharing == "stateless", "{sharing}");
        }
    });
}

#[test]
fn clients_of_two_revisions_share_no_child() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address);
        let mut pids = Vec::new();
        for version in [NEWEST, "2025-06-18", NEWEST] {
            let session = client.begin(version).await;
            pids.push(session.call(1, "pid", json!({})).await);
            // The child was initialized with the version of the client.
            let told: Value =
                serde_json::from_str(&session.call(2, "client", json!({})).await).unwrap();
            assert_eq!(told["protocolVersion"], version);
        }
        assert_ne!(pids[0], pids[1]);
        assert_eq!(pids[0], pids[2]);
    });
}

#[test]
fn clients_of_unequal_capabilities_share_a_child_that_is_told_of_none() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address);
        let mut told = Vec::new();
        for capabilities in [
            json!({}),
            json!({ "sampling": {}, "elicitation": {}, "roots": {} }),
        ] {
            let mut message = initialize(NEWEST);
            message["params"]["capabilities"] = capabilities;
            let reply = client.post(&message).await;
            let id = reply.headers["mcp-session-id"].to_str().unwrap();
            let session = client.with("mcp-session-id", id);
            told.push((
                session.call(1, "pid", json!({})).await,
                session.call(2, "client", json!({})).await,
            ));
            // The child may not ask what the client could answer.
            let reply = session.call(3, "ask", json!({})).await;
            assert!(reply.contains("-32601"), "{reply}");
        }
        assert_eq!(told[0], told[1]);
        let initialized: Value = serde_json::from_str(&told[0].1).unwrap();
        assert_eq!(initialized["capabilities"], json!({}));
    });
}
