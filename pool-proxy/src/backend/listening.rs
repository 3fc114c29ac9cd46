//! What a modern child is asked to tell of: the changes of its lists, and the resources that the clients of its
//! key have subscribed to.
//!
//! It is one `subscriptions/listen` for each child, which holds no child. When other resources are wanted,
//! another one takes its place: it is opened first, so that nothing is lost between the two.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pool_stdio::{Call, ChildCaller, ErrorObject, Notification, Notifications, Progress, RpcError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until};

use super::child_era::own_meta;
use super::key_state::KeyFacts;

/// A request that is open as long as the child tells.
struct Listening<'c> {
    request: Call<'c, IgnoredAny>,
    said: Notifications,
    /// With the number of the subscription of each.
    resources: HashMap<Arc<str>, u64>,
}

/// What comes of a request.
enum Event {
    Said(Notification),
    Over(RpcError),
}

/// Has a child tell of what is wanted, as long as it lives. Never resolves.
pub(super) async fn listen(
    child: &ChildCaller,
    said_of_itself: &RawValue,
    facts: &KeyFacts,
    limit: Duration,
) -> Infallible {
    let lists = lists_told(said_of_itself);
    let mut changes = facts.subscriptions.changes();
    let mut listener = ChildListener {
        child,
        facts,
        lists,
        open: None,
        next: None,
        is_outdated: true,
        due: Instant::now(),
    };
    loop {
        listener.ask_if_due(limit);
        let waits = listener.next.is_some() || listener.is_outdated;
        let (due, is_asking) = (listener.due, listener.next.is_some());
        let pause = pin!(sleep_until(due));
        tokio::select! {
            event = Listening::event(&mut listener.open) => listener.heard(event),
            event = Listening::event(&mut listener.next) => listener.answered(event),
            // Fails only without a sender, which is in the subscriptions.
            Ok(()) = changes.changed() => listener.is_outdated = true,
            () = pause, if waits => if is_asking {
                listener.next = None;
                listener.try_later();
            },
        }
    }
}

struct ChildListener<'c> {
    child: &'c ChildCaller,
    facts: &'c KeyFacts,
    lists: Map<String, Value>,
    open: Option<Listening<'c>>,
    /// Takes the place of the open one when the child has acknowledged it.
    next: Option<Listening<'c>>,
    /// Whether something else is wanted than was asked for last.
    is_outdated: bool,
    /// Until when the child may take to acknowledge, or when it is asked again.
    due: Instant,
}

impl ChildListener<'_> {
    fn ask_if_due(&mut self, limit: Duration) {
        if self.next.is_some() || !self.is_outdated || self.due > Instant::now() {
            return;
        }
        self.is_outdated = false;
        let resources = self.facts.subscriptions.wanted();
        let is_told = |open: &Listening<'_>| open.resources == resources;
        if self.open.as_ref().is_some_and(is_told) {
            return;
        }
        if resources.is_empty() && self.lists.is_empty() {
            self.open = None;
            return;
        }
        self.next = Some(Listening::ask(self.child, &self.lists, resources));
        self.due = Instant::now() + limit;
    }

    fn try_later(&mut self) {
        self.is_outdated = true;
        self.due = Instant::now() + PAUSE;
    }

    /// The open request has something to tell.
    fn heard(&mut self, event: Event) {
        match event {
            Event::Said(said) => self.pass_on(said),
            Event::Over(error) => {
                tracing::debug!(%error, "a child tells no more of changes");
                self.open = None;
                // A child that has ended changes nothing any more.
                if matches!(error, RpcError::ServerCancelled | RpcError::Refused(_)) {
                    self.facts.lists.missed();
                }
                self.try_later();
            }
        }
    }

    /// The request that was asked last has something to tell.
    fn answered(&mut self, event: Event) {
        match event {
            Event::Said(said) if said.method == ACKNOWLEDGED => {
                let Some(next) = self.next.take() else { return };
                next.tell_subscribers(&said, self.facts);
                self.due = Instant::now();
                // Order: the earlier request ends when this one tells.
                self.open = Some(next);
            }
            Event::Said(said) => self.pass_on(said),
            Event::Over(RpcError::Refused(error)) => {
                let Some(next) = self.next.take() else { return };
                for (uri, number) in &next.resources {
                    let answer = Err(error.clone());
                    self.facts.subscriptions.answered(uri, *number, answer);
                }
                self.due = Instant::now();
            }
            Event::Over(error) => {
                tracing::debug!(%error, "a child does not tell of changes");
                self.next = None;
                self.try_later();
            }
        }
    }

    fn pass_on(&self, said: Notification) {
        #[derive(Deserialize)]
        struct Updated {
            uri: String,
        }
        if said.missed > 0 {
            self.facts.lists.missed();
            self.facts.promise.missed();
            for uri in self.facts.subscriptions.wanted().keys() {
                self.facts.subscriptions.updated(uri);
            }
        }
        if said.method.ends_with("/list_changed") {
            // Order: a client that is told does not find the list of before.
            self.facts.lists.changed(&said.method);
            self.facts.promise.tell(&said.method, said.message);
        } else if said.method == UPDATED
            && let Ok(updated) = said.params::<Updated>()
        {
            self.facts.subscriptions.updated(&updated.uri);
        }
    }
}

