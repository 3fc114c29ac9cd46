//! The stream of a client that wants to be told of changes.
//!
//! Of lists it is acknowledged here, and holds no child: children tell the proxy anyway.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backend::KeyState;
use crate::delivery::COMMENT_INTERVAL;
use crate::request_log::RequestLog;
use crate::wire::{Answer, COMMENT, ClientMessage, event, sse};

/// Answers `subscriptions/listen`.
pub(super) fn listen(
    key: &Arc<KeyState>,
    message: &ClientMessage,
    stop: &CancellationToken,
    log: RequestLog,
) -> Answer {
    let agreed = agreed(&message.params);
    let id = message.id.clone().unwrap_or_default();
    let mut params = Map::new();
    params.insert(
        "notifications".to_owned(),
        agreed
            .iter()
            .map(|kind| ((*kind).to_owned(), Value::Bool(true)))
            .collect(),
    );
    let first = event(&tagged(
        "notifications/subscriptions/acknowledged",
        params,
        &id,
    ));
    let subscription = Subscription {
        news: key.promise.news(),
        agreed,
        id,
        stop: stop.clone(),
        is_over: false,
        log,
    };
    sse(unfold(
        (Some(first), subscription),
        |(first, mut subscription)| async {
            let bytes = match first {
                Some(first) => first,
                None => subscription.next().await?,
            };
            Some((bytes, (None, subscription)))
        },
    ))
}

struct Subscription {
    news: broadcast::Receiver<Bytes>,
    agreed: Vec<&'static str>,
    id: Bytes,
    stop: CancellationToken,
    is_over: bool,
    log: RequestLog,
}

impl Subscription {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.is_over = true;
                self.log.set_outcome("ok");
                Some(event(&closing(&self.id)))
            }
            message = self.message() => message.map(|message| event(&message)),
            () = sleep(COMMENT_INTERVAL) => Some(COMMENT),
        }
    }

    async fn message(&mut self) -> Option<Bytes> {
        loop {
            match self.news.recv().await {
                Ok(message) => {
                    if let Some(tagged) = self.wanted(&message) {
                        return Some(tagged);
                    }
                }
                // A later one says the same.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The message with the id of the subscription, if its client has asked for such.
    fn wanted(&self, message: &[u8]) -> Option<Bytes> {
        #[derive(Deserialize)]
        struct Change {
            method: String,
            #[serde(default)]
            params: Map<String, Value>,
        }
        let change: Change = serde_json::from_slice(message).ok()?;
        let (kind, _) = KINDS.iter().find(|(_, method)| *method == change.method)?;
        self.agreed
            .contains(kind)
            .then(|| tagged(&change.method, change.params, &self.id))
    }
}

/// Which of the wanted kinds can be told of.
fn agreed(params: &[u8]) -> Vec<&'static str> {
    #[derive(Default, Deserialize)]
    struct Params {
        #[serde(default)]
        notifications: Map<String, Value>,
    }
    let params: Params = serde_json::from_slice(params).unwrap_or_default();
    let is_wanted = |kind: &&str| params.notifications.get(*kind) == Some(&Value::Bool(true));
    KINDS
        .iter()
        .map(|(kind, _)| *kind)
        .filter(is_wanted)
        .collect()
}

fn tagged(method: &str, mut params: Map<String, Value>, id: &[u8]) -> Bytes {
    let id: Option<&RawValue> = serde_json::from_slice(id).ok();
    let meta = params.entry("_meta").or_insert_with(|| json!({}));
    if let Some(meta) = meta.as_object_mut() {
        meta.insert(SUBSCRIPTION_ID.to_owned(), json!(id));
    }
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
        .to_string()
        .into()
}

fn closing(id: &[u8]) -> Bytes {
    let id: Option<&RawValue> = serde_json::from_slice(id).ok();
    let result = json!({ "resultType": "complete", "_meta": { SUBSCRIPTION_ID: id } });
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
        .to_string()
        .into()
}

const KINDS: [(&str, &str); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed"),
    ("promptsListChanged", "notifications/prompts/list_changed"),
    (
        "resourcesListChanged",
        "notifications/resources/list_changed",
    ),
];
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
