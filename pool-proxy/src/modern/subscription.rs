//! The stream of a client that wants to be told of changes.
//!
//! Of lists it is acknowledged here, and holds no child: children tell the proxy anyway. Of resources it is
//! acknowledged when a child has agreed, and holds one. The acknowledgement is the first message, by the protocol,
//! and there is one for all that is wanted: while it waits for a child, the stream has comments.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::asker::Asker;
use crate::backend::{Hello, KeyState, News, SUBSCRIPTIONS_MAX, Subscriber};
use crate::delivery::COMMENT_INTERVAL;
use crate::request_log::RequestLog;
use crate::wire::{Answer, COMMENT, ClientMessage, event, result_object, sse};

/// Answers `subscriptions/listen`.
pub(super) fn listen(
    asker: &Asker<'_>,
    key: &Arc<KeyState>,
    message: &ClientMessage,
    log: RequestLog,
) -> Answer {
    let wanted = wanted(&message.params);
    let subscriber = Arc::new(key.subscriber(&asker.principal));
    let limit = asker.server.settings.request_timeout;
    let asking = {
        let (key, subscriber, wanted) = (Arc::clone(key), Arc::clone(&subscriber), wanted.clone());
        async move { subscribe(&key, &subscriber, &wanted, limit).await }
    };
    let subscription = Subscription {
        stage: Stage::Asking(Box::pin(asking)),
        is_begun: false,
        news: key.promise.news(),
        agreed: Vec::new(),
        key: Arc::clone(key),
        wanted,
        subscriber,
        id: message.id.clone().unwrap_or_default(),
        stop: asker.app.stop.clone(),
        log,
    };
    sse(unfold(subscription, |mut subscription| async {
        let bytes = subscription.next().await?;
        Some((bytes, subscription))
    }))
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
    stage: Stage,
    /// Whether the client has got anything yet.
    is_begun: bool,
    news: News,
    /// The kinds of lists that it is told of.
    agreed: Vec<&'static str>,
    key: Arc<KeyState>,
    wanted: Map<String, Value>,
    subscriber: Arc<Subscriber>,
    id: Bytes,
    stop: CancellationToken,
    log: RequestLog,
}

enum Stage {
    /// Yields the resources that a child has agreed to. Nothing but comments is sent before the acknowledgement.
    Asking(Pin<Box<dyn Future<Output = Vec<Value>> + Send>>),
    Open,
    Over,
}

impl Subscription {
    async fn next(&mut self) -> Option<Bytes> {
        let stop = self.stop.clone();
        let is_begun = std::mem::replace(&mut self.is_begun, true);
        match &mut self.stage {
            Stage::Asking(asking) => {
                let silence = async {
                    // The first comment sends the head of the answer, so that the client knows that it is heard.
                    if is_begun {
                        sleep(COMMENT_INTERVAL).await;
                    }
                };
                let subscribed = tokio::select! {
                    biased;
                    subscribed = asking => subscribed,
                    () = stop.cancelled() => Vec::new(),
                    () = silence => return Some(COMMENT),
                };
                self.stage = Stage::Open;
                Some(self.acknowledgement(subscribed))
            }
            Stage::Open => tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.stage = Stage::Over;
                    self.log.set_outcome("ok");
                    Some(event(&closing(&self.id)))
                }
                message = self.message() => message.map(|message| event(&message)),
                () = sleep(COMMENT_INTERVAL) => Some(COMMENT),
            },
            Stage::Over => None,
        }
    }

    fn acknowledgement(&mut self, resources: Vec<Value>) -> Bytes {
        self.agreed = agreed(&self.wanted, self.key.promise.hello().as_deref());
        let lists = self.agreed.iter();
        let mut acknowledged: Map<String, Value> = lists
            .map(|kind| ((*kind).to_owned(), Value::Bool(true)))
            .collect();
        if !resources.is_empty() {
            acknowledged.insert(RESOURCES.to_owned(), resources.into());
        }
        let mut params = Map::new();
        params.insert("notifications".to_owned(), acknowledged.into());
        let method = "notifications/subscriptions/acknowledged";
        event(&tagged(method, params, &self.id))
    }

    async fn message(&mut self) -> Option<Bytes> {
        loop {
            let message = tokio::select! {
                uri = self.subscriber.next() => {
                    let params = Map::from_iter([("uri".to_owned(), Value::from(&*uri))]);
                    return Some(tagged("notifications/resources/updated", params, &self.id));
                }
                change = self.news.next() => change?,
            };
            if let Some(tagged) = self.wanted(&message) {
                return Some(tagged);
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
