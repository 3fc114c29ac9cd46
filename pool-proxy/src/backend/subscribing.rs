//! What one child is told of the subscriptions of its key.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use pool_stdio::{ChildCaller, RpcError};
use serde::de::IgnoredAny;
use serde_json::json;

use super::subscriptions::Subscriptions;

/// Subscribes a child to what is wanted, and ends what is wanted no longer. Never resolves.
pub(super) async fn subscribe(
    child: &ChildCaller,
    subscriptions: &Subscriptions,
    limit: Duration,
) -> Infallible {
    let mut subscribed = HashSet::<Arc<str>>::new();
    let mut changes = subscriptions.changes();
    loop {
        changes.mark_unchanged();
        let wanted = subscriptions.wanted();
        let ended = subscribed.extract_if(|uri| !wanted.contains_key(uri));
        for uri in ended.collect::<Vec<_>>() {
            let ask = child.call::<IgnoredAny>("resources/unsubscribe", &json!({ "uri": &*uri }));
            if let Err(error) = ask.within(limit).await {
                tracing::debug!(%error, "a child did not end a subscription");
            }
        }
        for (uri, number) in wanted {
            let answer = match subscribed.contains(&uri) {
                true => Ok(()),
                false => {
                    let ask =
                        child.call::<IgnoredAny>("resources/subscribe", &json!({ "uri": &*uri }));
                    match ask.within(limit).await {
                        Ok(_) => Ok(()),
                        Err(RpcError::Refused(error)) => Err(error),
                        // Another child may answer.
                        Err(_) => continue,
                    }
                }
            };
            if answer.is_ok() {
                subscribed.insert(Arc::clone(&uri));
            }
            subscriptions.answered(&uri, number, answer);
        }
        // Fails only without a sender, which is in the subscriptions.
        drop(changes.changed().await);
    }
}
