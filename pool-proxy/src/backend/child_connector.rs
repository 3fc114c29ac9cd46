//! What a child must do before it serves a key: say what the clients of the key were promised. And until when it
//! serves: as long as that promise holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector,
    SharedConnector, SuspicionSink, Vitals, async_trait,
};
use pool_stdio::{ChildCaller, JsonRpcConnection, JsonRpcConnector, Notifications};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::child_era::Era;
use super::key_state::KeyFacts;
use super::listening::listen;
use super::start_record::StartRecord;
use super::subscribing::subscribe;

/// Connects the children of one key.
pub(super) struct ChildConnector {
    /// Says the first messages to each child.
    pub(super) inner: Arc<JsonRpcConnector>,
    pub(super) facts: KeyFacts,
    /// For what a child is asked without a client.
    pub(super) limit: Duration,
    pub(super) server: Arc<str>,
    pub(super) starts: Arc<StartRecord>,
    pub(super) tasks: TaskTracker,
    /// Of which promise the living children are.
    pub(super) generations: Generations,
}

/// A child has said something of itself that is no object.
#[derive(Debug, Error)]
#[error("the child's result of `initialize` is not understood: {error} (pid {pid})")]
struct NoGreeting {
    pid: u32,
    error: serde_json::Error,
}

/// The generation of each living child, by its process id.
#[derive(Debug, Default)]
pub(super) struct Generations(Mutex<HashMap<u32, u64>>);

#[async_trait]
impl Connector for ChildConnector {
    type Connection = JsonRpcConnection;

    async fn connect(&self, cx: &ConnectContext) -> Result<JsonRpcConnection, ConnectError> {
        let child = self.inner.connect(cx).await?;
        let (news, caller) = (child.notifications(), child.caller());
        let said = child.initialize_result().map(ToOwned::to_owned);
        let said = said.unwrap_or_default();
        // Order: clients of a new promise do not find the lists of before.
        self.facts.lists.started(&said);
        let kept = self.facts.promise.keep(&said);
        let (generation, is_kept) = kept.map_err(|error| {
            let pid = child.process().pid();
            ConnectError::transient(NoGreeting { pid, error })
        })?;
        self.starts.succeeded();
        if !is_kept {
            tracing::warn!(
                server = &*self.server,
                pid = child.process().pid(),
                "a child has another version or other capabilities: its clients must initialize again"
            );
        }
        self.generations
            .lock()
            .insert(child.process().pid(), generation);
        let era = Era::of(&said);
        tracing::info!(
            server = &*self.server,
            pid = child.process().pid(),
            ?era,
            "child started"
        );
        let (facts, limit) = (self.facts.clone(), self.limit);
        self.tasks.spawn(attend(caller, news, said, facts, limit));
        Ok(child)
    }

    fn is_alive(&self, child: &JsonRpcConnection) -> bool {
        !self.is_outdated(child) && self.inner.is_alive(child)
    }

    fn is_clean(&self, child: &JsonRpcConnection) -> bool {
        self.inner.is_clean(child)
    }

    fn died(&self, child: &JsonRpcConnection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        self.inner.died(child)
    }

    fn vitals(&self, child: &JsonRpcConnection) -> Option<Arc<dyn Vitals>> {
        self.inner.vitals(child)
    }

    fn watch_suspicion(&self, child: &JsonRpcConnection, sink: SuspicionSink) {
        self.inner.watch_suspicion(child, sink);
    }

    async fn check(&self, child: &mut JsonRpcConnection) -> Result<(), CheckError> {
        self.check_shared(child).await
    }

    async fn close(&self, child: JsonRpcConnection, reason: CloseReason) {
        let pid = child.process().pid();
        self.generations.lock().remove(&pid);
        if let Some(result) = child.initialize_result() {
            self.facts.lists.ended(result);
        }
        self.inner.close(child, reason).await;
        tracing::info!(server = &*self.server, pid, %reason, "child ended");
    }
}

#[async_trait]
impl SharedConnector for ChildConnector {
    async fn check_shared(&self, child: &JsonRpcConnection) -> Result<(), CheckError> {
        let pings = &self.facts.pings;
        if pings.is_useless() && self.inner.is_alive(child) {
            return Ok(());
        }
        let begun = Instant::now();
        let outcome = self.inner.check_shared(child).await;
        let status = child.status();
        // Otherwise it said something else, or nothing.
        let has_answered = status.pending == 0 && status.silent_for < begun.elapsed();
        if pings.note(&outcome, has_answered) {
            tracing::warn!(
                server = &*self.server,
                "no child answers `ping`, though the protocol demands it: no further one is pinged"
            );
        }
        outcome
    }

    fn is_clean_shared(&self, child: &JsonRpcConnection) -> bool {
        self.inner.is_clean_shared(child)
    }
}

