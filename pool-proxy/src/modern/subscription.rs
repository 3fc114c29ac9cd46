//! The stream of a client that wants to be told of changes.
//!
//! Of lists it is acknowledged here, and holds no child: children tell the proxy anyway. Of resources it is
//! acknowledged when a child has agreed, and holds one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::asker::Asker;
use crate::backend::{Hello, KeyState, SUBSCRIPTIONS_MAX, Subscriber};
use crate::delivery::COMMENT_INTERVAL;
use crate::request_log::RequestLog;
use crate::wire::{Answer, COMMENT, ClientMessage, event, result_object, sse};

/// Answers `subscriptions/listen`.
pub(super) async fn listen(
    asker: &Asker<'_>,
    key: &Arc<KeyState>,
    message: &ClientMessage,
    log: RequestLog,
) -> Answer {
    let wanted = wanted(&message.params);
    let (agreed, news) = (
        agreed(&wanted, key.promise.hello().as_deref()),
        key.promise.news(),
    );
    let id = message.id.clone().unwrap_or_default();
    let mut acknowledged: Map<String, Value> = agreed
        .iter()
        .map(|kind| ((*kind).to_owned(), Value::Bool(true)))
        .collect();
    let subscriber = key.subscriber(&asker.principal);
    let limit = asker.server.settings.request_timeout;
    let subscribed = subscribe(key, &subscriber, &wanted, limit).await;
    if !subscribed.is_empty() {
        acknowledged.insert(RESOURCES.to_owned(), subscribed.into());
    }
    let mut params = Map::new();
    params.insert("notifications".to_owned(), acknowledged.into());
    let method = "notifications/subscriptions/acknowledged";
    let first = event(&tagged(method, params, &id));
    let subscription = Subscription {
        news,
        agreed,
        subscriber,
        id,
        stop: asker.app.stop.clone(),
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

/// Subscribes to the resources that are wanted, all at once. What a child refuses is left out, as is what no
/// child can be asked for.
async fn subscribe(
    key: &Arc<KeyState>,
    subscriber: &Subscriber,
    wanted: &Map<String, Value>,
    limit: Duration,
) -> Vec<Value> {
    let uris = wanted.get(RESOURCES).and_then(Value::as_array);
    let uris = uris.into_iter().flatten().filter_map(Value::as_str);
    // More than these are refused. A message has room for a million that are.
    let uris: BTreeSet<&str> = uris.take(SUBSCRIPTIONS_MAX).collect();
    let asked = uris.into_iter().map(|uri| async move {
        let subscribed = key.subscribe(subscriber, uri, limit).await;
        subscribed.is_ok().then(|| Value::from(uri))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

struct Subscription {
    news: broadcast::Receiver<Bytes>,
    agreed: Vec<&'static str>,
    subscriber: Subscriber,
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
            let message = tokio::select! {
                uri = self.subscriber.next() => {
                    let params = Map::from_iter([("uri".to_owned(), Value::from(&*uri))]);
                    return Some(tagged("notifications/resources/updated", params, &self.id));
                }
                message = self.news.recv() => message,
            };
            match message {
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

/// What the client wants to be told of.
fn wanted(params: &[u8]) -> Map<String, Value> {
    #[derive(Default, Deserialize)]
    struct Params {
        #[serde(default)]
        notifications: Map<String, Value>,
    }
    let params: Params = serde_json::from_slice(params).unwrap_or_default();
    params.notifications
}

/// Which kinds of lists are wanted, less those of which the children say that they do not tell.
fn agreed(wanted: &Map<String, Value>, hello: Option<&Hello>) -> Vec<&'static str> {
    #[derive(Deserialize)]
    struct Said {
        capabilities: Value,
    }
    let said = hello.and_then(|hello| serde_json::from_str::<Said>(hello.result.get()).ok());
    let is_told = |list: &str| {
        let said = said.as_ref();
        said.is_none_or(|said| said.capabilities[list]["listChanged"] == true)
    };
    let kinds = KINDS.iter().map(|(kind, _)| *kind);
    kinds
        .filter(|kind| wanted.get(*kind) == Some(&Value::Bool(true)))
        .filter(|kind| kind.strip_suffix("ListChanged").is_some_and(is_told))
        .collect()
}

fn tagged(method: &str, mut params: Map<String, Value>, id: &[u8]) -> Bytes {
    let meta = match params.remove("_meta") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    let meta = with_member(&meta, SUBSCRIPTION_ID, id);
    let params = with_member(&params, "_meta", meta.as_bytes());
    let method = Value::from(method);
    format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{params}}}"#).into()
}

fn closing(id: &[u8]) -> Bytes {
    let meta = with_member(&Map::new(), SUBSCRIPTION_ID, id);
    let result = format!(r#"{{"resultType":"complete","_meta":{meta}}}"#);
    result_object(id, &result)
}

/// The object with a member more, whose value stays as it is written: an id is not read as a number.
fn with_member(object: &Map<String, Value>, name: &str, value: &[u8]) -> String {
    let mut members: BTreeMap<&str, Cow<'_, str>> = object
        .iter()
        .map(|(name, value)| (&**name, value.to_string().into()))
        .collect();
    members.insert(name, String::from_utf8_lossy(value));
    let written: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", Value::from(*name)))
        .collect();
    format!("{{{}}}", written.join(","))
}

/// Its value is a list of URIs.
const RESOURCES: &str = "resourceSubscriptions";
const KINDS: [(&str, &str); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed"),
    ("promptsListChanged", "notifications/prompts/list_changed"),
    (
        "resourcesListChanged",
        "notifications/resources/list_changed",
    ),
];
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_of_a_subscription_has_its_id_as_the_client_wrote_it() {
        let id = b"123456789012345678901234567890";
        let params = json!({ "uri": "a:b", "_meta": { "x": 1 } });
        let params = params.as_object().unwrap().clone();
        let said = tagged("notifications/x", params, id);
        let expected = r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":123456789012345678901234567890,"x":1},"uri":"a:b"}}"#;
        assert_eq!(said, expected);
        let closed = closing(id);
        let expected = r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":123456789012345678901234567890}}}"#;
        assert_eq!(closed, expected);
    }
}
