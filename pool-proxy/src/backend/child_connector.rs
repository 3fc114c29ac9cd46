//! What a child must do before it serves a key: initialize, as the clients of the key were promised.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector,
    SharedConnector, SuspicionSink, Vitals, async_trait,
};
use pool_stdio::{ChildCaller, JsonRpcConnection, JsonRpcConnector, Notifications};
use serde::Deserialize;
use tokio_util::task::TaskTracker;

use super::key_state::KeyFacts;
use super::start_record::StartRecord;
use super::subscribing::subscribe;

/// Connects the children of one key.
pub(super) struct ChildConnector {
    /// Initializes each child in the version of the key.
    pub(super) inner: Arc<JsonRpcConnector>,
    pub(super) facts: KeyFacts,
    /// For what a child is asked without a client.
    pub(super) limit: Duration,
    pub(super) server: Arc<str>,
    pub(super) starts: Arc<StartRecord>,
    pub(super) tasks: TaskTracker,
}

#[async_trait]
impl Connector for ChildConnector {
    type Connection = JsonRpcConnection;

    async fn connect(&self, cx: &ConnectContext) -> Result<JsonRpcConnection, ConnectError> {
        let child = match self.inner.connect(cx).await {
            Ok(child) => child,
            Err(error) => {
                self.starts.failed();
                let cause = error.source().map(tracing::field::display);
                tracing::warn!(server = &*self.server, %error, cause, "a child did not start");
                return Err(error);
            }
        };
        self.starts.succeeded();
        let news = child.notifications();
        if let Some(result) = child.initialize_result() {
            // Order: clients of a new promise do not find the lists of before.
            self.facts.lists.started(result);
            match self.facts.promise.keep(result) {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    server = &*self.server,
                    pid = child.pid(),
                    "a child has another version or other capabilities: its clients must initialize again"
                ),
                Err(error) => return Err(ConnectError::transient(error)),
            }
        }
        tracing::info!(server = &*self.server, pid = child.pid(), "child started");
        let (caller, facts, limit) = (child.caller(), self.facts.clone(), self.limit);
        self.tasks.spawn(attend(caller, news, facts, limit));
        Ok(child)
    }

    fn is_alive(&self, child: &JsonRpcConnection) -> bool {
        self.inner.is_alive(child)
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
        self.inner.check(child).await
    }

    async fn close(&self, child: JsonRpcConnection, reason: CloseReason) {
        let pid = child.pid();
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
        self.inner.check_shared(child).await
    }

    fn is_clean_shared(&self, child: &JsonRpcConnection) -> bool {
        self.inner.is_clean_shared(child)
    }
}

/// Serves the subscriptions of a child as long as it lives.
async fn attend(child: ChildCaller, news: Notifications, facts: KeyFacts, limit: Duration) {
    tokio::select! {
        () = pass_on(news, &facts) => {}
        never = subscribe(&child, &facts.subscriptions, limit) => match never {},
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
        }
        if one.method.ends_with("/list_changed") {
            // Order: a client that is told does not find the list of before.
            facts.lists.changed(&one.method);
            facts.promise.tell(one.message);
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
