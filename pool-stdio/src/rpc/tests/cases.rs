//! What a call, a notification and a request of the peer lead to, one by one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncBufRead;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{OurEnd, Peer, Setup, quiet};
use crate::rpc::error::{Fate, RpcError};
use crate::rpc::framing::Framing;
use crate::rpc::notifications::Progress;
use crate::rpc::protocol::Protocol;
use crate::rpc::reply::ErrorObject;
use crate::rpc::server_request::Answer;

const SECOND: Duration = Duration::from_secs(1);

async fn end(line: OurEnd, peer: Peer) {
    assert_eq!(line.client.link.state().status().pending, 0);
    drop(peer);
    line.ended().await;
}

fn spawn_call(line: &OurEnd, params: Value) -> tokio::task::JoinHandle<Result<Value, RpcError>> {
    let client = line.client.clone();
    tokio::task::spawn(async move { client.call("m", &params).await })
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_and_an_error_is_an_answer_too() {
    let (line, mut peer) = Setup::plain().open();
    let call = spawn_call(&line, json!(["x"]));
    let request = peer.echo().await;
    assert_eq!(request["jsonrpc"], "2.0");
    assert_eq!(call.await.unwrap().unwrap(), json!(["x"]));

    let call = spawn_call(&line, Value::Null);
    let request = peer.message().await;
    assert!(request.get("params").is_none(), "no params are left out");
    let id = &request["id"];
    peer.say(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-5,"message":"no","data":[1]}}}}"#
    ))
    .await;
    let error = call.await.unwrap().unwrap_err();
    let RpcError::Refused(object) = &error else {
        panic!("{error}")
    };
    assert_eq!((object.code, &*object.message), (-5, "no"));
    assert_eq!(object.data.as_ref().unwrap().get(), "[1]");
    assert!(!error.is_retry_safe());

    let call = line.client.call::<bool>("m", &());
    let (error, _) = tokio::join!(call, async {
        let id = peer.message().await["id"].clone();
        peer.reply(&id, 3).await;
    });
    assert!(matches!(error, Err(RpcError::BadResult { .. })));
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn ids_are_never_used_again_and_late_replies_meet_nobody() {
    let (line, mut peer) = Setup::mcp().open();
    let limit = SECOND;
    let begun = Instant::now();
    let call = line.client.call::<Value>("m", &()).within(limit);
    let (outcome, first) = tokio::join!(call, peer.message());
    assert_eq!(begun.elapsed(), SECOND);
    let error = outcome.unwrap_err();
    assert!(matches!(
        error,
        RpcError::Timeout {
            fate: Fate::MaybeExecuted,
            ..
        }
    ));
    let cancel = peer.message().await;
    assert_eq!(cancel["method"], "notifications/cancelled");
    assert_eq!(cancel["params"]["requestId"], first["id"]);
    assert_eq!(peer.echo().await["method"], "ping", "does it live?");

    let second = spawn_call(&line, json!([2]));
    let request = peer.message().await;
    assert_ne!(request["id"], first["id"]);
    peer.reply(&first["id"], "late").await;
    peer.reply(&first["id"], "again").await;
    peer.reply(&request["id"], "right").await;
    peer.reply(&request["id"], "twice").await;
    peer.reply(&json!(99), "unknown").await;
    assert_eq!(second.await.unwrap().unwrap(), "right");
    quiet().await;
    let counts = line.client.link.state().status();
    assert_eq!((counts.late, counts.duplicate, counts.unknown), (1, 2, 1));
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled_in_the_words_of_the_protocol() {
    for (protocol, method, id) in [
        (Protocol::Mcp, "notifications/cancelled", "requestId"),
        (Protocol::Lsp, "$/cancelRequest", "id"),
    ] {
        let (line, mut peer) = Setup::new(protocol).open();
        let call = spawn_call(&line, Value::Null);
        let request = peer.message().await;
        call.abort();
        let cancel = peer.message().await;
        assert_eq!(cancel["method"], method);
        assert_eq!(cancel["params"][id], request["id"]);
        end(line, peer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_written_is_taken_back() {
    let mut setup = Setup::mcp();
    setup.pipe_bytes = 16;
    let (line, mut peer) = setup.open();
    let first = spawn_call(&line, json!([1]));
    quiet().await;
    let error = line
        .client
        .call::<Value>("m", &[2])
        .within(SECOND)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        RpcError::Timeout {
            fate: Fate::NotSent,
            ..
        }
    ));
    assert_eq!(peer.echo().await["params"], json!([1]));
    assert_eq!(first.await.unwrap().unwrap(), json!([1]));
    let third = spawn_call(&line, json!([3]));
    assert_eq!(
        peer.echo().await["params"],
        json!([3]),
        "neither the second nor its cancel"
    );
    third.await.unwrap().unwrap();
    assert_eq!(line.client.link.free_places(), 64);
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_callers_wait_and_lets_them_go_in_time() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 16;
    setup.settings.queue_max = 1;
    let (line, peer) = setup.open();
    let first = spawn_call(&line, json!([1]));
    quiet().await;
    let begun = Instant::now();
    let error = line.client.call::<Value>("m", &[2]).await.unwrap_err();
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::Timeout { .. }),
        "{error}"
    );
    assert_eq!(
        begun.elapsed(),
        Duration::from_secs(5),
        "the enqueue timeout"
    );
    let error = line
        .client
        .call::<Value>("m", &[3])
        .within(SECOND)
        .await
        .unwrap_err();
    assert!(error.is_retry_safe() && matches!(error, RpcError::Timeout { limit: SECOND, .. }));
    // What has no answer has the same limit, alone and in a batch.
    let notification = r#"{"jsonrpc":"2.0","method":"n"}"#;
    for frame in [notification.to_owned(), format!("[{notification}]")] {
        let begun = Instant::now();
        let forwarded = line.client.forward(frame).within(SECOND);
        let error = forwarded.await.unwrap_err();
        assert!(error.is_retry_safe() && matches!(error, RpcError::Timeout { limit: SECOND, .. }));
        assert_eq!(begun.elapsed(), SECOND);
    }
    first.abort();
    quiet().await;
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn progress_goes_to_its_call_under_the_token_that_the_caller_chose() {
    let (line, mut peer) = Setup::mcp().open();
    let params = json!({"_meta": {"progressToken": "same"}});
    let mut calls = Vec::new();
    for _ in 0..2 {
        let (progress, notifications) = Progress::channel(8);
        let (client, params) = (line.client.clone(), params.clone());
        let call = async move { client.call::<Value>("m", &params).progress(progress).await };
        calls.push((
            tokio::task::spawn(call),
            notifications,
            peer.message().await,
        ));
    }
    let token = |request: &Value| request["params"]["_meta"]["progressToken"].clone();
    assert_ne!(token(&calls[0].2), token(&calls[1].2));
    for (number, (_, _, request)) in calls.iter().enumerate() {
        let token = token(request);
        peer.say(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{number}}}}}"#
        ))
        .await;
    }
    for (number, (call, mut notifications, request)) in calls.into_iter().enumerate() {
        let Some(notice) = notifications.recv().await else {
            panic!()
        };
        let params: Value = notice.params().unwrap();
        assert_eq!(params, json!({"progressToken": "same", "progress": number}));
        peer.reply(&request["id"], number).await;
        call.await.unwrap().unwrap();
        assert!(
            notifications.recv().await.is_none(),
            "no more after the reply"
        );
    }
    // Neither a foreign token nor that of a call that is over reaches anybody.
    for token in ["\"same\"", "1", "77"] {
        peer.say(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token}}}}}"#
        ))
        .await;
    }
    quiet().await;
    assert_eq!(line.client.link.state().status().unheard, 3);
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn both_tokens_of_a_forwarded_request_are_told_apart() {
    let (line, mut peer) = Setup::new(Protocol::Lsp).open();
    let (progress, mut notifications) = Progress::channel(8);
    let frame = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"workDoneToken":1,"partialResultToken": "1" }}"#;
    let client = line.client.clone();
    let call = tokio::task::spawn(async move { client.forward(frame).progress(progress).await });
    let request = peer.message().await;
    for name in ["partialResultToken", "workDoneToken"] {
        let token = &request["params"][name];
        peer.say(format!(
            r#"{{"jsonrpc":"2.0","method":"$/progress","params":{{"token":{token},"value":0}}}}"#
        ))
        .await;
    }
    for token in [json!("1"), json!(1)] {
        let Some(notice) = notifications.recv().await else {
            panic!()
        };
        assert_eq!(notice.params::<Value>().unwrap()["token"], token);
    }
    peer.reply(&request["id"], 0).await;
    call.await.unwrap().unwrap();
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_is_told_how_many_it_missed() {
    let (line, mut peer) = Setup::plain().open();
    let mut notifications = line.client.link.subscribe();
    for number in 0..7 {
        peer.say(format!(
            r#"{{"jsonrpc":"2.0","method":"n","params":[{number}]}}"#
        ))
        .await;
    }
    quiet().await;
    for number in 3..7 {
        let Some(notice) = notifications.recv().await else {
            panic!()
        };
        assert_eq!(notice.method, "n");
        assert_eq!(notice.params::<[u8; 1]>().unwrap(), [number]);
        assert_eq!(notice.missed, if number == 3 { 3 } else { 0 });
    }
    end(line, peer).await;
}

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

