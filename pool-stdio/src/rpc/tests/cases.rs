//! What a call, a notification and a request of the peer lead to, one by one.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncBufRead;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{OurEnd, Setup, end, quiet};
use crate::rpc::error::{Fate, RpcError};
use crate::rpc::framing::Framing;
use crate::rpc::protocol::Protocol;

const SECOND: Duration = Duration::from_secs(1);

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
    assert_eq!(kept[0].as_ref(), b"\"x\"", "the oldest has gone");
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