impl ChildConnector {
    /// Whether it is of an earlier promise. Such a child gets no further request, and closes when those in
    /// flight are done.
    fn is_outdated(&self, child: &JsonRpcConnection) -> bool {
        let latest = self.facts.promise.generation();
        // The first promise outdates nothing, and mostly is the only one.
        latest > 0 && self.generations.lock().get(&child.process().pid()) != Some(&latest)
    }
}

impl Generations {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the subscriptions of a child as long as it lives.
async fn attend(
    child: ChildCaller,
    mut news: Notifications,
    said: Box<RawValue>,
    facts: KeyFacts,
    limit: Duration,
) {
    match Era::of(&said) {
        Era::Legacy => tokio::select! {
            () = pass_on(news, &facts) => {}
            never = subscribe(&child, &facts.subscriptions, limit) => match never {},
        },
        // What such a child says belongs to a request, and comes with that.
        Era::Modern => tokio::select! {
            () = async { while news.recv().await.is_some() {} } => {}
            never = listen(&child, &said, &facts, limit), if facts.promise.lasts() => match never {},
        },
    }
}

/// Of what a shared child says to nobody in particular, changes of lists concern all clients, and updates of
/// resources those who have subscribed. Nobody can tell whom its other messages concern.
async fn pass_on(mut news: Notifications, facts: &KeyFacts) {
    #[derive(Deserialize)]
    struct Updated {
        uri: String,
    }
    while let Some(one) = news.recv().await {
        if one.missed > 0 {
            facts.lists.missed();
            facts.promise.missed();
        }
        if one.method.ends_with("/list_changed") {
            // Order: a client that is told does not find the list of before.
            facts.lists.changed(&one.method);
            facts.promise.tell(&one.method, one.message);
        } else if one.method == "notifications/resources/updated"
            && let Ok(updated) = one.params::<Updated>()
        {
            facts.subscriptions.updated(&updated.uri);
        }
    }
}

impl fmt::Debug for ChildConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildConnector")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;
    use std::pin::pin;
    use std::time::Duration;

    use pool_core::{BoxError, ConnectionId};
    use pool_stdio::{CommandSpec, Protocol, RpcLimits};
    use serde_json::Value;

    use super::*;
    use crate::config::ServerSettings;

    /// Children that read, and answer only as far as this script does.
    fn connector(script: &str) -> ChildConnector {
        let command = CommandSpec::new("sh").args(["-c", script]);
        let limits = RpcLimits {
            ping_timeout: Duration::from_millis(50),
            ..RpcLimits::default()
        };
        let connector = JsonRpcConnector::new(command, Protocol::Mcp).unwrap();
        let connector = connector.limits(limits).handshake(|_| {
            Box::pin(async { RawValue::from_string("{}".to_owned()).map_err(BoxError::from) })
        });
        let settings = ServerSettings::of_command(vec!["sh".to_owned()]);
        ChildConnector {
            inner: Arc::new(connector),
            facts: KeyFacts::new(&settings),
            limit: Duration::from_secs(60),
            server: "one".into(),
            starts: Arc::default(),
            tasks: TaskTracker::new(),
            generations: Generations::default(),
        }
    }

    fn cx(number: u64) -> ConnectContext {
        let deadline = Instant::now() + Duration::from_secs(60);
        ConnectContext::new(ConnectionId::from_u64(number), 1, deadline)
    }

    #[tokio::test]
    async fn a_child_that_is_at_work_and_answers_no_ping_has_answered_none() {
        let connector = connector("while read -r line; do :; done");
        let child = connector.connect(&cx(0)).await.unwrap();
        let mut work = pin!(child.call::<Value>("work", &()).into_future());
        assert!(futures_util::poll!(work.as_mut()).is_pending());
        for _ in 0..2 {
            assert!(connector.check_shared(&child).await.is_ok(), "it works");
        }
        assert!(!connector.facts.pings.is_answered());
    }

    #[tokio::test]
    async fn children_of_a_server_that_answers_no_ping_are_judged_by_life_alone_from_the_third_on()
    {
        let connector = connector("while read -r line; do :; done");
        let (mut number, mut unanswered) = (0, 0);
        while unanswered < 2 {
            number += 1;
            let child = connector.connect(&cx(number)).await.unwrap();
            // On a busy machine, a ping may not even be written in time, which says nothing.
            let is_unanswered = connector.check_shared(&child).await.is_err();
            unanswered += i32::from(is_unanswered);
        }
        for number in number + 1..=number + 2 {
            let child = connector.connect(&cx(number)).await.unwrap();
            let outcome = connector.check_shared(&child).await;
            assert!(outcome.is_ok(), "{outcome:?}");
            assert!(connector.is_alive(&child));
        }
    }
}
