//! Limits at their ends, and peers, handlers and clients who write what is allowed and unusual.

use serde_json::{Value, json};

use super::Setup;
use crate::rpc::notices::{Notice, Progress};

#[tokio::test(start_paused = true)]
async fn progress_is_known_from_a_peer_that_escapes_slashes() {
    let (line, mut peer) = Setup::mcp().open();
    let (progress, mut notices) = Progress::channel(1);
    let client = line.client.clone();
    let params = json!({"_meta": {"progressToken": "mine"}});
    let call = tokio::task::spawn(async move {
        client
            .call::<Value>("m", &params, Some(progress), None)
            .await
    });
    let request = peer.message().await;
    let token = &request["params"]["_meta"]["progressToken"];
    peer.say(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications\/progress","params":{{"progressToken":{token}}}}}"#
    ))
    .await;
    peer.reply(&request["id"], 1).await;
    call.await.unwrap().unwrap();
    let Some(Notice::Notification(notice)) = notices.recv().await else {
        panic!("it has made progress")
    };
    let params: Value = notice.params().unwrap();
    assert_eq!(params, json!({"progressToken": "mine"}));
}