#[tokio::test(start_paused = true)]
async fn lines_that_are_no_message_are_skipped_counted_and_kept() {
    let (line, mut peer) = Setup::plain().open();
    let call = spawn_call(&line, Value::Null);
    let id = peer.message().await["id"].clone();
    let strays = [
        "listening",
        "\"x\"",
        "{}",
        "123",
        "[]",
        "[1]",
        "{\"id\":0,\"result\":1}",
        "\u{1b}[31m",
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"id\":0,\"result\":1}",
    ];
    for stray in strays {
        peer.say(stray).await;
        peer.say("").await;
    }
    peer.reply(&id, "fine").await;
    assert_eq!(call.await.unwrap().unwrap(), "fine");
    assert_eq!(
        line.client.link.state().status().strays,
        9,
        "blank lines are nothing"
    );
    let kept = line.client.link.state().strays();
    assert_eq!(kept.len(), 8);
    assert_eq!(kept[0].as_bytes(), b"\"x\"", "the oldest has gone");
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn content_length_carries_the_same_messages() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut setup = Setup::new(Protocol::Lsp);
    setup.settings.framing = Framing::ContentLength;
    let (line, mut peer) = setup.open();
    let call = spawn_call(&line, json!(["x".repeat(5000)]));
    let head = peer.line().await.unwrap();
    let length = head.strip_prefix("Content-Length: ").unwrap();
    let mut body = vec![0; 2 + length.trim_end().parse::<usize>().unwrap()];
    peer.input.read_exact(&mut body).await.unwrap();
    let request: Value = serde_json::from_slice(&body[2..]).unwrap();
    assert_eq!(request["method"], "m");
    let reply = "{\"jsonrpc\":\"2.0\",\n\"id\":0,\"result\":\"y\"}";
    let reply = format!("content-length:{}\n\n{reply}", reply.len());
    peer.output.write_all(reply.as_bytes()).await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), "y");
    end(line, peer).await;
}

