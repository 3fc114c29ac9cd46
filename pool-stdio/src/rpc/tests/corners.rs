//! Limits at their ends, and peers, handlers and clients who write what is allowed and unusual.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{OurEnd, Peer, Setup, quiet};
use crate::rpc::error::RpcError;
use crate::rpc::framing::Framing;
use crate::rpc::link::Link;
use crate::rpc::notifications::Progress;
use crate::rpc::protocol::Protocol;
use crate::rpc::reply::ErrorObject;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn spawn_call(line: &OurEnd, params: Value) -> JoinHandle<Result<Value, RpcError>> {
    let client = line.client.clone();
    tokio::task::spawn(async move { client.call("m", &params).await })
}

#[tokio::test(start_paused = true)]
async fn progress_is_known_from_a_peer_that_escapes_slashes() {
    let (line, mut peer) = Setup::mcp().open();
    let (progress, mut notifications) = Progress::channel(1);
    let client = line.client.clone();
    let params = json!({"_meta": {"progressToken": "mine"}});
    let call =
        tokio::task::spawn(
            async move { client.call::<Value>("m", &params).progress(progress).await },
        );
    let request = peer.message().await;
    let token = &request["params"]["_meta"]["progressToken"];
    peer.say(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications\/progress","params":{{"progressToken":{token}}}}}"#
    ))
    .await;
    peer.reply(&request["id"], 1).await;
    call.await.unwrap().unwrap();
    let Some(notice) = notifications.recv().await else {
        panic!("it has made progress")
    };
    let params: Value = notice.params().unwrap();
    assert_eq!(params, json!({"progressToken": "mine"}));
}

