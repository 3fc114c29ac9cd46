//! The pools of a server's keys: whether a child serves many requests at a time, or one in its life.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    Budget, BuildError, ConnectionPool, KeyedAcquireError, KeyedPool, KeyedSharedPool, Observer,
    PoolStatus, SharedPool,
};
use pool_stdio::JsonRpcConnection;

use super::child_connector::ChildConnector;
use super::way::{MayRepeat, Way};
use crate::config::{ServerSettings, Sharing};

/// The pools of the keys `K`.
pub(super) enum KeyPools<K> {
    /// A child serves many requests at a time.
    Shared(KeyedSharedPool<K, JsonRpcConnection>),
    /// A child serves one request.
    Fresh(KeyedPool<K, JsonRpcConnection>, Duration),
}

/// What keyed pools are called and bounded by.
pub(super) struct Bounds<'b, K> {
    pub(super) name: &'b Arc<str>,
    /// Of a key, beside the name of its server.
    pub(super) key_name: fn(&K) -> String,
    pub(super) keys_max: usize,
    pub(super) budget: &'b Budget,
    pub(super) observer: Arc<dyn Observer>,
}

impl<K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static> KeyPools<K> {
    /// Starts nothing. `connector` makes that of a key.
    pub(super) fn new(
        settings: &ServerSettings,
        connector: impl Fn(&K) -> ChildConnector + Send + Sync + 'static,
        bounds: &Bounds<'_, K>,
    ) -> Result<Self, BuildError> {
        match settings.sharing {
            Sharing::Request => fresh(settings.clone(), connector, bounds),
            Sharing::Session | Sharing::Shared | Sharing::Stateless => {
                shared(settings.clone(), connector, bounds)
            }
        }
    }

    /// The way to the children of a key.
    pub(super) fn way(
        &self,
        key: &K,
        may_repeat: &Arc<MayRepeat>,
    ) -> Result<Way, KeyedAcquireError> {
        match self {
            Self::Shared(pools) => Ok(Way::shared(pools.handle(key)?, may_repeat)),
            Self::Fresh(pools, idle_timeout) => {
                let (pools, key) = (pools.clone(), key.clone());
                let enter = Box::new(move || pools.handle(&key));
                Ok(Way::fresh(enter, may_repeat, *idle_timeout))
            }
        }
    }

    /// Every key that has a pool.
    pub(super) fn keys(&self) -> Vec<(K, PoolStatus)> {
        match self {
            Self::Shared(pools) => pools.keys(),
            Self::Fresh(pools, _) => pools.keys(),
        }
    }

    /// The sum of all pools.
    pub(super) fn status(&self) -> PoolStatus {
        match self {
            Self::Shared(pools) => pools.status().total,
            Self::Fresh(pools, _) => pools.status().total,
        }
    }

    pub(super) async fn close(&self, deadline: Duration) {
        match self {
            Self::Shared(pools) => drop(pools.close(deadline).await),
            Self::Fresh(pools, _) => drop(pools.close(deadline).await),
        }
    }

    /// Whether a caller that waits is served by a child that others have, if slowly.
    pub(super) const fn are_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

/// The name of a key in logs and errors.
fn name_of_key<K: 'static>(bounds: &Bounds<'_, K>) -> impl Fn(&K) -> String + use<K> {
    let (server, name) = (Arc::clone(bounds.name), bounds.key_name);
    move |key| format!("{server} {}", name(key))
}

fn shared<K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static>(
    settings: ServerSettings,
    connector: impl Fn(&K) -> ChildConnector + Send + Sync + 'static,
    bounds: &Bounds<'_, K>,
) -> Result<KeyPools<K>, BuildError> {
    let observer = Arc::clone(&bounds.observer);
    let pools = KeyedSharedPool::builder(move |key: &K| {
        SharedPool::builder(connector(key))
            .max_size(settings.children_of_key_max())
            .max_waiters(settings.waiters_max)
            .acquire_timeout(settings.wait_timeout)
            .connect_timeout(settings.start_timeout)
            .idle_timeout(settings.idle_timeout)
            .max_weight(settings.memory_bytes_soft)
            .kill_weight(settings.memory_bytes_max)
            .observer(Arc::clone(&observer))
    })
    .name(Arc::clone(bounds.name))
    .key_name(name_of_key(bounds))
    .max_keys(bounds.keys_max)
    .budget(bounds.budget)
    .build()?;
    Ok(KeyPools::Shared(pools))
}

fn fresh<K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static>(
    settings: ServerSettings,
    connector: impl Fn(&K) -> ChildConnector + Send + Sync + 'static,
    bounds: &Bounds<'_, K>,
) -> Result<KeyPools<K>, BuildError> {
    let idle_timeout = settings.idle_timeout;
    let observer = Arc::clone(&bounds.observer);
    let pools = KeyedPool::builder(move |key: &K| {
        ConnectionPool::builder(connector(key))
            .max_size(settings.children_of_key_max())
            .min_idle(settings.spare_of_key())
            // What a request did to its child stays in it.
            .max_uses(1)
            .max_waiters(settings.waiters_max)
            .acquire_timeout(settings.wait_timeout)
            .connect_timeout(settings.start_timeout)
            .idle_timeout(settings.idle_timeout)
            .lease_warn_after(None)
            .max_weight(settings.memory_bytes_soft)
            .kill_weight(settings.memory_bytes_max)
            .observer(Arc::clone(&observer))
    })
    .name(Arc::clone(bounds.name))
    .key_name(name_of_key(bounds))
    .max_keys(bounds.keys_max)
    // The way to a key leaves it after its idle time.
    .key_idle_timeout(LEFT_FOR)
    .budget(bounds.budget)
    .build()?;
    Ok(KeyPools::Fresh(pools, idle_timeout))
}

/// Until the children of a key end that nobody is on the way to.
const LEFT_FOR: Duration = Duration::from_secs(1);
