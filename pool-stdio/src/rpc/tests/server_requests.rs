//! Requests of the peer, and their answers.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Setup, end, quiet};
use crate::rpc::protocol::Protocol;
use crate::rpc::reply::ErrorObject;
use crate::rpc::server_request::Answer;

#[tokio::test(start_paused = true)]
async fn what_the_peer_asks_is_answered() {
    let mut setup = Setup::mcp();
    setup.handler = Some(Arc::new(|request| {
        Box::pin(async move {
            match request.method.as_str() {
                "wait" => std::future::pending::<Answer>().await,
                "panic" => panic!("on purpose"),
                "echo" => request
                    .params()
                    .map_err(|error| ErrorObject::new(-32602, error.to_string())),
                _ => Err(ErrorObject::new(-32601, "not here")),
            }
        })
    }));
    let (line, mut peer) = setup.open();
    for (method, expected) in [
        ("echo", json!({"jsonrpc": "2.0", "id": "é", "result": [1]})),
        (
            "panic",
            json!({"jsonrpc": "2.0", "id": "é", "error": {"code": -32603, "message": "internal error"}}),
        ),
        (
            "other",
            json!({"jsonrpc": "2.0", "id": "é", "error": {"code": -32601, "message": "not here"}}),
        ),
    ] {
        peer.say(format!(
            r#"{{"jsonrpc":"2.0","id":"é","method":"{method}","params":[1]}}"#
        ))
        .await;
        assert_eq!(peer.message().await, expected);
    }
    // One that takes for ever does not keep the connection from ending.
    peer.say(r#"{"jsonrpc":"2.0","id":null,"method":"wait"}"#)
        .await;
    quiet().await;
    end(line, peer).await;
}

/// Tells when it is dropped.
struct Dropped(std::sync::mpsc::Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.send(()).unwrap_or_default();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_peer_cancels_ends_its_handler() {
    for (protocol, method, name, error) in [
        (Protocol::Mcp, "notifications/cancelled", "requestId", None),
        (Protocol::Lsp, "$/cancelRequest", "id", Some(-32800)),
    ] {
        let (dropped, ended) = std::sync::mpsc::channel();
        let mut setup = Setup::new(protocol);
        setup.handler = Some(Arc::new(move |request| {
            let dropped = Dropped(dropped.clone());
            assert_eq!((request.pid, request.connection_id.as_u64()), (7, 3));
            Box::pin(async move {
                match request.method.as_str() {
                    "wait" => std::future::pending::<()>().await,
                    method => assert_eq!(method, "next"),
                }
                drop(dropped);
                Err(ErrorObject::new(1, "asked"))
            })
        }));
        let (line, mut peer) = setup.open();
        let mut notifications = line.client.link.subscribe();
        peer.say(r#"{"jsonrpc":"2.0","id":"q","method":"wait"}"#)
            .await;
        quiet().await;
        for id in ["\"other\"", "\"q\""] {
            peer.say(format!(
                r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"{name}":{id}}}}}"#
            ))
            .await;
        }
        quiet().await;
        ended.try_recv().expect("the handler was dropped");
        let other = notifications.recv().await.unwrap();
        assert_eq!(other.params::<Value>().unwrap()[name], "other");
        assert_eq!((other.pid, other.connection_id.as_u64()), (7, 3));
        peer.say(r#"{"jsonrpc":"2.0","id":"next","method":"next"}"#)
            .await;
        if let Some(error) = error {
            let answer = peer.message().await;
            assert_eq!(
                (&answer["id"], &answer["error"]["code"]),
                (&json!("q"), &json!(error))
            );
        }
        assert_eq!(peer.message().await["id"], "next", "no late answer");
        end(line, peer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_peer_waits_for_an_answer_for_ever() {
    let (line, mut peer) = Setup::mcp().open();
    peer.say(r#"{"jsonrpc":"2.0","id":1.50,"method":"roots/list"}"#)
        .await;
    let answer = peer.line().await.unwrap();
    assert!(
        answer.starts_with(r#"{"jsonrpc":"2.0","id":1.50,"error":{"code":-32601"#),
        "{answer}"
    );
    peer.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#)
        .await;
    assert_eq!(
        peer.line().await.unwrap(),
        r#"{"jsonrpc":"2.0","id":2,"result":{}}"#
    );
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_requests_that_nobody_reads_the_answers_of_is_bounded() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 64;
    let (line, mut peer) = setup.open();
    for _ in 0..2000 {
        peer.say(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#).await;
    }
    quiet().await;
    assert!(line.client.link.state().status().unsent >= 2000 - 64 - 1024 - 64);
    end(line, peer).await;
}