/// What a program finds that reads lines as Python does: a carriage return ends them too.
async fn line_of_a_text_stream(peer: &mut Peer) -> Value {
    loop {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\n") && !bytes.ends_with(b"\r") {
            let read = peer.input.fill_buf().await.unwrap();
            assert!(!read.is_empty(), "a line is due");
            bytes.push(read[0]);
            peer.input.consume(1);
        }
        if let Ok(message) = serde_json::from_slice(&bytes) {
            return message;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_cannot_speak_in_the_name_of_another() {
    let (line, mut peer) = Setup::mcp().open();
    let victim = spawn_call(&line, json!(["mine"]));
    let request = line_of_a_text_stream(&mut peer).await;
    let id = &request["id"];
    let inner = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":["yours"]}}"#);
    let frame =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":[\r{inner}\r]}}");
    let client = line.client.clone();
    let forwarded = tokio::task::spawn(async move { client.forward(frame).await });
    quiet().await;
    if !forwarded.is_finished() {
        let request = line_of_a_text_stream(&mut peer).await;
        peer.reply(&request["id"], request["params"].clone()).await;
    }
    peer.reply(id, json!(["mine"])).await;
    assert_eq!(victim.await.unwrap().unwrap(), json!(["mine"]));
    let reply = forwarded.await.unwrap().unwrap().unwrap();
    let reply: Value = serde_json::from_slice(&reply).unwrap();
    assert_eq!(reply["id"], 1, "it has its own reply");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_forwarded_is_told_what_it_is() {
    let (line, _peer) = Setup::mcp().open();
    for (message, is) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":5}"#, "a reply"),
        ("[]", "an empty batch"),
        ("{", "not JSON"),
    ] {
        let outcome = line.client.forward(message).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, RpcError::BadRequest { .. }), "{error}");
        assert!(error.to_string().contains(is), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_without_a_limit_has_room_for_a_cancel() {
    let mut setup = Setup::mcp();
    setup.settings.queue_max = usize::MAX;
    let (line, mut peer) = setup.open();
    let call = spawn_call(&line, Value::Null);
    peer.message().await;
    call.abort();
    let cancel = timeout(HOUR, peer.message()).await.unwrap();
    assert_eq!(cancel["method"], "notifications/cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_call_may_take_for_ever() {
    let (line, mut peer) = Setup::plain().open();
    let call = line.client.call::<Value>("m", &[1]).within(Duration::MAX);
    let (outcome, _) = tokio::join!(call, peer.echo());
    assert_eq!(outcome.unwrap(), json!([1]));
}

#[tokio::test(start_paused = true)]
async fn a_message_may_wait_for_room_for_ever() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 16;
    setup.settings.queue_max = 1;
    setup.settings.enqueue_timeout = Duration::MAX;
    let (line, mut peer) = setup.open();
    let calls = [1, 2].map(|number| spawn_call(&line, json!([number])));
    quiet().await;
    for call in calls {
        let request = timeout(HOUR, peer.echo()).await.unwrap();
        assert_eq!(call.await.unwrap().unwrap(), request["params"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_may_leave_its_input_unread_for_ever() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 16;
    setup.settings.write_timeout = Duration::MAX;
    let (line, mut peer) = setup.open();
    let call = spawn_call(&line, json!([1]));
    quiet().await;
    timeout(HOUR, peer.echo()).await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), json!([1]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_sent_is_an_error_to_who_asked() {
    let mut setup = Setup::plain();
    setup.settings.frame_bytes_max = 1024;
    setup.handler = Some(Arc::new(|request| {
        Box::pin(async move {
            let answer = match request.method.as_str() {
                "lines" => "[\n]".to_owned(),
                _ => format!("\"{}\"", "x".repeat(1024)),
            };
            let internal = |error: serde_json::Error| ErrorObject::new(0, error.to_string());
            RawValue::from_string(answer).map_err(internal)
        })
    }));
    let (_line, mut peer) = setup.open();
    for (method, error) in [("lines", Value::Null), ("length", json!(-32603))] {
        peer.say(format!(
            r#"{{"jsonrpc":"2.0","id":"asked","method":"{method}"}}"#
        ))
        .await;
        let answer = timeout(HOUR, peer.message()).await.expect("it is answered");
        assert_eq!(answer["id"], "asked");
        assert_eq!(answer["error"]["code"], error);
    }
}

#[tokio::test(start_paused = true)]
async fn progress_of_a_batch_is_heard_too() {
    let (line, mut peer) = Setup::mcp().open();
    let (progress, mut notifications) = Progress::channel(4);
    let one = |id| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":{{"_meta":{{"progressToken":"t{id}"}}}}}}"#
        )
    };
    let batch = Bytes::from(format!("[{},{}]", one(1), one(2)));
    let client = line.client.clone();
    let forwarded =
        tokio::task::spawn(async move { client.forward(batch).progress(progress).await });
    for _ in 0..2 {
        let request = peer.message().await;
        let token = &request["params"]["_meta"]["progressToken"];
        peer.say(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token}}}}}"#
        ))
        .await;
        peer.reply(&request["id"], 0).await;
    }
    forwarded.await.unwrap().unwrap();
    for token in ["t1", "t2"] {
        let Some(notice) = notifications.recv().await else {
            panic!("both have made progress")
        };
        assert_eq!(notice.params::<Value>().unwrap()["progressToken"], token);
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_of_a_client_leaves_as_it_is() {
    for params in [
        r#""params":{"_meta":{"progressToken":12345},"_meta":{"progressToken":12345}}"#,
        r#""params":{"_meta":{"progressToken":12345},"_meta":{}}"#,
        r#""params":{"_meta":{"progressToken":12345}},"params":{}"#,
    ] {
        let (line, mut peer) = Setup::mcp().open();
        let frame = Bytes::from(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m",{params}}}"#
        ));
        let client = line.client.clone();
        let forwarded = tokio::task::spawn(async move { client.forward(frame).await });
        quiet().await;
        if !forwarded.is_finished() {
            let request = peer.line().await.unwrap();
            assert!(!request.contains("12345"), "{request}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_is_kept_keeps_no_more_than_itself() {
    let (line, mut peer) = Setup::plain().open();
    let mut notifications = line.client.link.subscribe();
    peer.say(r#"{"jsonrpc":"2.0","method":"small"}"#).await;
    let Some(notice) = notifications.recv().await else {
        panic!("it was said")
    };
    let kept = notice.message.clone();
    drop(notice);
    quiet().await;
    assert!(kept.is_unique(), "its buffer is used for reading as well");
}

#[tokio::test(start_paused = true)]
async fn who_listens_learns_that_no_more_can_come() {
    let (line, mut peer) = Setup::plain().open();
    let mut notifications = line.client.link.subscribe();
    peer.say(r#"{"jsonrpc":"2.0","method":"last"}"#).await;
    drop(peer);
    let last = timeout(HOUR, notifications.recv()).await.unwrap();
    assert!(last.is_some(), "it was said");
    let end = timeout(HOUR, notifications.recv()).await;
    assert!(matches!(end, Ok(None)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_cannot_cancel_the_call_of_another() {
    for protocol in [Protocol::Mcp, Protocol::Lsp, Protocol::Plain] {
        let (line, mut peer) = Setup::new(protocol).open();
        let call = spawn_call(&line, json!([1]));
        let request = peer.message().await;
        let id = &request["id"];
        let cancel = match protocol {
            Protocol::Lsp => format!(r#""$/cancelRequest","params":{{"id":{id}}}"#),
            Protocol::Plain => {
                format!(r#""window/workDoneProgress/cancel","params":{{"token":{id}}}"#)
            }
            _ => format!(r#""notifications/cancelled","params":{{"requestId":{id}}}"#),
        };
        let frame = format!(r#"{{"jsonrpc":"2.0","method":{cancel}}}"#);
        let error = line.client.forward(frame).await;
        assert!(
            matches!(error, Err(RpcError::BadRequest { .. })),
            "{error:?}"
        );
        line.client.notify("after", &()).await.unwrap();
        assert_eq!(peer.message().await["method"], "after");
        peer.reply(id, 1).await;
        assert_eq!(call.await.unwrap().unwrap(), 1);
    }
}

/// Finds out, when it is woken, whether the link can be used meanwhile.
struct Prober {
    link: Arc<Link>,
    probe: fn(&Link),
    is_locked: AtomicBool,
}

impl Wake for Prober {
    fn wake(self: Arc<Self>) {
        let (done, waiting) = mpsc::channel();
        let prober = Arc::clone(&self);
        std::thread::spawn(move || {
            (prober.probe)(&prober.link);
            done.send(()).unwrap_or_default();
        });
        let is_locked = waiting.recv_timeout(Duration::from_secs(10)).is_err();
        self.is_locked.fetch_or(is_locked, Ordering::Relaxed);
    }
}

fn prober(line: &OurEnd, probe: fn(&Link)) -> Arc<Prober> {
    Arc::new(Prober {
        link: Arc::clone(&line.client.link),
        probe,
        is_locked: AtomicBool::new(false),
    })
}

#[tokio::test]
async fn who_waits_for_room_is_woken_outside_of_all_locks() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 16;
    setup.settings.queue_max = 1;
    let (line, mut peer) = setup.open();
    let first = spawn_call(&line, json!([1]));
    while line.client.link.free_places() > 0 {
        tokio::task::yield_now().await;
    }
    let prober = prober(&line, |link| assert!(link.written_total() > 0));
    let client = line.client.clone();
    let mut second = Box::pin(async move { client.notify("second", &()).await });
    let waker = Waker::from(Arc::clone(&prober));
    assert!(
        second
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    peer.echo().await;
    first.await.unwrap().unwrap();
    assert!(!prober.is_locked.load(Ordering::Relaxed));
    second.await.unwrap();
}

#[tokio::test]
async fn who_waits_for_progress_is_woken_outside_of_all_locks() {
    let (line, mut peer) = Setup::mcp().open();
    let (progress, mut notifications) = Progress::channel(1);
    let prober = prober(&line, |link| assert!(link.state().status().pending < 2));
    let mut end = Box::pin(async move { notifications.recv().await.is_none() });
    let waker = Waker::from(Arc::clone(&prober));
    assert!(
        end.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let call = line.client.call::<Value>("m", &()).progress(progress);
    let (outcome, _) = tokio::join!(call, async {
        let id = peer.message().await["id"].clone();
        peer.reply(&id, 1).await;
    });
    outcome.unwrap();
    assert!(end.await);
    assert!(!prober.is_locked.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn no_more_answers_are_kept_than_is_said() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 64;
    let (line, mut peer) = setup.open();
    for _ in 0..3000 {
        peer.say(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#).await;
    }
    quiet().await;
    let kept = 3000 - line.client.link.state().status().unsent;
    assert!(kept <= 1024 + 1, "{kept} answers are kept");
}

#[tokio::test(start_paused = true)]
async fn a_reply_may_say_that_it_has_no_method() {
    let (line, mut peer) = Setup::plain().open();
    let call = spawn_call(&line, Value::Null);
    let id = peer.message().await["id"].clone();
    peer.say(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":null,"params":null,"result":1,"error":null}}"#
    ))
    .await;
    let outcome = timeout(HOUR, call).await.expect("it is answered");
    assert_eq!(outcome.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_kept_keeps_no_more_than_its_reply() {
    let (line, mut peer) = Setup::plain().open();
    let call = line.client.call::<bool>("m", &());
    let (outcome, _) = tokio::join!(call, async {
        let id = peer.message().await["id"].clone();
        peer.reply(&id, 3).await;
    });
    let Err(RpcError::BadResult { reply, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reply.is_unique(), "its buffer is used for reading as well");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_null_asks_for_nothing() {
    for (protocol, params) in [
        (
            Protocol::Lsp,
            json!({"workDoneToken": null, "partialResultToken": null}),
        ),
        (Protocol::Mcp, json!({"_meta": {"progressToken": null}})),
    ] {
        let mut setup = Setup::new(protocol);
        setup.settings.framing = Framing::Lines;
        let (line, mut peer) = setup.open();
        let call = spawn_call(&line, params.clone());
        assert_eq!(peer.echo().await["params"], params);
        assert_eq!(call.await.unwrap().unwrap(), params);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_a_result_ends_its_call() {
    let (line, mut peer) = Setup::plain().open();
    let call = spawn_call(&line, Value::Null);
    let id = peer.message().await["id"].clone();
    peer.say(format!(r#"{{"jsonrpc":"2.0","id":{id}}}"#)).await;
    let outcome = timeout(HOUR, call).await.expect("it is answered");
    let error = outcome.unwrap().unwrap_err();
    assert!(matches!(error, RpcError::BadResult { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_in_disguise_is_refused_too() {
    let (line, mut peer) = Setup::mcp().open();
    let call = spawn_call(&line, json!([1]));
    let request = peer.message().await;
    let id = &request["id"];
    for disguise in [
        // Parsers differ in which of two members they take.
        r#""method":"notifications/cancelled","method":"m""#,
        // A reader that looks at the method alone takes it for a cancel notification.
        r#""id":1,"method":"notifications/cancelled""#,
        r#""id":null,"method":"$/cancelRequest""#,
    ] {
        let frame = format!(r#"{{"jsonrpc":"2.0",{disguise},"params":{{"requestId":{id}}}}}"#);
        let limit = HOUR;
        let error = line.client.forward(frame).within(limit).await;
        assert!(
            matches!(error, Err(RpcError::BadRequest { .. })),
            "{disguise}: {error:?}"
        );
    }
    peer.reply(id, 1).await;
    assert_eq!(call.await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_cannot_name_a_call_to_who_ignores_case() {
    for params in [
        r#""params":{"_meta":{"progressToken":1}},"Params":{"_meta":{"progressToken":12345}}"#,
        r#""ID":12345"#,
        r#""\u0049d":12345"#,
        r#""Method":"notifications/cancelled","params":{"requestId":12345}"#,
        r#""params":{"_Meta":{"progressToken":12345}}"#,
        r#""params":{"_meta":{"ProgressToken":12345}}"#,
        r#""paramſ":{"_meta":{"progressToken":12345}}"#,
        r#""param\u017f":{"_meta":{"progressToken":12345}}"#,
        r#""ıd":12345"#,
        r#""İd":12345"#,
        r#""params":{"_meta":{"progreſsToKen":12345}}"#,
        r#""params":{"_meta":{"progress\u0054o\u212aen":12345}}"#,
    ] {
        let (line, mut peer) = Setup::mcp().open();
        let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m",{params}}}"#);
        let client = line.client.clone();
        let forwarded = tokio::task::spawn(async move { client.forward(frame).await });
        quiet().await;
        if !forwarded.is_finished() {
            let request = peer.line().await.unwrap();
            assert!(!request.contains("12345"), "{request}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_the_peer_that_is_kept_keeps_no_more_than_itself() {
    let (kept, requests) = mpsc::channel();
    let mut setup = Setup::plain();
    setup.handler = Some(Arc::new(move |request| {
        kept.send(request.message.clone()).unwrap();
        Box::pin(async { Err(ErrorObject::new(0, "not here")) })
    }));
    let (_line, mut peer) = setup.open();
    peer.say(r#"{"jsonrpc":"2.0","id":1,"method":"small"}"#)
        .await;
    peer.message().await;
    let kept = requests.recv().unwrap();
    assert!(kept.is_unique(), "its buffer is used for reading as well");
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_which_there_is_no_way_is_counted() {
    let mut setup = Setup::plain();
    setup.settings.frame_bytes_max = 64;
    let (line, mut peer) = setup.open();
    peer.say(r#"{"jsonrpc":"2.0","id":"asked","method":"m"}"#)
        .await;
    quiet().await;
    assert_eq!(line.client.link.state().status().unsent, 1);
}
