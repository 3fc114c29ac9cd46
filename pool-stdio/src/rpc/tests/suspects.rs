//! When a child is suspected to hang, cleared, and ended. On a paused clock.

use std::sync::mpsc;
use std::time::Duration;

use pool_core::SuspicionSink;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{OurEnd, Setup, quiet};
use crate::rpc::caller::ChildCaller;
use crate::rpc::error::RpcError;

const SECOND: Duration = Duration::from_secs(1);

/// A call with a limit, as a task.
fn call(line: &OurEnd, limit: Duration) -> JoinHandle<Result<Value, RpcError>> {
    let client = line.client.clone();
    tokio::task::spawn(async move { client.call("m", &[0]).within(limit).await })
}

fn is_suspected(line: &OurEnd) -> bool {
    line.client.link.state().is_suspected()
}

/// Calls once each period with a limit of a second, from a child that says nothing. Returns when the
/// child was ended.
async fn ended_at_one_call_each(period: Duration) -> Duration {
    let (line, _peer) = Setup::mcp().open();
    let begun = Instant::now();
    loop {
        let next = Instant::now() + period;
        match call(&line, SECOND).await.unwrap() {
            Err(RpcError::Timeout { .. }) => {}
            Err(RpcError::Hung { silent_for, .. }) => {
                assert!(silent_for >= 5 * SECOND);
                return begun.elapsed();
            }
            other => panic!("{other:?}"),
        }
        while Instant::now() < next {
            if !line.client.link.state().is_open() {
                return begun.elapsed();
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_hangs_is_ended_six_seconds_later_however_few_calls_there_are() {
    for seconds in [1, 2, 20] {
        let ended = ended_at_one_call_each(seconds * SECOND).await;
        assert!(
            (6 * SECOND..=7 * SECOND).contains(&ended),
            "at one call each {seconds} s: {ended:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_works_for_a_minute_is_never_ended() {
    let (line, mut peer) = Setup::mcp().open();
    let work = call(&line, 120 * SECOND);
    let request = peer.message().await;
    let mut impatient = Vec::new();
    for _ in 0..30 {
        impatient.push(call(&line, 2 * SECOND).await.unwrap());
    }
    assert!(is_suspected(&line));
    assert!(line.client.link.state().is_open());
    peer.reply(&request["id"], "done").await;
    assert_eq!(work.await.unwrap().unwrap(), "done");
    quiet().await;
    assert!(!is_suspected(&line), "it has said something");
    for outcome in impatient {
        assert!(matches!(outcome, Err(RpcError::Timeout { .. })));
    }
    sleep(60 * SECOND).await;
    assert!(line.client.link.state().is_open());
}

#[tokio::test(start_paused = true)]
async fn a_child_is_ended_at_the_last_deadline_of_the_calls_before_the_suspicion() {
    let (line, _peer) = Setup::mcp().open();
    let begun = Instant::now();
    let long = call(&line, 30 * SECOND);
    call(&line, SECOND).await.unwrap().unwrap_err();
    assert!(is_suspected(&line));
    // A call that begins now is no excuse.
    let later = call(&line, 120 * SECOND);
    let error = later.await.unwrap().unwrap_err();
    assert!(matches!(error, RpcError::Hung { .. }), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 30);
    let error = long.await.unwrap().unwrap_err();
    assert!(matches!(
        error,
        RpcError::Timeout { .. } | RpcError::Hung { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_suspect_is_pinged_once_and_anything_it_says_clears_it() {
    for answer in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message"}"#,
        "a line of the log",
    ] {
        let (line, mut peer) = Setup::mcp().open();
        let (told, heard) = mpsc::channel();
        let sink = SuspicionSink::new(move |is_suspected| told.send(is_suspected).unwrap());
        line.client.link.watch_suspicion(sink);
        let hasty = call(&line, SECOND);
        let request = peer.message().await;
        hasty.await.unwrap().unwrap_err();
        assert!(is_suspected(&line) && heard.recv().unwrap());
        assert_eq!(
            peer.message().await["params"]["requestId"],
            request["id"],
            "it is told to cancel"
        );
        assert_eq!(peer.message().await["method"], "ping");
        peer.say(answer).await;
        quiet().await;
        assert!(!is_suspected(&line) && !heard.recv().unwrap(), "{answer}");
        sleep(60 * SECOND).await;
        assert!(line.client.link.state().is_open());
        let counts = line.client.link.state().status();
        assert_eq!((counts.late, counts.duplicate), (0, 0), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_cancel_nor_a_deadline_after_a_word_is_evidence() {
    let (line, mut peer) = Setup::mcp().open();
    let dropped = call(&line, 60 * SECOND);
    peer.message().await;
    dropped.abort();
    sleep(60 * SECOND).await;
    assert!(!is_suspected(&line));

    let hasty = call(&line, 2 * SECOND);
    sleep(SECOND).await;
    peer.say("a line of the log").await;
    hasty.await.unwrap().unwrap_err();
    assert!(!is_suspected(&line), "it has said something since");

    // A call that never left is the writer's affair.
    let mut setup = Setup::plain();
    setup.pipe_bytes = 16;
    let (line, _peer) = setup.open();
    let first = call(&line, 60 * SECOND);
    quiet().await;
    let error = call(&line, SECOND).await.unwrap().unwrap_err();
    assert!(error.is_retry_safe(), "{error}");
    assert!(!is_suspected(&line));
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn a_protocol_without_a_ping_sends_none() {
    let (line, mut peer) = Setup::plain().open();
    let begun = Instant::now();
    call(&line, SECOND).await.unwrap().unwrap_err();
    assert_eq!(peer.message().await["method"], "m");
    assert_eq!(peer.line().await, None, "then it was ended");
    assert_eq!(begun.elapsed().as_secs(), 6);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_limit_excuses_a_suspect_for_ever() {
    let (line, mut peer) = Setup::mcp().open();
    let client = line.client.clone();
    let patient = tokio::task::spawn(async move { client.call::<Value>("m", &()).await });
    let request = peer.message().await;
    call(&line, SECOND).await.unwrap().unwrap_err();
    sleep(3600 * SECOND).await;
    assert!(is_suspected(&line) && line.client.link.state().is_open());
    peer.reply(&request["id"], json!(1)).await;
    assert_eq!(patient.await.unwrap().unwrap(), json!(1));
}

#[tokio::test(start_paused = true)]
async fn an_open_subscription_excuses_no_silent_child_and_is_no_work() {
    let (line, mut peer) = Setup::mcp().open();
    let client = line.client.clone();
    let open =
        tokio::task::spawn(async move { client.call::<Value>("subscriptions/listen", &()).await });
    peer.message().await;
    sleep(60 * SECOND).await;
    assert!(line.client.link.state().is_open() && !is_suspected(&line));
    let begun = Instant::now();
    call(&line, SECOND).await.unwrap().unwrap_err();
    let ended = timeout(60 * SECOND, open).await.expect("it is excused");
    let error = ended.unwrap().unwrap_err();
    assert!(matches!(error, RpcError::Hung { .. }), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_is_pinged_as_whoever_began_it_has_said() {
    let (line, mut peer) = Setup::mcp().open();
    let caller = ChildCaller::new(line.client.clone());
    let params = json!({ "_meta": { "x": 1 } });
    caller.ping_with("server/discover", &params).unwrap();
    let hasty = call(&line, SECOND);
    peer.message().await;
    hasty.await.unwrap().unwrap_err();
    peer.message().await;
    let ping = peer.message().await;
    assert_eq!(
        (&ping["method"], &ping["params"]),
        (&json!("server/discover"), &params)
    );
    peer.say(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"any"}}"#)
        .await;
    quiet().await;
    assert!(!is_suspected(&line));
}
