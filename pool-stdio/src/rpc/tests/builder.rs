//! How a call is built: limits and progress together, stored futures, other threads.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Peer, Setup};
use crate::rpc::call::Call;
use crate::rpc::error::{Fate, RpcError};
use crate::rpc::notifications::Progress;

const SECOND: Duration = Duration::from_secs(1);

const fn is_send<T: Send + Unpin>(_: &T) {}

/// Keeps a call that somebody else awaits.
struct Holder<'a> {
    call: Call<'a, Value>,
    forward: Call<'a, Option<Bytes>>,
}

/// Sends progress for the next request, and never answers it.
async fn make_progress(peer: &mut Peer) {
    let request = peer.message().await;
    let token = &request["params"]["_meta"]["progressToken"];
    peer.say(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token}}}}}"#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_can_have_progress_and_a_limit() {
    let (line, mut peer) = Setup::mcp().open();
    let begun = Instant::now();
    let (progress, mut notifications) = Progress::channel(1);
    let params = json!({"_meta": {"progressToken": "mine"}});
    let call = line.client.call::<Value>("m", &params);
    let call = call.within(SECOND).progress(progress);
    let (outcome, ()) = tokio::join!(call, make_progress(&mut peer));
    let error = outcome.unwrap_err();
    assert!(matches!(error, RpcError::Timeout { limit: SECOND, .. }));
    assert_eq!(begun.elapsed(), SECOND);
    let said = notifications.recv().await.unwrap();
    assert_eq!(said.params::<Value>().unwrap()["progressToken"], "mine");
    assert!(notifications.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_message_can_have_progress_and_a_limit() {
    let (line, mut peer) = Setup::mcp().open();
    let (progress, mut notifications) = Progress::channel(1);
    let message = Bytes::from_static(
        br#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":"mine"}}}"#,
    );
    let forwarded = line.client.forward(message);
    let forwarded = forwarded.progress(progress).within(SECOND);
    let (outcome, ()) = tokio::join!(forwarded, make_progress(&mut peer));
    assert_eq!(outcome.unwrap_err().fate(), Fate::MaybeExecuted);
    let said = notifications.recv().await.unwrap();
    assert_eq!(said.params::<Value>().unwrap()["progressToken"], "mine");
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_stored_before_it_is_awaited() {
    let (line, mut peer) = Setup::plain().open();
    let message = r#"{"jsonrpc":"2.0","id":"x","method":"m","params":[2]}"#;
    let mut holder = Holder {
        call: line.client.call("m", &[1]).within(SECOND),
        forward: line.client.forward(message),
    };
    is_send(&holder.call);
    is_send(&holder.forward);
    // The limit counts from the first poll.
    tokio::time::advance(2 * SECOND).await;
    let (outcome, _) = tokio::join!(&mut holder.call, peer.echo());
    assert_eq!(outcome.unwrap(), json!([1]));
    let (outcome, _) = tokio::join!(&mut holder.forward, peer.echo());
    let reply = outcome.unwrap().unwrap();
    assert_eq!(reply, r#"{"jsonrpc":"2.0","id":"x","result":[2]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_awaited_sends_nothing() {
    let (line, mut peer) = Setup::mcp().open();
    drop(line.client.call::<Value>("first", &()));
    drop(line.client.forward(r#"{"method":"second"}"#));
    let (outcome, _) = tokio::join!(line.client.call::<Value>("third", &[3]), peer.echo());
    assert_eq!(outcome.unwrap(), json!([3]), "nothing else was sent");
}