impl<'c> Listening<'c> {
    fn ask(
        child: &'c ChildCaller,
        lists: &Map<String, Value>,
        resources: HashMap<Arc<str>, u64>,
    ) -> Self {
        let mut wanted = lists.clone();
        if !resources.is_empty() {
            let uris: Vec<&str> = resources.keys().map(|uri| &**uri).collect();
            wanted.insert(RESOURCES.to_owned(), uris.into());
        }
        let (progress, said) = Progress::channel(NOTES_KEPT);
        let params = json!({ "_meta": own_meta(), "notifications": wanted });
        Self {
            request: child
                .call("subscriptions/listen", &params)
                .progress(progress),
            said,
            resources,
        }
    }

    /// What comes next of a request; never, if there is none.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    async fn event(listening: &mut Option<Self>) -> Event {
        let Some(listening) = listening else {
            return std::future::pending().await;
        };
        tokio::select! {
            biased;
            Some(said) = listening.said.recv() => Event::Said(said),
            ended = &mut listening.request => Event::Over(match ended {
                Ok(IgnoredAny) => RpcError::ServerCancelled,
                Err(error) => error,
            }),
        }
    }

    /// Tells the subscribers what the child has agreed to.
    fn tell_subscribers(&self, acknowledged: &Notification, facts: &KeyFacts) {
        #[derive(Deserialize)]
        struct Acknowledged {
            notifications: Agreed,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Agreed {
            #[serde(default)]
            resource_subscriptions: Vec<String>,
        }
        let agreed = acknowledged.params::<Acknowledged>();
        let agreed = agreed.map(|said| said.notifications.resource_subscriptions);
        let agreed = agreed.unwrap_or_default();
        for (uri, number) in &self.resources {
            let is_agreed = agreed.iter().any(|agreed| **agreed == **uri);
            let refusal =
                || ErrorObject::new(INVALID_PARAMS, "the server tells nothing of this resource");
            let answer = is_agreed.then_some(()).ok_or_else(refusal);
            facts.subscriptions.answered(uri, *number, answer);
        }
    }
}

/// Of which of its lists a child tells when they change.
fn lists_told(said_of_itself: &RawValue) -> Map<String, Value> {
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        capabilities: Value,
    }
    let said = serde_json::from_str::<Said>(said_of_itself.get());
    let capabilities = said.map_or(Value::Null, |said| said.capabilities);
    let told = LISTS
        .iter()
        .filter(|(list, _)| capabilities[list]["listChanged"] == true);
    told.map(|(_, kind)| ((*kind).to_owned(), Value::Bool(true)))
        .collect()
}

const LISTS: [(&str, &str); 3] = [
    ("tools", "toolsListChanged"),
    ("prompts", "promptsListChanged"),
    ("resources", "resourcesListChanged"),
];
/// Its value is a list of URIs.
const RESOURCES: &str = "resourceSubscriptions";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const UPDATED: &str = "notifications/resources/updated";
const INVALID_PARAMS: i64 = -32602;
/// Until they are passed on, which takes no time.
const NOTES_KEPT: usize = 256;
/// After a failure, before a child is asked again.
const PAUSE: Duration = Duration::from_secs(10);
