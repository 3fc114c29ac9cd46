//! One key: what its children have promised, and the way to them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pool_core::{KeyedAcquireError, SharedKeyHandle, SharedLease};
use pool_stdio::{JsonRpcConnection, Retrying, Terms};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::list_cache::ListCache;
use super::ping_record::PingRecord;
use super::promise::{Hello, Promise};
use super::subscriptions::{NotSubscribed, Subscriber, Subscriptions};
use super::way::{MayRepeat, Way};
use crate::config::ServerSettings;
use crate::guard::Principal;

/// What the children of a key and its clients both know.
#[derive(Debug, Clone)]
pub(super) struct KeyFacts {
    pub(super) promise: Arc<Promise>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) lists: Arc<ListCache>,
    pub(super) pings: Arc<PingRecord>,
}

/// One key.
#[derive(Debug)]
pub(crate) struct KeyState {
    pub(crate) promise: Arc<Promise>,
    pub(crate) lists: Arc<ListCache>,
    subscriptions: Arc<Subscriptions>,
    way: Way,
    tasks: TaskTracker,
}

impl KeyFacts {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self {
            promise: Arc::new(Promise::new(settings.sharing)),
            subscriptions: Subscriptions::new(),
            lists: Arc::new(ListCache::new(settings)),
            pings: Arc::default(),
        }
    }
}

impl KeyFacts {
    /// Which requests do no harm when they are executed twice.
    pub(super) fn may_repeat(&self) -> Arc<MayRepeat> {
        let lists = Arc::clone(&self.lists);
        Arc::new(move |method, params| {
            is_reading(method) || method == "tools/call" && lists.may_repeat(params)
        })
    }
}

impl KeyState {
    pub(super) fn new(facts: KeyFacts, way: Way, tasks: &TaskTracker) -> Self {
        Self {
            promise: facts.promise,
            lists: facts.lists,
            subscriptions: facts.subscriptions,
            way,
            tasks: tasks.clone(),
        }
    }

    /// Begins the exchange of a client's message.
    pub(crate) fn exchange(
        &self,
        message: Bytes,
        terms: &Terms,
    ) -> Result<Retrying, KeyedAcquireError> {
        self.way.exchange(message, terms)
    }

    /// Whether a child is being started.
    pub(crate) fn is_starting(&self) -> bool {
        self.way.is_starting()
    }

    /// Lets children end that are kept ready for nobody.
    pub(super) fn sweep(&self, now: Instant) {
        self.way.sweep(now);
    }

    /// What the children promise. Starts one if none was asked before.
    pub(crate) async fn hello(&self) -> Result<Arc<Hello>, KeyedAcquireError> {
        loop {
            if let Some(hello) = self.promise.hello() {
                return Ok(hello);
            }
            // Its connector keeps what it was told before it lends the child.
            self.way.start().await?;
        }
    }

    /// A client of the key and of this principal, without subscriptions.
    pub(crate) fn subscriber(&self, principal: &Principal) -> Subscriber {
        self.subscriptions.subscriber(principal)
    }

    /// Subscribes a client to a resource, at all children. As long as somebody is subscribed, there is one.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, there is no subscription.
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        subscriber: &Subscriber,
        uri: &str,
        limit: Duration,
    ) -> Result<(), NotSubscribed> {
        let Way::Shared { handle, .. } = &self.way else {
            return Err(NotSubscribed::NotOffered);
        };
        let joined = subscriber.join(uri)?;
        if self.subscriptions.take_keeper() {
            let subscriptions = Arc::clone(&self.subscriptions);
            self.tasks
                .spawn(keep_a_child(subscriptions, handle.clone()));
        }
        let answered = timeout(limit, joined.answer()).await;
        answered.unwrap_or(Err(NotSubscribed::Late))
    }
}

fn lives(child: &JsonRpcConnection) -> bool {
    child.ended().now_or_never().is_none()
}

/// Holds a child as long as there are subscriptions, and another one when it ends.
async fn keep_a_child(
    subscriptions: Arc<Subscriptions>,
    handle: SharedKeyHandle<JsonRpcConnection>,
) {
    let mut held: Option<SharedLease<JsonRpcConnection>> = None;
    loop {
        // A dead one is in the way of the next one.
        held = held.filter(|lease| lives(lease));
        let acquired = tokio::select! {
            biased;
            () = subscriptions.unneeded() => return,
            acquired = handle.acquire() => acquired,
        };
        let ended = match acquired {
            Ok(lease) => {
                let ended = lease.ended();
                // Order: the one before is given back when there is another.
                drop(held.replace(lease));
                Some(ended)
            }
            // The pool can be busy, while the child that is held lives.
            Err(_) if held.as_ref().is_some_and(|lease| lives(lease)) => None,
            Err(error) => {
                drop(held.take());
                subscriptions.no_child(&error);
                None
            }
        };
        let next = async {
            match ended {
                // Not for ever, so that the pool can replace it.
                Some(ended) => drop(timeout(HELD_FOR, ended).await),
                None => sleep(PAUSE).await,
            }
        };
        tokio::select! {
            biased;
            () = subscriptions.unneeded() => return,
            () = next => {}
        }
    }
}

/// Whether a request of this method changes nothing, by what the protocol says of it.
fn is_reading(method: &str) -> bool {
    method.ends_with("/list") || matches!(method, "resources/read" | "completion/complete")
}

/// A fraction of how long a child lives at most.
const HELD_FOR: Duration = Duration::from_secs(60);
/// Between two attempts to have a child.
const PAUSE: Duration = Duration::from_secs(1);
