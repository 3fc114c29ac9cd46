//! What one child is told of the subscriptions of its key.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pool_stdio::{ChildCaller, RpcError};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::sleep;

use super::subscriptions::Subscriptions;

/// What a child knows of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It is being told.
    Asking,
    Subscribed,
    /// It refused this topic.
    Refused(u64),
}

/// What a child is to be told of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Subscribe(u64),
    Unsubscribe,
}

/// Subscribes a child to what is wanted, and ends what is wanted no longer. Never resolves. A resource that
/// takes long delays only itself, as long as there are fewer of them than [`CALLS_MAX`].
pub(super) async fn subscribe(
    child: &ChildCaller,
    subscriptions: &Subscriptions,
    limit: Duration,
) -> Infallible {
    let mut changes = subscriptions.changes();
    changes.mark_changed();
    let mut wanted = HashMap::new();
    let mut told = HashMap::<Arc<str>, Told>::new();
    let mut due = VecDeque::<Arc<str>>::new();
    let (mut calls, mut pauses) = (FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        while calls.len() < CALLS_MAX
            && let Some(uri) = due.pop_front()
        {
            let topic = wanted.get(&uri).copied();
            let known = told.get(&uri).copied();
            if let (Some(number), Some(Told::Subscribed)) = (topic, known) {
                subscriptions.answered(&uri, number, Ok(()));
            }
            if let Some(ask) = next_ask(topic, known) {
                told.insert(Arc::clone(&uri), Told::Asking);
                calls.push(call(child, uri, ask, limit));
            }
        }
        tokio::select! {
            biased;
            Some((uri, ask, answer)) = calls.next() => {
                match (ask, answer) {
                    (Ask::Subscribe(_), Ok(_)) => drop(told.insert(Arc::clone(&uri), Told::Subscribed)),
                    (Ask::Subscribe(number), Err(RpcError::Refused(error))) => {
                        subscriptions.answered(&uri, number, Err(error));
                        told.insert(Arc::clone(&uri), Told::Refused(number));
                    }
                    // Another child may answer. This one is asked again.
                    (Ask::Subscribe(_), Err(_)) => {
                        pauses.push(async move { sleep(PAUSE).await; uri });
                        continue;
                    }
                    (Ask::Unsubscribe, answer) => {
                        if let Err(error) = answer {
                            tracing::debug!(%error, "a child did not end a subscription");
                        }
                        told.remove(&uri);
                    }
                }
                due.push_back(uri);
            }
            Some(uri) = pauses.next() => {
                told.remove(&uri);
                due.push_back(uri);
            }
            // Fails only without a sender, which is in the subscriptions.
            Ok(()) = changes.changed() => {
                wanted = subscriptions.wanted();
                told.retain(|uri, told| wanted.contains_key(uri) || !matches!(told, Told::Refused(_)));
                due = wanted.keys().chain(told.keys()).map(Arc::clone).collect();
            }
        }
    }
}

/// `topic` is the number of the topic, if the resource is wanted.
fn next_ask(topic: Option<u64>, known: Option<Told>) -> Option<Ask> {
    match (topic, known) {
        (_, Some(Told::Asking))
        | (None, None | Some(Told::Refused(_)))
        | (Some(_), Some(Told::Subscribed)) => None,
        (None, Some(Told::Subscribed)) => Some(Ask::Unsubscribe),
        (Some(number), Some(Told::Refused(refused))) if number == refused => None,
        (Some(number), None | Some(Told::Refused(_))) => Some(Ask::Subscribe(number)),
    }
}

async fn call(
    child: &ChildCaller,
    uri: Arc<str>,
    ask: Ask,
    limit: Duration,
) -> (Arc<str>, Ask, Result<IgnoredAny, RpcError>) {
    let method = match ask {
        Ask::Subscribe(_) => "resources/subscribe",
        Ask::Unsubscribe => "resources/unsubscribe",
    };
    let params = json!({ "uri": &*uri });
    let answer = child.call::<IgnoredAny>(method, &params);
    let answer = answer.within(limit).await;
    (uri, ask, answer)
}

/// How many resources a child is asked for at a time.
const CALLS_MAX: usize = 64;
/// After a failure, before a child is asked for the same resource again.
const PAUSE: Duration = Duration::from_secs(10);