#[tokio::test(start_paused = true)]
async fn many_calls_leave_in_few_writes_and_all_return() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 1 << 16;
    let (line, mut peer) = setup.open();
    let calls: Vec<_> = (0..200)
        .map(|number| spawn_call(&line, json!([number])))
        .collect();
    let mut requests = Vec::new();
    for _ in 0..200 {
        requests.push(timeout(SECOND, peer.message()).await.unwrap());
    }
    for request in requests.iter().rev() {
        peer.reply(&request["id"], request["params"][0].clone())
            .await;
    }
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), number);
    }
    assert_eq!(line.client.link.free_places(), 64);
    end(line, peer).await;
}

/// Neither what is no batch to its end nor the size of one keeps a reply from its call.
#[tokio::test(start_paused = true)]
async fn a_batch_of_thousands_reaches_everybody() {
    const CALLS: usize = 2_500;
    let mut setup = Setup::plain();
    setup.settings.queue_max = CALLS;
    setup.pipe_bytes = 1 << 20;
    let (line, mut peer) = setup.open();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let client = line.client.clone();
        calls.spawn(async move {
            let answer = client.call::<Value>("m", &[number]).await;
            assert_eq!(answer.unwrap(), json!([number]));
        });
    }
    let mut replies = Vec::new();
    for _ in 0..CALLS {
        let request = peer.message().await;
        let (id, params) = (&request["id"], &request["params"]);
        replies.push(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{params}}}"#
        ));
    }
    let replies = replies.join(",");
    peer.say(format!("[{replies},")).await;
    quiet().await;
    assert_eq!(
        line.client.link.state().status().pending,
        CALLS,
        "it was no batch"
    );
    peer.say(format!("[{replies}]")).await;
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    end(line, peer).await;
}

/// The child works on it while the other half is being made.
#[tokio::test(start_paused = true)]
async fn half_of_many_requests_leaves_before_the_driver_has_its_turn() {
    let (line, mut peer) = Setup::plain().open();
    // A caller with no other before it writes its request directly.
    let first = spawn_call(&line, json!([1]));
    let id = peer.message().await["id"].clone();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut calls = Vec::new();
    for has_left in [vec![false; 31], vec![true; 33]].concat() {
        let call = line.client.call::<Value>("m", &[1]);
        let mut call = Box::pin(call);
        assert!(call.as_mut().poll(cx).is_pending());
        calls.push(call);
        let arrived = Pin::new(&mut peer.input).poll_fill_buf(cx).is_ready();
        assert_eq!(arrived, has_left, "after {} calls", calls.len());
    }
    peer.reply(&id, 1).await;
    first.await.unwrap().unwrap();
    for call in calls {
        let (outcome, _) = tokio::join!(call, peer.echo());
        assert_eq!(outcome.unwrap(), json!([1]));
    }
    end(line, peer).await;
}
