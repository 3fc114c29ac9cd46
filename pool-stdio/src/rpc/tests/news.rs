//! Progress of calls, and notifications to subscribers.

use serde_json::{Value, json};

use super::{Setup, end, quiet};
use crate::rpc::notifications::Progress;
use crate::rpc::protocol::Protocol;

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
